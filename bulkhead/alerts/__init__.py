"""Alerts that roll a release back: outside monitoring has a say."""
