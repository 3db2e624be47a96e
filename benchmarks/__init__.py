"""Benchmarks: each prints one line of JSON at its end, measured against a named peer in the same run."""
