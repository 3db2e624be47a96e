"""What runs: pod specs, their identity, and the outcome a container leaves behind."""
