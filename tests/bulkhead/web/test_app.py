"""The pages' program: it is what its source says, and small."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from bulkhead import web

FOLDER = Path(web.__file__).parent
BUNDLE = FOLDER / "static" / web.BUNDLE.removeprefix("/")
COMPRESSED_BYTES = 150_000


def _npm(folder: Path, *words: str) -> None:
    done = subprocess.run(["npm", *words], cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"npm {' '.join(words)}\n{done.stdout}\n{done.stderr}"


def test_the_bundle_is_what_the_source_makes(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("THE BUNDLE WAS NOT BUILT ANEW: npm is not here")
    app = tmp_path / "web" / "app"
    shutil.copytree(FOLDER / "app", app, ignore=shutil.ignore_patterns("node_modules"))
    _npm(app, "ci", "--no-audit", "--no-fund")
    _npm(app, "run", "check")
    _npm(app, "run", "build")
    built = tmp_path / "web" / "static" / BUNDLE.name
    assert built.read_bytes() == BUNDLE.read_bytes(), "run 'make ui', and commit what it has made"


def test_it_is_small() -> None:
    assert len(gzip.compress(BUNDLE.read_bytes())) < COMPRESSED_BYTES


def test_it_brings_nothing_that_airflows_page_has() -> None:
    text = BUNDLE.read_text()
    for name in ("React", "ReactJSXRuntime", "ChakraUI", "ReactRouterDOM"):
        assert f"globalThis.{name}" in text
    assert "react.element" not in text and "react.transitional.element" not in text
