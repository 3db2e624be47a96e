// The documents of the JSON API: bulkhead/web/documents.py.

export type Attention = "approval" | "failing" | "rolled-back" | "isolated" | "none";

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

export type ActionKind = "approve" | "rollback" | "return" | "isolate" | "unisolate";

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
  attention: Attention;
  why: string | null;
}

export interface Page<Item> {
  items: Item[];
  total: number | null;
  next: number | null;
}
