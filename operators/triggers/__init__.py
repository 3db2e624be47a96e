"""Triggers: one shared watch each, however many tasks wait."""
