import { Alert, Badge, Box, Flex, Link, Spinner, Stack, Text } from "@chakra-ui/react";
import { Link as RouterLink } from "react-router-dom";

import type { Answer } from "./api";
import type { Attention, ReleaseSummary, Share } from "./documents";

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
  failing: "red",
  isolated: "orange",
  none: "green",
  "rolled-back": "red",
};
const NAMES: Record<Attention, string> = {
  approval: "waits for approval",
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
