import { Box, Heading, Stack, Text } from "@chakra-ui/react";
import { useSearchParams } from "react-router-dom";

import { useApi } from "./api";
import type { Page, ReleaseSummary, Service } from "./documents";
import { Fleet, kindOf } from "./Fleet";
import { phase, Shown, To } from "./parts";
import { ReleaseView } from "./ReleaseView";
import { Services } from "./Services";

/** What Airflow gives a component of a plugin. */
interface PluginProps {
  dagId?: string;
  runId?: string;
}

/** The page in the navigation: every service; or what the address names: a release, the latest of a service, the fleet. */
export function ControlRoom() {
  const [parameters] = useSearchParams();
  const id = Number(parameters.get("release"));
  const service = parameters.get("service");
  const kind = kindOf(parameters.get("fleet"));
  const released = Number.isInteger(id) && id > 0;

  if (!released && service === null && kind === undefined) {
    return (
      <Frame>
        <Services />
      </Frame>
    );
  }

  return (
    <Frame>
      <Text mb={2}>
        <To to="?">All services</To>
      </Text>
      {kind === undefined ? (
        released ? (
          <ReleaseView id={id} />
        ) : (
          <LatestRelease service={service ?? ""} />
        )
      ) : (
        <Fleet kind={kind} />
      )}
    </Frame>
  );
}

/** What an alert about a service links to. */
function LatestRelease({ service }: { service: string }) {
  const answer = useApi<Service>(`services/${encodeURIComponent(service)}`);

  return (
    <Shown answer={answer}>
      {({ last, release }) => {
        const latest = release ?? last;

        return latest === null ? <Text>Nothing was released to it yet.</Text> : <ReleaseView id={latest.id} />;
      }}
    </Shown>
  );
}

/** The tab of a task or a DAG run: what that run has released. */
export function ReleasesOfRun({ dagId = "", runId = "" }: PluginProps) {
  const path = `dags/${encodeURIComponent(dagId)}/releases?run_id=${encodeURIComponent(runId)}`;
  const answer = useApi<Page<ReleaseSummary>>(path);

  return (
    <Frame>
      <Shown answer={answer}>
        {({ items: [latest, ...earlier] }) =>
          latest === undefined ? (
            <Text>This DAG run has released nothing.</Text>
          ) : (
            <Stack gap={6}>
              <ReleaseView id={latest.id} />
              {earlier.length === 0 ? undefined : (
                <section aria-label="earlier releases">
                  <Heading as="h2" mb={2} size="md">
                    Earlier releases of this run
                  </Heading>
                  {earlier.map((release) => (
                    <Text key={release.id}>
                      <To to={`/plugin/bulkhead?release=${release.id}`}>{`${release.id}: ${phase(release)}`}</To>
                    </Text>
                  ))}
                </section>
              )}
            </Stack>
          )
        }
      </Shown>
    </Frame>
  );
}

const Frame = ({ children }: { children: React.ReactNode }) => (
  <Box className="bulkhead" h="100%" overflowY="auto" p={4}>
    {children}
  </Box>
);
