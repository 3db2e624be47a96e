import { Button, HStack, Heading, Input, Stack, Table, Text } from "@chakra-ui/react";
import { useEffect, useRef, useState } from "react";

import type { Answer } from "./api";
import type { Page } from "./documents";

export const PAGE = 25;
const TYPING_MS = 250;

/** What is looked for, and from where on the list is shown; both begin anew with another search. */
export interface Looking {
  offset: number;
  search: string;
  setOffset: (offset: number) => void;
  setText: (text: string) => void;
  text: string;
}

/** The search follows what is typed once the typing pauses. */
export function useLooking(): Looking {
  const [text, setText] = useState("");
  const [search, setSearch] = useState("");
  const [offset, setOffset] = useState(0);

  useEffect(() => {
    const timer = setTimeout(() => {
      setSearch(text);
      setOffset(0);
    }, TYPING_MS);

    return () => clearTimeout(timer);
  }, [text]);

  return { offset, search, setOffset, setText, text };
}

/** The page before stays to be seen until the next one is there. */
export function useKept<Item>(answer: Answer<Item>): Answer<Item> {
  const last = useRef(answer.data);

  if (answer.data !== undefined) {
    last.current = answer.data;
  }

  return { data: last.current, error: answer.error };
}

interface TitleProps {
  children?: React.ReactNode;
  label: string;
  looking: Looking;
  name: string;
}

export const Title = ({ children, label, looking, name }: TitleProps) => (
  <HStack justify="space-between" wrap="wrap">
    <HStack wrap="wrap">
      <Heading as="h1" size="xl">
        {name}
      </Heading>
      {children}
    </HStack>
    <Input
      aria-label={label}
      maxLength={63}
      maxW="300px"
      onChange={(event) => looking.setText(event.target.value)}
      placeholder="find"
      value={looking.text}
    />
  </HStack>
);

interface ListProps<Item> {
  columns: string[];
  empty: string;
  looking: Looking;
  page: Page<Item>;
  row: (item: Item) => React.ReactNode;
}

/** A page of a list as a table, and the way to its other pages. */
export const List = <Item,>({ columns, empty, looking, page, row }: ListProps<Item>) =>
  page.items.length === 0 ? (
    <Text>{empty}</Text>
  ) : (
    <Stack gap={3}>
      <Table.ScrollArea aria-label={columns[0]} role="region" tabIndex={0}>
        <Table.Root size="sm">
          <Table.Header>
            <Table.Row>
              {columns.map((name) => (
                <Table.ColumnHeader key={name}>{name}</Table.ColumnHeader>
              ))}
            </Table.Row>
          </Table.Header>
          <Table.Body>{page.items.map(row)}</Table.Body>
        </Table.Root>
      </Table.ScrollArea>
      {page.next === null && looking.offset === 0 ? undefined : (
        <HStack>
          <Button
            disabled={looking.offset === 0}
            onClick={() => looking.setOffset(Math.max(0, looking.offset - PAGE))}
            size="xs"
            variant="outline"
          >
            Before
          </Button>
          <Text fontSize="sm">
            {`${(looking.offset + 1).toLocaleString()} to ${(looking.offset + page.items.length).toLocaleString()} of ${(
              page.total ?? 0
            ).toLocaleString()}`}
          </Text>
          <Button
            disabled={page.next === null}
            onClick={() => looking.setOffset(page.next ?? 0)}
            size="xs"
            variant="outline"
          >
            Next
          </Button>
        </HStack>
      )}
    </Stack>
  );
