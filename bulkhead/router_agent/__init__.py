"""What runs beside an Envoy in a pod: it follows the service's split, and says what Envoy has of it."""
