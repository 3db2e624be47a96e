"""Who says how devices are: each gives snapshots, and one that fails says so instead of saying nothing."""
