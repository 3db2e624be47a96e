"""A revision's way to all of a service's traffic, judged by evidence, and back."""
