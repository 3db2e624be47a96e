import { Alert, Badge, Box, Flex, HStack, Link, Spinner, Stack, Text } from "@chakra-ui/react";
import { Link as RouterLink } from "react-router-dom";

import type { Answer } from "./api";
import type { Attention, Health, ReleaseSummary, Share } from "./documents";

export const HEALTHS: Health[] = ["unhealthy", "unknown", "suspect", "healthy"];

/** What is there, what failed, or that it is on its way. */
export function Shown<Item>({ answer, children }: { answer: Answer<Item>; children: (data: Item) => React.ReactNode }) {
  return (
    <Stack gap={3}>
      {answer.error === undefined ? undefined : (
        <Alert.Root role="alert" status="error">
          <Alert.Indicator />
          <Alert.Title>{answer.error}</Alert.Title>
        </Alert.Root>
      )}
      {answer.data === undefined ? (
        answer.error === undefined && <Spinner aria-label="loading" role="status" />
      ) : (
        <>{children(answer.data)}</>
      )}
    </Stack>
  );
}

const COLOURS = { candidate: "orange.solid", stable: "green.solid" } as const;

/** A service's traffic as a bar, and in words beside it. */
export function SplitBar({ split }: { split: Share[] }) {
  const words = split.map((share) => `${share.percent} % ${share.role}`).join(", ");

  return (
    <Flex align="center" gap={2}>
      <Flex aria-hidden bg="bg.emphasized" borderRadius="sm" h={3} overflow="hidden" w="120px">
        {split.map((share) => (
          <Box bg={COLOURS[share.role]} key={share.revision} w={`${share.percent}%`} />
        ))}
      </Flex>
      <Text fontSize="sm">{words || "nothing serves"}</Text>
    </Flex>
  );
}

const PALETTES: Record<Attention, string> = {
  approval: "blue",
  devices: "red",
  failing: "red",
  isolated: "orange",
  none: "green",
  "rolled-back": "red",
};
const NAMES: Record<Attention, string> = {
  approval: "waits for approval",
  devices: "device unhealthy",
  failing: "failing",
  isolated: "isolated",
  none: "well",
  "rolled-back": "rolled back",
};

export const AttentionBadge = ({ attention }: { attention: Attention }) => (
  <Badge colorPalette={PALETTES[attention]} variant="surface">
    {NAMES[attention]}
  </Badge>
);

const HEALTH_PALETTES: Record<Health, string> = {
  healthy: "green",
  suspect: "yellow",
  unhealthy: "red",
  unknown: "gray",
};

export const HealthBadge = ({ children, health }: { children?: React.ReactNode; health: Health }) => (
  <Badge colorPalette={HEALTH_PALETTES[health]} variant="surface">
    {children ?? health}
  </Badge>
);

/** Badges of how many stand how; of none, nothing. */
export const HealthCounts = ({ counts }: { counts: Partial<Record<Health, number>> }) => (
  <HStack wrap="wrap">
    {HEALTHS.filter((health) => (counts[health] ?? 0) > 0).map((health) => (
      <HealthBadge health={health} key={health}>{`${counts[health]?.toLocaleString()} ${health}`}</HealthBadge>
    ))}
  </HStack>
);

export const phase = (release: ReleaseSummary): string =>
  release.ended_at === null
    ? `${release.phase.replace("_", " ")}, step ${release.step} of ${release.steps}`
    : release.phase.replace("_", " ");

/** Somewhere in Airflow's own pages, or in ours. */
export const To = ({ children, to }: { children: React.ReactNode; to: string }) => (
  <Link asChild color="fg.info" textDecoration="underline">
    <RouterLink to={to}>{children}</RouterLink>
  </Link>
);

/** A page of MLflow's. */
export const External = ({ children, href }: { children: React.ReactNode; href: string }) => (
  <Link color="fg.info" href={href} rel="noreferrer" target="_blank" textDecoration="underline">
    {children}
  </Link>
);
