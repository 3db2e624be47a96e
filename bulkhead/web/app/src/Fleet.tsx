import { Alert, Badge, Button, Code, Heading, HStack, Stack, Table, Text } from "@chakra-ui/react";
import { useState } from "react";

import { useApi } from "./api";
import type { Device, Fleet as FleetDocument, Health, Node, Page, Quarantine } from "./documents";
import { time } from "./format";
import { List, PAGE, Title, useKept, useLooking } from "./Lists";
import { HealthBadge, HEALTHS, Shown, To } from "./parts";

const KINDS = ["devices", "nodes", "quarantines"] as const;

export type Kind = (typeof KINDS)[number];

export const kindOf = (name: string | null): Kind | undefined => KINDS.find((kind) => kind === name);

/** Nodes and devices: how they stand, what is kept away from work, and what waits for a person. */
export function Fleet({ kind }: { kind: Kind }) {
  return (
    <Shown answer={useApi<FleetDocument>("fleet")}>
      {(fleet) => <Listed fleet={fleet} key={kind} kind={kind} />}
    </Shown>
  );
}

const Standing = ({ fleet }: { fleet: FleetDocument }) => (
  <Stack gap={4}>
    {fleet.current ? undefined : (
      <Alert.Root status="warning">
        <Alert.Indicator />
        <Alert.Title>
          {fleet.looked_at === null
            ? "No watch has looked at a fleet yet: run 'bulkhead fleet --watch'."
            : `The fleet's watch has left nothing since ${time(fleet.looked_at)}: what is shown is of then.`}
        </Alert.Title>
      </Alert.Root>
    )}
    {fleet.waiting.length === 0 ? undefined : (
      <section aria-label="What waits for a person">
        <Heading as="h2" mb={2} size="md">
          What waits for a person
        </Heading>
        {fleet.waiting.map((waiting) => (
          <Alert.Root key={waiting.target} mb={2} status="warning">
            <Alert.Indicator />
            <Alert.Content>
              <Alert.Title>{`${waiting.target}: ${waiting.why}`}</Alert.Title>
              <Alert.Description>
                {`Since ${time(waiting.since)}. `}
                <Code>{waiting.command}</Code>
              </Alert.Description>
            </Alert.Content>
          </Alert.Root>
        ))}
      </section>
    )}
    {fleet.models.length === 0 ? undefined : (
      <section aria-label="Models">
        <Table.Root maxW="700px" size="sm">
          <Table.Header>
            <Table.Row>
              {["Model", "Healthy", "Kept away", "Budget"].map((name) => (
                <Table.ColumnHeader key={name}>{name}</Table.ColumnHeader>
              ))}
            </Table.Row>
          </Table.Header>
          <Table.Body>
            {fleet.models.map((model) => (
              <Table.Row key={model.model}>
                <Table.Cell>{model.model || "not known"}</Table.Cell>
                <Table.Cell>{`${model.healthy.toLocaleString()} of ${model.devices.toLocaleString()}`}</Table.Cell>
                <Table.Cell>{model.away.toLocaleString()}</Table.Cell>
                <Table.Cell>{model.budget.toLocaleString()}</Table.Cell>
              </Table.Row>
            ))}
          </Table.Body>
        </Table.Root>
      </section>
    )}
  </Stack>
);

/** One of the three lists, and the way to the others. */
function Listed({ fleet, kind }: { fleet: FleetDocument; kind: Kind }) {
  const looking = useLooking();
  const [health, setHealth] = useState<Health>();
  const counts = kind === "quarantines" ? undefined : fleet[kind];
  const filter = health === undefined || counts === undefined ? "" : `&health=${health}`;
  const { offset, search } = looking;
  const path = `fleet/${kind}?limit=${PAGE}&offset=${offset}&search=${encodeURIComponent(search)}${filter}`;

  return (
    <Stack gap={4}>
      <Title label={`find ${kind}`} looking={looking} name="Fleet">
        {KINDS.map((name) =>
          name === kind ? (
            <Text fontWeight="semibold" key={name}>
              {name}
            </Text>
          ) : (
            <To key={name} to={`?fleet=${name}`}>
              {name === "quarantines" ? `${name} (${fleet.quarantines.toLocaleString()})` : name}
            </To>
          ),
        )}
      </Title>
      <Standing fleet={fleet} />
      {counts === undefined ? undefined : (
        <HStack aria-label="only what is" role="group" wrap="wrap">
          {HEALTHS.map((name) => (
            <Button
              aria-pressed={health === name}
              key={name}
              onClick={() => {
                setHealth(health === name ? undefined : name);
                looking.setOffset(0);
              }}
              size="xs"
              variant={health === name ? "solid" : "outline"}
            >
              {`${counts[name].toLocaleString()} ${name}`}
            </Button>
          ))}
        </HStack>
      )}
      {kind === "devices" ? <Devices looking={looking} path={path} /> : undefined}
      {kind === "nodes" ? <Nodes looking={looking} path={path} /> : undefined}
      {kind === "quarantines" ? <Quarantines looking={looking} path={path} /> : undefined}
    </Stack>
  );
}

