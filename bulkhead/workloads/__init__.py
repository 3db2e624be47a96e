"""Servers of revisions, by where they run."""
