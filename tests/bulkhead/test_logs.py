"""What a service writes to its log can be written, whatever it quotes, and says what it is about."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkhead.logs import Format, about, log_to_console
from tests.hostile import NASTY

log = logging.getLogger("bulkhead.test")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Format, Callable[[], None]], str]:
    """The log after something has logged, in a form."""

    def write(form: Format, act: Callable[[], None]) -> str:
        handler = logging.FileHandler(tmp_path / form, encoding="utf-8")
        monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
        monkeypatch.setattr(logging, "raiseExceptions", True)
        monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)
        log_to_console(form)
        act()
        handler.close()
        return (tmp_path / form).read_text(encoding="utf-8")

    return write


def _fail(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("it failed: %s", text)


@pytest.mark.parametrize("text", NASTY)
def test_any_error_is_logged_with_its_traceback(written: Any, text: str) -> None:
    found = written("text", lambda: _fail(text))
    assert "ERROR bulkhead.test it failed" in found and "Traceback" in found
    assert "\x1b" not in found and "\x00" not in found


@pytest.mark.parametrize("text", NASTY)
def test_as_json_it_is_one_object_a_line(written: Any, text: str) -> None:
    (line,) = written("json", lambda: _fail(text)).splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"]) == ("error", "bulkhead.test")
    assert entry["event"].startswith("it failed") and "Traceback" in entry["exception"]
    json.dumps(entry, ensure_ascii=False).encode()


def test_each_line_says_what_it_is_about(written: Any) -> None:
    def act() -> None:
        with about(service="digits", revision="digits-a"):
            with about(rollout=7, dag_run="airflow:release/run"):
                log.info("inside")
            log.info("between")
        log.info("outside")

    inside, between, outside = map(json.loads, written("json", act).splitlines())
    assert list(inside) == ["timestamp", "level", "logger", "event", "service", "revision", "rollout", "dag_run"]
    assert (inside["rollout"], inside["dag_run"]) == (7, "airflow:release/run")
    assert (between["service"], between["revision"]) == ("digits", "digits-a") and "rollout" not in between
    assert "service" not in outside
    assert (
        written("text", act)
        .splitlines()[0]
        .endswith("INFO bulkhead.test inside service=digits revision=digits-a rollout=7 dag_run=airflow:release/run")
    )
