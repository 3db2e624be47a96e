"""The demo: the whole way of three releases on one machine, for real."""
