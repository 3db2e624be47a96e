import { Stack, Table, Text } from "@chakra-ui/react";

import { useApi } from "./api";
import type { Page, Service } from "./documents";
import { time, version } from "./format";
import { List, PAGE, Title, useKept, useLooking } from "./Lists";
import { AttentionBadge, HealthCounts, phase, Shown, SplitBar, To } from "./parts";

const COLUMNS = ["Service", "State", "Traffic", "Serves", "Devices", "Latest release", "Since"];

/** Every service: those that want a person first. */
export function Services() {
  const looking = useLooking();
  const { offset, search } = looking;
  const path = `services?limit=${PAGE}&offset=${offset}&search=${encodeURIComponent(search)}`;

  return (
    <Stack gap={4}>
      <Title label="find services" looking={looking} name="Services">
        <To to="?fleet=devices">Fleet</To>
      </Title>
      <Shown answer={useKept(useApi<Page<Service>>(path))}>
        {(page) => (
          <List
            columns={COLUMNS}
            empty={search === "" ? "Nothing was released yet." : "No service has that in its name."}
            looking={looking}
            page={page}
            row={(service) => <ServiceRow key={service.name} service={service} />}
          />
        )}
      </Shown>
    </Stack>
  );
}

function ServiceRow({ service }: { service: Service }) {
  const release = service.release ?? service.last;

  return (
    <Table.Row>
      <Table.Cell fontWeight="semibold">{service.name}</Table.Cell>
      <Table.Cell maxW="480px" minW="240px" whiteSpace="normal">
        <AttentionBadge attention={service.attention} />
        {service.why === null ? undefined : <Text fontSize="sm">{service.why}</Text>}
      </Table.Cell>
      <Table.Cell>
        <SplitBar split={service.split} />
      </Table.Cell>
      <Table.Cell>{service.stable === null ? "nothing yet" : version(service.stable)}</Table.Cell>
      <Table.Cell>
        {service.devices === null ? "not known" : <HealthCounts counts={service.devices.by_health} />}
      </Table.Cell>
      <Table.Cell>
        {release === null ? "none yet" : <To to={`?release=${release.id}`}>{`${release.id}: ${phase(release)}`}</To>}
      </Table.Cell>
      <Table.Cell whiteSpace="nowrap">{release === null ? "" : time(release.ended_at ?? release.phase_at)}</Table.Cell>
    </Table.Row>
  );
}
