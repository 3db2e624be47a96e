"""Alerts that take a release back: whoever watches from outside has a say."""
