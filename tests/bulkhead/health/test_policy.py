from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.health.policy import Policy, load_policy


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_the_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, "heat: {hot_c: 85}\n"))
    assert policy.heat.hot_c == 85
    assert policy.xids == Policy().xids
    assert load_policy(written(tmp_path, "")) == load_policy(None) == Policy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heat: {hot: 85}", r"heat\.hot = 85"),
        ("peers: {least: 2}", r"peers\.least = 2"),
        ("heat: {suspect_s: 700}", r"heat\.unhealthy_s is below heat\.suspect_s"),
        ("- 1", "valid dictionary"),
        ("{", "not readable as YAML"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as raised:
        load_policy(written(tmp_path, text))
    assert "policy.yaml" in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="absent"):
        load_policy(tmp_path / "absent.yaml")
