"""What a service writes to its log can be written, whatever it quotes."""

import logging
from pathlib import Path

import pytest

from bulkhead.cli.console import log_to_console
from tests.hostile import NASTY


@pytest.mark.parametrize("text", NASTY)
def test_any_error_is_logged_with_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    root = logging.getLogger()
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(logging, "raiseExceptions", True)
    log_to_console()
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("bulkhead.test").exception("it failed: %s", text)
    handler.close()
    written = (tmp_path / "log").read_text(encoding="utf-8")
    assert "ERROR bulkhead.test it failed" in written and "Traceback" in written
    assert "\x1b" not in written and "\x00" not in written
