"""Where checkpoints are kept: a directory, or what fsspec reaches by a URL. No torch here: pods without it ask too."""