interface PartProps {
  looking: ReturnType<typeof useLooking>;
  path: string;
}

const NOTHING = "Nothing is so.";

const Devices = ({ looking, path }: PartProps) => (
  <Shown answer={useKept(useApi<Page<Device>>(path))}>
    {(page) => (
      <List
        columns={["Device", "Node", "Model", "State", "Evidence", "To be done", "Since", "Pod"]}
        empty={NOTHING}
        looking={looking}
        page={page}
        row={(device) => (
          <Table.Row key={device.uuid}>
            <Table.Cell whiteSpace="nowrap">{device.uuid}</Table.Cell>
            <Table.Cell>{device.node}</Table.Cell>
            <Table.Cell>{device.model}</Table.Cell>
            <States stand={device} />
            <Table.Cell minW="200px">{device.evidence}</Table.Cell>
            <Table.Cell>{device.action}</Table.Cell>
            <Table.Cell whiteSpace="nowrap">{time(device.since)}</Table.Cell>
            <Table.Cell>{device.job}</Table.Cell>
          </Table.Row>
        )}
      />
    )}
  </Shown>
);

const Nodes = ({ looking, path }: PartProps) => (
  <Shown answer={useKept(useApi<Page<Node>>(path))}>
    {(page) => (
      <List
        columns={["Node", "Devices", "Pool", "State", "Healthy", "Evidence", "To be done", "Looked at"]}
        empty={NOTHING}
        looking={looking}
        page={page}
        row={(node) => (
          <Table.Row key={node.name}>
            <Table.Cell whiteSpace="nowrap">{node.name}</Table.Cell>
            <Table.Cell>{node.product}</Table.Cell>
            <Table.Cell>{node.pool}</Table.Cell>
            <States stand={node} />
            <Table.Cell>{`${node.healthy} of ${node.devices}${node.cordoned ? ", cordoned" : ""}`}</Table.Cell>
            <Table.Cell minW="200px">{node.evidence}</Table.Cell>
            <Table.Cell>{node.action}</Table.Cell>
            <Table.Cell whiteSpace="nowrap">{time(node.at)}</Table.Cell>
          </Table.Row>
        )}
      />
    )}
  </Shown>
);

const Quarantines = ({ looking, path }: PartProps) => (
  <Shown answer={useKept(useApi<Page<Quarantine>>(path))}>
    {(page) => (
      <List
        columns={["What", "Node", "Model", "Phase", "Evidence", "To be done", "By", "Relapses", "Since"]}
        empty="Nothing is in quarantine."
        looking={looking}
        page={page}
        row={(quarantine) => (
          <Table.Row key={quarantine.target}>
            <Table.Cell whiteSpace="nowrap">{quarantine.target}</Table.Cell>
            <Table.Cell>{quarantine.node}</Table.Cell>
            <Table.Cell>{quarantine.model}</Table.Cell>
            <Table.Cell>
              {quarantine.applied_phase === quarantine.phase
                ? quarantine.phase
                : `${quarantine.phase}, not shown by the cluster yet`}
            </Table.Cell>
            <Table.Cell minW="200px">{quarantine.evidence}</Table.Cell>
            <Table.Cell>{quarantine.action}</Table.Cell>
            <Table.Cell>{quarantine.holder}</Table.Cell>
            <Table.Cell>{quarantine.relapses}</Table.Cell>
            <Table.Cell whiteSpace="nowrap">{time(quarantine.phase_at)}</Table.Cell>
          </Table.Row>
        )}
      />
    )}
  </Shown>
);

const States = ({ stand }: { stand: { health: Health; quarantine: string | null } }) => (
  <Table.Cell>
    <HStack wrap="wrap">
      <HealthBadge health={stand.health} />
      {stand.quarantine === null ? undefined : <Badge variant="surface">{`quarantine: ${stand.quarantine}`}</Badge>}
    </HStack>
  </Table.Cell>
);
