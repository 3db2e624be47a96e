"""What splits a service's traffic between revisions."""
