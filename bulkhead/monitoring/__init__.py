"""How the long-running parts say how they are: probes for whoever restarts them, metrics for Prometheus."""
