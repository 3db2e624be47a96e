import { useEffect, useState } from "react";

import type { Recorded } from "./documents";

const EVERY_MS = 2000;

/** What was asked for, as far as it is known: the last answer stays while the next one fails. */
export interface Answer<Item> {
  data?: Item;
  error?: string;
}

async function ask(path: string, how: RequestInit): Promise<string> {
  const answer = await fetch(new URL(`bulkhead/api/${path}`, document.baseURI), how);

  if (answer.ok) {
    return answer.text();
  }
  const trouble = (await answer.json().catch(() => ({}))) as { error?: string };

  if (answer.status === 401) {
    throw new Error("You are not logged in any more. Reload the page to log in.");
  }
  throw new Error(trouble.error ?? `The server answered ${answer.status}.`);
}

/** Do something about a release. The key says which press it was: sent again, nothing more is done. */
export async function act(path: string, key: string, asked: object): Promise<Recorded> {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key };

  try {
    return JSON.parse(await ask(path, { body: JSON.stringify(asked), headers, method: "POST" })) as Recorded;
  } catch (error) {
    throw new Error(error instanceof TypeError ? "The server does not answer. Try again." : words(error));
  }
}

/** Ask every two seconds for as long as the page is looked at; or only until there is an answer. */
export function useApi<Item>(path: string, once = false): Answer<Item> {
  const [answer, setAnswer] = useState<{ path: string } & Answer<Item>>({ path });

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let known: string | undefined;

    const poll = async () => {
      if (!document.hidden) {
        try {
          // The browser asks again with the ETag that it has: what has not changed does not come twice.
          const text = await ask(path, { cache: "no-cache", signal: stop.signal });

          if (text !== known) {
            setAnswer({ data: JSON.parse(text) as Item, path });
            known = text; // what has not changed is not drawn again
          }
          if (once) {
            return;
          }
        } catch (error) {
          if (stop.signal.aborted) {
            return;
          }
          known = undefined;
          setAnswer((before) => ({ data: before.path === path ? before.data : undefined, error: words(error), path }));
        }
      }
      if (!stop.signal.aborted) {
        timer = setTimeout(() => void poll(), EVERY_MS);
      }
    };

    void poll();

    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [once, path]);

  return answer.path === path ? answer : {};
}

function words(error: unknown): string {
  if (error instanceof TypeError) {
    return "The server does not answer. What is shown is what it said last.";
  }

  return error instanceof Error ? error.message : String(error);
}
