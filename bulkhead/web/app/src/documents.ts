// The documents of the JSON API: bulkhead/web/documents.py and fleet_documents.py.

export type Attention = "approval" | "failing" | "rolled-back" | "devices" | "isolated" | "none";

export interface Revision {
  id: string;
  model_name: string;
  model_version: string | null;
  model_uri: string;
  image: string;
  created_at: string;
}

export interface Share {
  revision: string;
  percent: number;
  role: "stable" | "candidate";
}

export interface ReleaseSummary {
  id: number;
  service: string;
  revision: string;
  model_name: string;
  model_version: string | null;
  stable: string | null;
  phase: string;
  step: number;
  steps: number;
  dag_id: string | null;
  run_id: string | null;
  requested_at: string;
  phase_at: string;
  decided_at: string | null;
  contained_at: string | null;
  ended_at: string | null;
  reason: string | null;
  words: string | null;
}

export type ActionKind = "approve" | "promote" | "rollback" | "return" | "isolate" | "unisolate";

export interface Action {
  kind: ActionKind;
  words: string;
  command: string;
  step: number | null;
  levels: { level: string; touches: string }[];
}

export interface Isolation {
  level: string;
  reason: string;
  requested_by: string;
  created_at: string;
  applied_at: string | null;
}

export interface Permission {
  person: string;
  dag_id: string | null;
  allowed: boolean;
}

export interface Recorded {
  words: string;
  release: number;
}

export interface Release extends ReleaseSummary {
  plan: { weight: number; mirror: number; approve: boolean; words: string }[];
  candidate: Revision;
  replaces: Revision | null;
  serves: boolean;
  nodes: string[];
  devices: string[];
  run_url: string;
  model_url: string;
  decision: Record<string, unknown> | null;
  evidence: Record<string, unknown>;
  isolated: Isolation[];
  events: { id: number; at: string; kind: string; words: string | null }[];
  actions: Action[];
}

export interface Arm {
  requests: number;
  failures: number;
  slow: number;
  p99_ms: number | null;
}

export interface Measurement {
  at: string;
  step: number;
  window_s: number;
  candidate: Arm | null;
  stable: Arm | null;
  evidence: Record<string, number>;
}

export interface Course {
  split: { at: string; percent: number }[];
  moments: { at: string; words: string }[];
  measurements: Measurement[];
}

export interface Service {
  name: string;
  stable: Revision | null;
  split: Share[];
  release: ReleaseSummary | null;
  last: ReleaseSummary | null;
  failing: Record<string, string>;
  isolated: string[];
  devices: { count: number; by_health: Partial<Record<Health, number>> } | null;
  attention: Attention;
  why: string | null;
}

export type Health = "unhealthy" | "unknown" | "suspect" | "healthy";

interface Stand {
  health: Health;
  reason: string;
  evidence: string;
  action: string;
  quarantine: string | null;
  at: string;
}

export interface Device extends Stand {
  uuid: string;
  node: string;
  model: string;
  job: string;
  since: string;
}

export interface Node extends Stand {
  name: string;
  product: string;
  pool: string;
  devices: number;
  healthy: number;
  cordoned: boolean;
}

export interface Quarantine {
  target: string;
  kind: string;
  node: string;
  model: string;
  size: number;
  phase: string;
  applied_phase: string | null;
  evidence: string;
  action: string;
  holder: string;
  relapses: number;
  opened_at: string;
  phase_at: string;
}

export interface Fleet {
  looked_at: string | null;
  current: boolean;
  devices: Record<Health, number>;
  nodes: Record<Health, number>;
  models: { model: string; devices: number; healthy: number; away: number; budget: number }[];
  quarantines: number;
  waiting: { target: string; waits_for: string; why: string; since: string; command: string }[];
}

export interface Page<Item> {
  items: Item[];
  total: number | null;
  next: number | null;
}
