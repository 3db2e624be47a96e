import { useEffect, useState } from "react";

const EVERY_MS = 2000;

/** What was asked for, as far as it is known: the last answer stays while the next one fails. */
export interface Answer<Item> {
  data?: Item;
  error?: string;
}

async function get<Item>(path: string, signal: AbortSignal): Promise<Item> {
  // The browser asks again with the ETag that it has: what has not changed does not come twice.
  const answer = await fetch(new URL(`bulkhead/api/${path}`, document.baseURI), { cache: "no-cache", signal });

  if (answer.ok) {
    return (await answer.json()) as Item;
  }
  if (answer.status === 401 || answer.status === 403) {
    throw new Error("You are not logged in any more. Reload the page to log in.");
  }
  const trouble = (await answer.json().catch(() => ({}))) as { error?: string };

  throw new Error(trouble.error ?? `Airflow's api-server answered ${answer.status}.`);
}

/** Ask every two seconds for as long as the page is looked at. */
export function useApi<Item>(path: string): Answer<Item> {
  const [answer, setAnswer] = useState<{ path: string } & Answer<Item>>({ path });

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;

    const ask = async () => {
      if (!document.hidden) {
        try {
          const data = await get<Item>(path, stop.signal);

          setAnswer({ data, path });
        } catch (error) {
          if (stop.signal.aborted) {
            return;
          }
          setAnswer((before) => ({ data: before.path === path ? before.data : undefined, error: words(error), path }));
        }
      }
      if (!stop.signal.aborted) {
        timer = setTimeout(() => void ask(), EVERY_MS);
      }
    };

    void ask();

    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [path]);

  return answer.path === path ? answer : {};
}

function words(error: unknown): string {
  if (error instanceof TypeError) {
    return "Airflow's api-server does not answer. What is shown is what it said last.";
  }

  return error instanceof Error ? error.message : String(error);
}
