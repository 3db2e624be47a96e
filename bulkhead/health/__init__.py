"""Device health: what devices show, what that means, and which of them are kept away from work."""
