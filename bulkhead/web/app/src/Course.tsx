import { Stack, Table, Text } from "@chakra-ui/react";

import { useApi } from "./api";
import { Chart, type Line } from "./Chart";
import type { Arm, Course as CourseDocument, Measurement, Release } from "./documents";
import { clock } from "./format";
import { Shown } from "./parts";

const CANDIDATE = "orange.solid";
const STABLE = "green.solid";
const RULES = ["red.solid", "blue.solid", "purple.solid", "teal.solid", "pink.solid", "cyan.solid", "yellow.solid"];
/** Shorter than that, a rate says nothing. */
const SHORTEST_S = 0.5;

/** How a release went: its share of the traffic, both arms, and the evidence against it as it grew. */
export function Course({ release }: { release: Release }) {
  const answer = useApi<CourseDocument>(`releases/${release.id}/course`, release.ended_at !== null);

  return (
    <Shown answer={answer}>
      {(course) =>
        course.measurements.length === 0 ? (
          <Text fontSize="sm">
            Nothing was measured of it: it was not judged yet, or so many came after it that its measurements were dropped.
          </Text>
        ) : (
          <Charts course={course} release={release} />
        )
      }
    </Shown>
  );
}

function Charts({ course, release }: { course: CourseDocument; release: Release }) {
  const { measurements, split } = course;
  const at = measurements.map((measurement) => seconds(measurement.at));
  const marks = course.moments.map((moment) => ({ at: seconds(moment.at), words: moment.words }));
  const ends = [...at, ...marks.map((mark) => mark.at), ...split.map((point) => seconds(point.at))];
  const from = seconds(release.requested_at);
  const to = release.ended_at === null ? Math.max(...ends) : seconds(release.ended_at);
  const shared = { at, from, marks, to };
  const shares = [...split.map((point) => point.percent), split.at(-1)?.percent ?? 0];

  return (
    <Stack gap={3}>
      <Text fontSize="sm">
        {`Broken lines: ${course.moments.map((moment) => `${moment.words} at ${clock(moment.at)}`).join(", ") || "none"}.`}
      </Text>
      <Chart
        {...shared}
        at={[...split.map((point) => seconds(point.at)), to]}
        lines={[{ colour: CANDIDATE, name: "candidate", values: shares }]}
        name="Traffic"
        stepped
        top={100}
        unit="%"
      />
      <Chart {...shared} lines={arms(measurements, perSecond)} name="Requests" unit="per second" />
      <Chart {...shared} lines={arms(measurements, failed)} name="Failed" top={1} unit="% of the requests" />
      <Chart {...shared} lines={arms(measurements, ({ now }) => now.p99_ms)} name="Latency, 99 % at most" unit="ms" />
      <Chart
        {...shared}
        limit={1}
        lines={evidence(measurements)}
        name="Evidence against it"
        timed
        top={1.1}
        unit="of what a rule needs to roll back"
      />
      <details>
        <summary>As numbers</summary>
        <Numbers measurements={measurements} />
      </details>
    </Stack>
  );
}

interface Interval {
  now: Arm;
  before: Arm | null;
  lasted_s: number;
}

const perSecond = ({ before, lasted_s, now }: Interval): number | null =>
  lasted_s < SHORTEST_S ? null : positive(now.requests - (before?.requests ?? 0), lasted_s);

const failed = ({ before, now }: Interval): number | null =>
  positive(100 * (now.failures - (before?.failures ?? 0)), now.requests - (before?.requests ?? 0));

/** What was counted is since the step began: of an interval it is the difference, unless a counter began anew. */
const positive = (part: number, whole: number): number | null => (part < 0 || whole <= 0 ? null : part / whole);

function arms(measurements: Measurement[], value: (interval: Interval) => number | null): Line[] {
  const line = (name: "candidate" | "stable", colour: string): Line => ({
    colour,
    name,
    values: measurements.map((measurement, index) => {
      const earlier = measurements[index - 1];
      const before = earlier?.step === measurement.step ? earlier : undefined;
      const now = measurement[name];
      const lasted_s = measurement.window_s - (before?.window_s ?? 0);

      return now === null ? null : value({ before: before?.[name] ?? null, lasted_s, now });
    }),
  });

  return [line("candidate", CANDIDATE), line("stable", STABLE)];
}

function evidence(measurements: Measurement[]): Line[] {
  const rules = [...new Set(measurements.flatMap((measurement) => Object.keys(measurement.evidence)))].sort();

  return rules.map((rule, index) => ({
    colour: RULES[index % RULES.length] ?? CANDIDATE,
    name: rule,
    values: measurements.map((measurement) => measurement.evidence[rule] ?? null),
  }));
}

const Numbers = ({ measurements }: { measurements: Measurement[] }) => (
  <Table.ScrollArea maxH="300px" tabIndex={0}>
    <Table.Root size="sm">
      <Table.Header>
        <Table.Row>
          {["When", "Step", "Candidate", "Stable", "Evidence against it"].map((name) => (
            <Table.ColumnHeader key={name}>{name}</Table.ColumnHeader>
          ))}
        </Table.Row>
      </Table.Header>
      <Table.Body>
        {measurements.map((measurement) => (
          <Table.Row key={measurement.at}>
            <Table.Cell>{clock(measurement.at)}</Table.Cell>
            <Table.Cell>{measurement.step}</Table.Cell>
            <Table.Cell>{arm(measurement.candidate)}</Table.Cell>
            <Table.Cell>{arm(measurement.stable)}</Table.Cell>
            <Table.Cell>
              {Object.entries(measurement.evidence)
                .map(([rule, share]) => `${rule} ${share}`)
                .join(", ")}
            </Table.Cell>
          </Table.Row>
        ))}
      </Table.Body>
    </Table.Root>
  </Table.ScrollArea>
);

const arm = (counted: Arm | null): string =>
  counted === null ? "not known" : `${counted.failures} of ${counted.requests} failed, ${counted.slow} slow`;

const seconds = (at: string): number => new Date(at).getTime() / 1000;
