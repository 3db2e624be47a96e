import { Alert, Badge, DataList, Heading, HStack, Stack, Table } from "@chakra-ui/react";

import { Actions } from "./Actions";
import { useApi } from "./api";
import { Course } from "./Course";
import type { Release } from "./documents";
import { clock, short, time, version } from "./format";
import { External, phase, Shown, To } from "./parts";

/** One release: what became of it and why, what it is, and what happened when. */
export function ReleaseView({ id }: { id: number }) {
  return <Shown answer={useApi<Release>(`releases/${id}`)}>{(release) => <Details release={release} />}</Shown>;
}

function Details({ release }: { release: Release }) {
  const back = release.decided_at !== null;

  return (
    <Stack gap={5}>
      <HStack wrap="wrap">
        <Heading as="h1" size="xl">{`Release ${release.id} of ${release.service}`}</Heading>
        <Badge colorPalette={back ? "red" : release.ended_at === null ? "blue" : "green"} size="lg" variant="surface">
          {phase(release)}
        </Badge>
      </HStack>
      {release.words === null ? undefined : (
        <Alert.Root status={back ? "error" : "success"}>
          <Alert.Indicator />
          <Alert.Title>{release.words}</Alert.Title>
        </Alert.Root>
      )}
      <Section name="What can be done now">
        <Actions release={release} />
      </Section>
      <Section name="How it went">
        <Course release={release} />
      </Section>
      <Section name="What happened">
        <Happened release={release} />
      </Section>
      <Section name="What it is">
        <Facts facts={facts(release)} />
      </Section>
      {Object.keys(release.evidence).length === 0 ? undefined : (
        <Section name="What spoke for it">
          <Facts facts={Object.entries(release.evidence).map(([name, value]) => [name, short(value)])} />
        </Section>
      )}
    </Stack>
  );
}

const Section = ({ children, name }: { children: React.ReactNode; name: string }) => (
  <section aria-label={name}>
    <Heading as="h2" mb={2} size="md">
      {name}
    </Heading>
    {children}
  </section>
);

const Happened = ({ release }: { release: Release }) => (
  <Table.Root size="sm">
    <Table.Header>
      <Table.Row>
        <Table.ColumnHeader w="120px">When</Table.ColumnHeader>
        <Table.ColumnHeader>What</Table.ColumnHeader>
      </Table.Row>
    </Table.Header>
    <Table.Body>
      {release.events
        .filter((event) => event.words !== null)
        .map((event) => (
          <Table.Row key={event.id}>
            <Table.Cell title={time(event.at)} verticalAlign="top" whiteSpace="nowrap">
              {clock(event.at)}
            </Table.Cell>
            <Table.Cell>{event.words}</Table.Cell>
          </Table.Row>
        ))}
    </Table.Body>
  </Table.Root>
);

type Fact = [name: string, value: React.ReactNode];

const Facts = ({ facts: shown }: { facts: Fact[] }) => (
  <DataList.Root orientation="horizontal" size="sm">
    {shown.map(([name, value]) => (
      <DataList.Item flexWrap="wrap" key={name}>
        <DataList.ItemLabel minW="220px">{name}</DataList.ItemLabel>
        <DataList.ItemValue wordBreak="break-word">{value}</DataList.ItemValue>
      </DataList.Item>
    ))}
  </DataList.Root>
);

function facts(release: Release): Fact[] {
  const known: Fact[] = [
    ["Revision", release.serves ? `${release.revision}, which serves now` : release.revision],
    [
      "Model",
      <>
        {release.model_url === "" ? version(release) : <External href={release.model_url}>{version(release)}</External>}
        {`, ${release.candidate.model_uri}`}
      </>,
    ],
    ["Image", release.candidate.image],
    ["Replaces", release.replaces === null ? "nothing: it is the first" : version(release.replaces)],
    ["Plan", release.plan.map((step) => step.words).join(", ")],
    ["Requested", time(release.requested_at)],
  ];

  if (release.run_url !== "") {
    known.push([
      "MLflow run",
      <External href={release.run_url} key="run">
        {String(release.evidence["run_id"])}
      </External>,
    ]);
  }
  if (release.nodes.length > 0) {
    known.push(["Node", release.nodes.join(", ")]);
  }
  if (release.devices.length > 0) {
    known.push(["GPU", release.devices.join(", ")]);
  }
  if (release.dag_id !== null && release.run_id !== null) {
    const { dag_id, run_id } = release;
    const run = `/dags/${encodeURIComponent(dag_id)}/runs/${encodeURIComponent(run_id)}`;

    known.push(["DAG run", <To key="run" to={run}>{`${dag_id}, ${run_id}`}</To>]);
  }
  for (const isolation of release.isolated) {
    const { applied_at, created_at, level, reason, requested_by } = isolation;
    const state = applied_at === null ? ", not in force yet" : "";

    known.push([`Isolated: ${level}`, `${reason} (${requested_by}, ${time(created_at)}${state})`]);
  }

  return known;
}
