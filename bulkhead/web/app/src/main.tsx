import { DashboardCard } from "./DashboardCard";
import { ControlRoom, ReleasesOfRun } from "./pages";

// Airflow looks for a component by the name of its entry: see bulkhead/plugins/web.py.
Object.assign(globalThis, {
  Bulkhead: ControlRoom,
  BulkheadDashboard: DashboardCard,
  Release: ReleasesOfRun,
  Releases: ReleasesOfRun,
});
