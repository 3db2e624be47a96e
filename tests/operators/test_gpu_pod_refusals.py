"""What is asked for wrongly, and what the cluster refuses."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kmock
import pytest
from airflow.sdk import DAG, BaseHook
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
)

from bulkhead.errors import InvalidInputError
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.retry import ContainmentRetryPolicy
from bulkhead.pods.exceptions import (
    ClusterUnreachableError,
    PodConfigError,
    PodRefusedError,
    PodUnschedulableError,
)
from bulkhead.pods.relaxations import Relaxations
from tests.fixtures.gpu_pod import DIGEST, launch, pods_of, with_dag
from tests.fixtures.kubernetes import kubeconfig_of

Context = Callable[..., Any]


# Bad input, refusals


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, "exceeded quota: gpus, requested: requests.nvidia.com/gpu=8", PodUnschedulableError),
        (403, 'violates PodSecurity "restricted:latest"', PodRefusedError),
        (404, 'namespaces "default" not found', PodConfigError),
        (401, "Unauthorized", ClusterUnreachableError),
    ],
)
async def test_a_refusal_has_a_type(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    status: int,
    message: str,
    kind: type[Exception],
) -> None:
    cluster[kmock.action.CREATE] << status << {"kind": "Status", "message": message}
    with pytest.raises(kind, match=r"exceeded|violates|not found|Unauthorized"):
        await asyncio.to_thread(operator().execute, with_dag(context("train")))


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504])
async def test_an_api_server_that_is_busy_is_asked_again_and_the_pod_is_one(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, fault: int
) -> None:
    """The answer is lost, not the request: kmock has created the pod by then, so that asking again is a conflict."""
    cluster[kmock.action.CREATE][:1] << fault << kmock.headers({"Retry-After": "0"})
    trigger = await launch(operator(), context("train"))
    assert list(pods_of(cluster)) == [trigger.name]


async def test_an_api_server_that_stays_away_is_named_and_tried_by_another_try(
    broken: kmock.RawHandler, operator: Callable[..., GpuPodOperator], context: Context, tmp_path: Path
) -> None:
    broken << 500 << {"message": "etcdserver: request timed out"}
    job = operator(config_file=kubeconfig_of(str(broken.url), tmp_path))
    with pytest.raises(ClusterUnreachableError, match="etcdserver"):
        await asyncio.to_thread(job.execute, with_dag(context("train")))
    assert len(broken) == 5


def test_a_connection_that_does_not_exist_is_named_and_not_tried_again(
    operator: Callable[..., GpuPodOperator], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = operator(kubernetes_conn_id="no_such", config_file=None)
    monkeypatch.setattr(BaseHook, "get_connection", _no_connection)
    with pytest.raises(AirflowFailException, match="kubernetes_conn_id = 'no_such': no such connection; make it"):
        job.execute(with_dag(context("train")))


def _no_connection(conn_id: str) -> None:
    raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")


@pytest.mark.parametrize(("text", "named"), [(None, "no such file"), ("a: [", "not readable as YAML")])
async def test_a_pod_template_that_is_none_is_named(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    tmp_path: Path,
    text: str | None,
    named: str,
) -> None:
    path = tmp_path / "template.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AirflowFailException, match=f"pod_template_file = .*{named}"):
        await asyncio.to_thread(operator(pod_template_file=str(path)).execute, with_dag(context("train")))
    assert len(cluster) == 0


def test_the_dags_own_defaults_come_before_ours() -> None:
    own = ContainmentRetryPolicy(infrastructure_retries=7)
    defaults = {"retry_policy": own, "retries": 2, "startup_timeout_seconds": 5}
    with DAG("d", schedule=None, default_args=defaults):
        job, local = GpuPodOperator(task_id="t", image=DIGEST), PodOperator(task_id="p", command=["x"])
    assert job.retry_policy is local.retry_policy is own
    assert (job.retries, job.startup_timeout_seconds) == (9, 5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"automount_service_account_token": True}, "service_account_token=True"),
        ({"hostnetwork": True}, "host_network"),
        ({"image": "repo/train:latest", "require_digest": True}, "image = 'repo/train:latest'"),
    ],
)
async def test_what_is_too_much_is_refused_before_anything_is_created(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    arguments: dict[str, Any],
    named: str,
) -> None:
    job = operator()
    for name, value in arguments.items():  # past the check when the DAG is read: a pod template may say the same
        setattr(job, name, value)
    with pytest.raises(AirflowFailException, match=named):
        await asyncio.to_thread(job.execute, with_dag(context("train")))
    assert len(cluster) == 0


def test_a_relaxation_is_said_by_name() -> None:
    job = GpuPodOperator(
        task_id="t", image=DIGEST, automount_service_account_token=True, relax=Relaxations(service_account_token=True)
    )
    assert job.build_pod_request_obj(dry_run=True).spec.automount_service_account_token is True


def test_what_is_not_served_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="logging_interval = 5: GpuPodOperator does not serve it"):
        GpuPodOperator(task_id="t", image=DIGEST, logging_interval=5)


def test_an_impossible_gpu_request_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidInputError, match="mig_profile = 'big'"):
        GpuPodOperator(task_id="t", image=DIGEST, mig_profile="big")
