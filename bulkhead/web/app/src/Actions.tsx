import { Alert, Button, Checkbox, Code, Dialog, Field, HStack, Portal, Stack, Text, Textarea } from "@chakra-ui/react";
import { useState } from "react";

import { act, useApi } from "./api";
import type { Action, ActionKind, Permission, Recorded, Release } from "./documents";
import { To } from "./parts";

const NAMES: Record<ActionKind, string> = {
  approve: "Approve",
  isolate: "Isolate",
  promote: "Promote",
  return: "Give it all of the traffic",
  rollback: "Roll back",
  unisolate: "End the isolation",
};
const PALETTES: Record<ActionKind, string> = {
  approve: "green",
  isolate: "orange",
  promote: "blue",
  return: "blue",
  rollback: "red",
  unisolate: "gray",
};
const DEFAULT = ["traffic", "model"];

/** What can be done about a release now, by whoever may; for everybody else, and without Airflow, as commands. */
export function Actions({ release }: { release: Release }) {
  const permission = useApi<Permission>(`releases/${release.id}/permission`, true).data;
  const [chosen, setChosen] = useState<Action>();
  const [done, setDone] = useState<Recorded>();

  return (
    <Stack gap={3}>
      {permission?.allowed === true ? (
        <HStack wrap="wrap">
          {release.actions.map((action) => (
            <Button
              colorPalette={PALETTES[action.kind]}
              key={action.kind}
              onClick={() => {
                setDone(undefined);
                setChosen(action);
              }}
              size="sm"
              title={action.words}
              variant="surface"
            >
              {NAMES[action.kind]}
            </Button>
          ))}
        </HStack>
      ) : undefined}
      {permission?.allowed === false ? (
        <Text fontSize="sm">
          {`Acting from here asks for the permission to edit ${
            permission.dag_id === null ? "every DAG" : `DAG ${permission.dag_id}`
          }, which ${permission.person} does not have.`}
        </Text>
      ) : undefined}
      {done === undefined ? undefined : (
        <Alert.Root role="status" status="success">
          <Alert.Indicator />
          <Alert.Title>
            {done.words}{" "}
            {done.release === release.id ? undefined : (
              <To to={`/plugin/bulkhead?release=${done.release}`}>{`Release ${done.release}`}</To>
            )}
          </Alert.Title>
        </Alert.Root>
      )}
      <details>
        <summary>On the command line</summary>
        <Stack gap={1} mt={2}>
          {release.actions.map((action) => (
            <Code alignSelf="flex-start" key={action.kind}>
              {action.command}
            </Code>
          ))}
        </Stack>
      </details>
      {chosen === undefined ? undefined : (
        <Confirm
          action={chosen}
          key={chosen.kind}
          onClose={() => setChosen(undefined)}
          onDone={(recorded) => {
            setDone(recorded);
            setChosen(undefined);
          }}
          release={release}
        />
      )}
    </Stack>
  );
}

interface ConfirmProps {
  action: Action;
  onClose: () => void;
  onDone: (recorded: Recorded) => void;
  release: Release;
}

/** Asks for the reason, and says what will be touched. One key for as long as it is open: pressed twice, done once. */
function Confirm({ action, onClose, onDone, release }: ConfirmProps) {
  const [key] = useState(newKey);
  const [reason, setReason] = useState("");
  const [levels, setLevels] = useState(() =>
    action.levels.map(({ level }) => level).filter((level) => DEFAULT.includes(level)),
  );
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);

  const press = async () => {
    setBusy(true);
    setError(undefined);
    const asked = {
      reason,
      ...(action.step === null ? {} : { step: action.step }),
      ...(action.levels.length === 0 ? {} : { levels }),
    };

    try {
      onDone(await act(`releases/${release.id}/${action.kind}`, key, asked));
    } catch (trouble) {
      setError(trouble instanceof Error ? trouble.message : String(trouble));
      setBusy(false);
    }
  };

  return (
    <Dialog.Root onOpenChange={({ open }) => (open ? undefined : onClose())} open>
      <Portal>
        <Dialog.Backdrop />
        <Dialog.Positioner>
          <Dialog.Content className="bulkhead-dialog">
            <Dialog.Header>
              <Dialog.Title>{`${NAMES[action.kind]}: release ${release.id} of ${release.service}`}</Dialog.Title>
            </Dialog.Header>
            <Dialog.Body>
              <Stack gap={4}>
                <Text>{action.words}</Text>
                {action.levels.length === 0 ? undefined : (
                  <Levels action={action} chosen={levels} onChange={setLevels} />
                )}
                <Field.Root required>
                  <Field.Label>Reason, for whoever reads what happened</Field.Label>
                  <Textarea maxLength={1000} onChange={(event) => setReason(event.target.value)} value={reason} />
                </Field.Root>
                {error === undefined ? undefined : (
                  <Alert.Root role="alert" status="error">
                    <Alert.Indicator />
                    <Alert.Title>{error}</Alert.Title>
                  </Alert.Root>
                )}
              </Stack>
            </Dialog.Body>
            <Dialog.Footer>
              <Button onClick={onClose} variant="outline">
                Cancel
              </Button>
              <Button
                colorPalette={PALETTES[action.kind]}
                disabled={busy || reason.trim() === ""}
                onClick={() => void press()}
                variant="surface"
              >
                {NAMES[action.kind]}
              </Button>
            </Dialog.Footer>
          </Dialog.Content>
        </Dialog.Positioner>
      </Portal>
    </Dialog.Root>
  );
}

interface LevelsProps {
  action: Action;
  chosen: string[];
  onChange: (levels: string[]) => void;
}

const Levels = ({ action, chosen, onChange }: LevelsProps) => (
  <Stack aria-label="how far" gap={2} role="group">
    {action.levels.map(({ level, touches }) => (
      <Checkbox.Root
        checked={level === "traffic" || chosen.includes(level)}
        disabled={level === "traffic"}
        key={level}
        onCheckedChange={({ checked }) =>
          onChange(checked === true ? [...chosen, level] : chosen.filter((other) => other !== level))
        }
      >
        <Checkbox.HiddenInput />
        <Checkbox.Control />
        <Checkbox.Label>{`${level}: ${touches}`}</Checkbox.Label>
      </Checkbox.Root>
    ))}
  </Stack>
);

// crypto.randomUUID is there on pages that came over TLS or from this machine; getRandomValues is there on all.
const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
