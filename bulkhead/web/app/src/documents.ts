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

export interface Release extends ReleaseSummary {
  plan: { weight: number; mirror: number; approve: boolean; words: string }[];
  candidate: Revision;
  replaces: Revision | null;
  serves: boolean;
  decision: Record<string, unknown> | null;
  evidence: Record<string, unknown>;
  isolated: string[];
  events: { id: number; at: string; kind: string; words: string | null }[];
  commands: string[];
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
