// What the pages use of react-router-dom, for the page of 'bulkhead ui': one path, and what its query names.
import { type AnchorHTMLAttributes, type MouseEvent, useSyncExternalStore } from "react";

const MOVED = "popstate";

function subscribe(changed: () => void): () => void {
  addEventListener(MOVED, changed);

  return () => removeEventListener(MOVED, changed);
}

export function useSearchParams(): [URLSearchParams] {
  return [new URLSearchParams(useSyncExternalStore(subscribe, () => location.search))];
}

interface LinkProps extends AnchorHTMLAttributes<HTMLAnchorElement> {
  to: string;
}

export function Link({ to, ...rest }: LinkProps) {
  if (to.startsWith("/dags/")) {
    return <span>{rest.children}</span>; // Airflow's own pages are not here
  }
  const follow = (event: MouseEvent) => {
    if (event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      history.pushState(undefined, "", to);
      dispatchEvent(new PopStateEvent(MOVED));
    }
  };

  return <a {...rest} href={to} onClick={follow} />;
}
