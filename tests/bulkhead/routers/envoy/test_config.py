import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.errors import InvalidInputError
from bulkhead.routers.base import Fence, Split
from bulkhead.routers.envoy import config

_names = st.from_regex(r"[a-z]{1,10}-[0-9a-f]{8}", fullmatch=True)


@given(st.lists(_names, min_size=1, max_size=4, unique=True), st.integers(0, 100), st.integers(0), st.integers(0))
def test_what_was_written_is_read_back(names: list[str], share: int, generation: int, sequence: int) -> None:
    weights = {names[0]: 100} if len(names) == 1 else {names[0]: share, names[1]: 100 - share}
    split = Split({name: 1024 + index for index, name in enumerate(names)}, weights)
    fence = Fence(generation, sequence)
    document = json.loads(json.dumps(config.routes("digits", split, fence)))
    assert config.parse_routes(document) == (fence, split)


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ({"a": 50}, "sum to 100"),
        ({"a": 110, "b": -10}, "at least 0"),
        ({"a": 50, "x": 50}, r"\['x'\]: name revisions with an endpoint: \['a', 'b'\]"),
    ],
)
def test_what_is_no_split_is_refused(weights: dict[str, int], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        config.routes("digits", Split({"a": 1, "b": 2}, weights), Fence(1, 1))


def test_a_service_with_nobody_to_serve_it_says_so() -> None:
    document = config.routes("digits", Split(), Fence(0, 0))
    route = document["resources"][0]["virtual_hosts"][0]["routes"][0]
    assert route["direct_response"]["status"] == 503


def test_an_answer_is_never_retried() -> None:
    document = config.routes("digits", Split({"a": 1}, {"a": 100}), Fence(1, 1))
    policy = document["resources"][0]["virtual_hosts"][0]["routes"][0]["route"]["retry_policy"]
    assert policy["retry_on"] == "connect-failure,refused-stream,reset-before-request"


def test_the_admin_port_can_be_read_and_not_used_to_stop_it(tmp_path: Path) -> None:
    allowed = {path["prefix"] for path in config.bootstrap(tmp_path, 9901)["admin"]["allow_paths"]}
    assert "/quitquitquit" not in allowed and "/" not in allowed


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    documents = [config.bootstrap(tmp_path, 1), config.listener(tmp_path, "digits", (config.LOOPBACK, 2))]
    for document in documents:
        assert "0.0.0.0" not in json.dumps(document)
        assert "127.0.0.1" in json.dumps(document)
