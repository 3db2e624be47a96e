import { Box, Heading, HStack, Stack, Text } from "@chakra-ui/react";

import { useApi } from "./api";
import type { Page, Service } from "./documents";
import { AttentionBadge, Shown, To } from "./parts";

const MOST = 5;

/** On Airflow's home page: the services that want a person, the most urgent first. Nothing where there is none at all. */
export function DashboardCard() {
  const answer = useApi<Page<Service>>(`services?limit=${MOST}`);

  if (answer.data?.total === 0) {
    return undefined;
  }

  return (
    <Box borderRadius={5} borderWidth={1} className="bulkhead" my={2} p={3}>
      <Heading as="h2" mb={2} size="sm">
        <To to="/plugin/bulkhead">Services released by Bulkhead</To>
      </Heading>
      <Shown answer={answer}>{({ items }) => <Unwell services={items.filter(unwell)} />}</Shown>
    </Box>
  );
}

const unwell = (service: Service): boolean => service.attention !== "none";

const Unwell = ({ services }: { services: Service[] }) =>
  services.length === 0 ? (
    <Text fontSize="sm">All are well.</Text>
  ) : (
    <Stack gap={2}>
      {services.map((service) => (
        <HStack align="flex-start" key={service.name} wrap="wrap">
          <AttentionBadge attention={service.attention} />
          <Released service={service} />
          <Text flex={1} fontSize="sm" minW="200px">
            {service.why}
          </Text>
        </HStack>
      ))}
    </Stack>
  );

function Released({ service }: { service: Service }) {
  const release = service.release ?? service.last;

  return release === null ? (
    <Text fontSize="sm">{service.name}</Text>
  ) : (
    <To to={`/plugin/bulkhead?release=${release.id}`}>{service.name}</To>
  );
}
