"""What strangers write: texts that a database, an encoder, a terminal or a template trips over."""

from hypothesis import strategies as st

NASTY = (
    "\x00",
    "Fatal Python error: \x00\x00 dumped",
    "\x1f\x8b\x08\x00\x00",
    "cannot read caf\udce9.jpg",
    "\ud800",
    "\U0001f642" * 5000,
    "x" * 100_000,
    "\x1b[2J\x1b[31mred",
    "'; DROP TABLE events; --",
    "[/red]",
    "%s %n {0} {x} ${HOME}",
    "\u202egnp.exe",
    "NaN",
    "a\r\nb\n\nc",
    "",
)
"""One of each kind that has been met."""

TEXT = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=300)
"""Any text, halves of surrogate pairs included."""
