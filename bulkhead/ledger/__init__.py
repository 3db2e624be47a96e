"""The ledger: intents, rollouts and an append-only event log, in SQLite or PostgreSQL."""
