"""Who runs a process, where its user has no name, as in a container."""

import pwd
from typing import NoReturn

import pytest

from bulkhead.cli.console import who
from bulkhead.users import user_name


def test_a_login_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert (user_name(), who()) == ("ada", "cli: ada")


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 65532"), OSError("No username set")])
def test_a_user_without_a_name_has_its_number(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nobody(_: int) -> NoReturn:
        raise error

    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr("os.getuid", lambda: 65532)
    assert (user_name(), who()) == ("uid-65532", "cli: uid-65532")
