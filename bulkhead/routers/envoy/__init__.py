"""Envoy, configured by files: weights change by one atomic rename."""
