from dataclasses import replace
from typing import Any

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.rollout.revision import RevisionSpec

SPEC = RevisionSpec("digits", "digits", "models:/m-1", "image@sha256:1", {"gpus": 1})


def test_equal_deployables_are_one_revision() -> None:
    assert replace(SPEC, evidence={"accuracy": 0.98}).id == SPEC.id
    assert SPEC.id.startswith("digits-")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_uri": "models:/m-2"},
        {"image": "image@sha256:2"},
        {"serve": {"gpus": 2}},
        {"model_version": "3"},
        {"model_name": "other"},
    ],
)
def test_what_is_deployed_tells_revisions_apart(changes: dict[str, Any]) -> None:
    assert replace(SPEC, **changes).id != SPEC.id


@pytest.mark.parametrize("service", ["", "Digits", "1digits", "digits-", "a" * 41, "a/b"])
def test_a_service_that_is_no_name_is_refused(service: str) -> None:
    with pytest.raises(InvalidInputError, match=r"revision\.service"):
        replace(SPEC, service=service)


@pytest.mark.parametrize("name", ["model_name", "model_uri", "image"])
def test_what_is_empty_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"revision\.{name}"):
        replace(SPEC, **{name: ""})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_uri": "models:/a\x00"}, r"revision\.model_uri = 'models:/a\\x00': leave out NUL"),
        ({"image": "caf\udce9"}, r"revision\.image = .*: leave out NUL characters and halves"),
        ({"serve": {"env": {"A": "\x00"}}}, r"revision\.serve\.env\.A = .*: leave out NUL"),
        ({"model_name": "m" * 257}, r"revision\.model_name = .*: MLflow's registry takes at most 256 characters"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_asked_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        replace(SPEC, **changes)
