import { DashboardCard } from "./DashboardCard";
import { ControlRoom, ReleasesOfRun } from "./pages";

// Airflow looks for a component by the name of its entry: see bulkhead/plugins/web.py.
Object.assign(globalThis, {
  Bulkhead: ControlRoom,
  BulkheadDashboard: DashboardCard,
  Release: ReleasesOfRun,
  Releases: ReleasesOfRun,
});

// Airflow waits for this file behind React's Suspense, which leaves its spinner for at least 300 ms once it was shown. A
// change of the address has the page drawn anew, and with what is there by now: the address has not changed.
dispatchEvent(new PopStateEvent("popstate", { state: history.state }));
