import { Heading, HStack, Input, Stack, Table, Text } from "@chakra-ui/react";
import { useState } from "react";

import { useApi } from "./api";
import type { Page, Service } from "./documents";
import { version } from "./format";
import { AttentionBadge, phase, Shown, SplitBar, To } from "./parts";

/** Every service: those that want a person first. */
export function Services() {
  const [search, setSearch] = useState("");
  const answer = useApi<Page<Service>>(`services?limit=200&search=${encodeURIComponent(search)}`);

  return (
    <Stack gap={4}>
      <HStack justify="space-between" wrap="wrap">
        <Heading as="h1" size="xl">
          Services
        </Heading>
        <Input
          aria-label="find services"
          maxLength={63}
          maxW="300px"
          onChange={(event) => setSearch(event.target.value)}
          placeholder="find"
          value={search}
        />
      </HStack>
      <Shown answer={answer}>
        {(page) =>
          page.items.length === 0 ? (
            <Text>{search === "" ? "Nothing was released yet." : "No service has that in its name."}</Text>
          ) : (
            <Table.ScrollArea>
              <Table.Root size="sm">
                <Table.Header>
                  <Table.Row>
                    {["Service", "State", "Traffic", "Serves", "Latest release"].map((name) => (
                      <Table.ColumnHeader key={name}>{name}</Table.ColumnHeader>
                    ))}
                  </Table.Row>
                </Table.Header>
                <Table.Body>
                  {page.items.map((service) => (
                    <ServiceRow key={service.name} service={service} />
                  ))}
                </Table.Body>
              </Table.Root>
            </Table.ScrollArea>
          )
        }
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
        {release === null ? "none yet" : <To to={`?release=${release.id}`}>{`${release.id}: ${phase(release)}`}</To>}
      </Table.Cell>
    </Table.Row>
  );
}
