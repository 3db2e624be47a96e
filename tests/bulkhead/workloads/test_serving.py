"""What an author may say of how a revision is served."""

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.pods.secret_ref import SecretRef
from bulkhead.rollout.revision import RevisionSpec
from bulkhead.workloads.serving import parse_serve


def test_nothing_said_is_our_own_server() -> None:
    serve = parse_serve({})
    assert serve.argv(["our", "server"], 80, "models:/m") == ["our", "server"]
    assert (serve.port, serve.replicas, serve.ready_path) == (8080, 1, "/ping")


def test_a_command_is_told_its_port_and_model() -> None:
    serve = parse_serve({"command": ["vllm", "serve", "{model_uri}", "--port={port}"], "env": {"A": 1}})
    assert serve.argv([], 8000, "s3://m") == ["vllm", "serve", "s3://m", "--port=8000"]
    assert serve.env == {"A": "1"}


def test_its_secrets_come_beside_those_of_every_server() -> None:
    serve = parse_serve({"secret_env": {"TOKEN": ["hub", "token"]}})
    always = {"USER": ("mlflow", "username")}
    assert serve.secrets(always) == {"USER": SecretRef("mlflow", "username"), "TOKEN": SecretRef("hub", "token")}


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        ({"gpu_count": 1}, r"serve\.gpu_count = 1: Extra inputs"),
        ({"gpus": -1}, r"serve\.gpus = -1: "),
        ({"ready_path": "ping"}, r"serve\.ready_path = 'ping': "),
        ({"replicas": 0}, r"serve\.replicas = 0: "),
        ({"secret_env": {"A": "b"}}, r"serve\.secret_env\.A"),
        ({"hosts": 2}, r"serve\.hosts = 2: .*give a command"),
        ({"hosts": 2, "command": ["a"], "kserve": {}}, r"serve\.kserve = .*give hosts or kserve"),
        ({"command": ["a"], "kserve": {"model": {}}}, r"serve\.kserve = .*give command or kserve\.model"),
        ({"kserve": {"canaryTrafficPercent": 10}}, r"canaryTrafficPercent is .*the route in front splits the traffic"),
        ({"kserve": {"containers": []}}, r"containers is made from command and pod"),
        ({"kserve": {"minReplicas": 0}}, r"serve\.replicas gives both"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_asked_for(serve: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidInputError, match=message):
        RevisionSpec("digits", "digits", "models:/m", "image", serve)
