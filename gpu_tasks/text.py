"""Real text that every machine has: the Python standard library's sources and documentation strings, as bytes."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bulkhead.gpu_tasks.errors import ConfigError

_ASCII = 128

_HELD_OUT = 10
"""One file in so many is for validation, chosen by the hash of its name, so that no other file's place changes that."""


@dataclass(frozen=True)
class Text:
    """A byte-level data set.

    Attributes:
        train: bytes to train on, uint8.
        validation: bytes of other files, uint8.
        data_hash: SHA-256 of all of it with the files' names; the revision's.
        files: of which it was made, in their order: name, whether it is held out, and bytes of it.
    """

    train: npt.NDArray[np.uint8]
    validation: npt.NDArray[np.uint8]
    data_hash: str
    files: tuple[tuple[str, bool, int], ...]

    def bodies(self) -> Iterator[tuple[str, bool, bytes]]:
        """Each file: its name, whether it is held out, and its bytes."""
        places = {True: 0, False: 0}
        for name, held_out, size in self.files:
            part = self.validation if held_out else self.train
            begin = places[held_out]
            places[held_out] += size
            yield name, held_out, part[begin : begin + size].tobytes()

    def samples(self, block: int) -> int:
        """How many blocks the training text has; each starts where the last one ended.

        Args:
            block: bytes of one, without the byte that follows it.

        Raises:
            ConfigError: not one.
        """
        count = (len(self.train) - 1) // block
        if count < 1:
            raise ConfigError(f"block = {block}: the text has {len(self.train)} bytes; give a smaller block")
        return count

    def blocks(self, indices: npt.NDArray[np.int64], block: int) -> npt.NDArray[np.int64]:
        """Some samples.

        Args:
            indices: of the blocks, shape (n,).
            block: bytes of one.

        Returns:
            Shape (n, block + 1): what is read, and one byte further on, what is to be told.
        """
        places = np.asarray(indices)[:, None] * block + np.arange(block + 1)[None, :]
        blocks: npt.NDArray[np.int64] = self.train[places].astype(np.int64)
        return blocks


def load(folder: Path | None = None, most_bytes: int | None = None) -> Text:
    """Read a folder's Python sources, in the order of their names.

    Args:
        folder: with them, at any depth; by default this interpreter's standard library, without what was installed.
        most_bytes: so much of it at most; None for all.

    Returns:
        The text.

    Raises:
        ConfigError: the folder has too little.
    """
    root = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    parts: dict[bool, list[bytes]] = {True: [], False: []}
    files: list[tuple[str, bool, int]] = []
    digest, size = hashlib.sha256(), 0
    for path in _sources(root):
        if most_bytes is not None and size >= most_bytes:
            break
        inside = path.relative_to(root)
        body = path.read_bytes() if most_bytes is None else path.read_bytes()[: most_bytes - size]
        name = inside.as_posix().encode()
        digest.update(len(name).to_bytes(8) + name + len(body).to_bytes(8) + body)
        held_out = _held_out(name)
        parts[held_out].append(body)
        files.append((inside.as_posix(), held_out, len(body)))
        size += len(body)
    train, validation = (np.frombuffer(b"".join(parts[which]), dtype=np.uint8) for which in (False, True))
    if len(train) < 2 or len(validation) < 2:
        raise ConfigError(
            f"{root} has {len(files)} Python files with {size} bytes, too few to hold one out: give more text"
        )
    return Text(train, validation, digest.hexdigest(), tuple(files))


def next_bytes(rows: int = 4_000, before: int = 96, most_bytes: int = 8_000_000) -> Any:
    """Rows that judge a language model: what stands in files that were not trained on, and the byte that comes next.

    Args:
        rows: how many, spread over the text.
        before: bytes that the model is told.
        most_bytes: of the text, as in the training.

    Returns:
        A pandas DataFrame: ``context``, a text of ASCII, and ``next``, a byte as a number.

    Raises:
        ConfigError: the text is too short for so many rows.
    """
    import pandas as pd

    held_out = load(most_bytes=most_bytes).validation
    rest = len(held_out) - before
    ends = (
        np.linspace(before, len(held_out) - 1, min(2 * rows, rest), dtype=int) if rest > 0 else np.empty(0, dtype=int)
    )
    windows = [held_out[end - before : end + 1] for end in ends]
    plain = [window for window in windows if (window < _ASCII).all()]
    if len(plain) < rows:
        raise ConfigError(f"rows = {rows}: the text has {len(plain)} such; give fewer, or more text")
    plain = [plain[place] for place in np.linspace(0, len(plain) - 1, rows, dtype=int)]
    contexts = [window[:-1].tobytes().decode("ascii") for window in plain]
    return pd.DataFrame({"context": contexts, "next": [int(window[-1]) for window in plain]})


def by_place(frame: Any) -> Mapping[str, Any]:
    """Slices of ``next_bytes``: whether the next byte is in a comment, as far as its line tells.

    Args:
        frame: of ``next_bytes``.

    Returns:
        Masks by name.
    """
    comment = frame["context"].map(lambda context: "#" in context.rpartition("\n")[2])
    return {"comments": comment, "code": ~comment}


def _sources(root: Path) -> list[Path]:
    """Python files, sorted, without looking into what was installed: that is most of them."""
    paths: list[Path] = []
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if name != "site-packages"]
        paths += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(paths)


def _held_out(name: bytes) -> bool:
    return hashlib.sha256(name).digest()[0] % _HELD_OUT == 0
