"""Is the candidate good enough? Pure functions from counts and histograms to a verdict with its numbers."""
