"""A scikit-learn model behind MLflow's own server: whose mistake a failed prediction is shows in its status."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc import scoring_server
from sklearn.linear_model import LogisticRegression

from bulkhead.gpu_tasks.attribution import attributing, noted
from bulkhead.gpu_tasks.predictions import PredictionTally
from bulkhead.gpu_tasks.serve import counted
from bulkhead.gpu_tasks.traffic import Traffic
from bulkhead.metrics.counters import load

FRAME = pd.DataFrame({"age": [20.0, 40.0, 60.0, 80.0], "income": [1.0, 2.0, 3.0, 4.0]})


class _Picky(LogisticRegression):
    """A model with a bug of its own."""

    def predict(self, X: Any) -> Any:
        if (np.asarray(X) < 0).any():
            raise ZeroDivisionError("no such age\nsecret")
        return super().predict(X)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    where = tmp_path_factory.mktemp("model") / "m"
    fitted = _Picky().fit(FRAME, [0, 0, 1, 1])
    mlflow.sklearn.save_model(
        fitted, where, signature=infer_signature(FRAME, np.array([0])), serialization_format="cloudpickle"
    )
    return attributing(mlflow.pyfunc.load_model(str(where)))


class Server:
    """The application, asked without a network."""

    def __init__(self, model: Any) -> None:
        self.tally, self.traffic = PredictionTally(), Traffic()
        self._app = counted(scoring_server.init(model), self.tally, self.traffic)

    def ask(self, body: bytes) -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []
        given = [{"type": "http.request", "body": body, "more_body": False}]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/invocations",
            "raw_path": b"/invocations",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "http_version": "1.1",
            "scheme": "http",
        }

        async def receive() -> dict[str, Any]:
            return given.pop() if given else await asyncio.Event().wait() or {}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))
        return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


@pytest.fixture
def server(model: Any) -> Server:
    return Server(model)


def _records(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"dataframe_records": list(rows)}).encode()


def test_a_request_that_does_not_meet_the_schema_is_the_clients(server: Server) -> None:
    assert server.ask(_records({"age": 30.0}))[0] == 400
    assert server.ask(b"{")[0] == 400
    assert server.ask(_records({"age": "old", "income": 1.0}))[0] == 400
    assert server.ask(_records({"age": 30.0, "income": 1.0}))[0] == 200
    seen = load({**server.traffic.document(), "answers": server.tally.document()})
    assert (seen.requests, seen.failures, seen.client_errors) == (4, 0, 3)
    assert seen.answers is not None and sum(seen.answers.errors.values()) == 3
    assert not any("old" in text or "30" in text for text in seen.answers.errors), "a request is nobody's to keep"


def test_a_model_that_raises_fails_the_release(server: Server) -> None:
    status, body = server.ask(_records({"age": -1.0, "income": 1.0}))
    assert status == 500 and json.loads(body)["error_code"] == "BAD_REQUEST"  # the rest is MLflow's own
    seen = load({**server.traffic.document(), "answers": server.tally.document()})
    assert (seen.requests, seen.failures, seen.client_errors) == (1, 1, 0)
    assert seen.answers is not None and seen.answers.errors == {"500 ZeroDivisionError: no such age": 1}


def test_what_one_request_raised_is_not_the_next_ones(server: Server) -> None:
    assert [server.ask(_records({"age": age, "income": 1.0}))[0] for age in (-1.0, 30.0)] == [500, 200]
    assert server.ask(_records({"age": 30.0}))[0] == 400


def test_outside_of_a_request_nothing_is_noted(model: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        model.predict(FRAME * -1)
    with noted() as raised:
        pass
    assert raised == []


def test_the_number_of_texts_is_bounded() -> None:
    tally = PredictionTally()
    for number in range(1000):
        tally.fail(500, f"row {number} " + "x" * 1000)
    errors = tally.document()["errors"]
    assert len(errors) <= 32 and sum(errors.values()) == 1000 and max(map(len, errors)) <= 210
