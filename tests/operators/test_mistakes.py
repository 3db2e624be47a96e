"""Mistakes are told when the DAG is read: every argument of every public class and function, given a wrong value."""

import inspect
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest
from airflow.sdk import DAG, XComArg
from hypothesis import given
from hypothesis import strategies as st
from kubernetes import client as k8s

import bulkhead
from bulkhead.errors import InvalidInputError
from bulkhead.operators.deploy import DeployOperator
from bulkhead.operators.launching import LaunchOperator
from bulkhead.operators.templates import is_templated
from bulkhead.rollout.plan import check_plan, parse_plan

TASK: dict[str, Any] = {"task_id": "t"}
CONN: dict[str, Any] = {"bulkhead_conn_id": ["", 5]}
LAUNCH: dict[str, Any] = {
    "gpus": [-1, "2", 1.5, True],
    "device_class": ["", 5],
    "device_selectors": ["one", [1]],
    "gpu_product": ["", "two words"],
    "gpu_memory_gib": [0, "80"],
    "mig_profile": ["huge", 1],
    "shared_memory": ["8Gb", 8],
    "tolerate_spot": ["spot", [""]],
    "kueue_queue": ["", 5],
    "require_digest": ["yes"],
    "nodes": [0, "2"],
    "processes_per_node": [0, "8"],
    "restarts": [-1, "2"],
    "backend": ["mpi", None],
    "master_port": [80, 70000, "29500"],
    "relax": [{"run_as_root": True}, True],
    "checkpoint": ["relative", "", "file:///x", "s3://user:secret@bucket/x"],
    "resume": ["maybe"],
    "stream_logs": ["no"],
    **CONN,
}
POD: dict[str, Any] = {
    "command": ["python train.py", [], [1]],
    "image": ["", 5],
    "cpu": ["two", "-1", 2],
    "memory": ["4Gb", "0", 4],
    "env": [{"A": 1}, ["A=1"]],
    "secrets": [{"A": "no-key"}, {"A": "/key"}, {"A": "secret/"}, {"A": "a/b/c"}, ["A"], {"A": 1}],
    "claims": [{"relative": "claim"}, {"/data": "My Claim"}, ["claim"]],
    "deadline": [timedelta(0), timedelta(seconds=-5), timedelta(milliseconds=500), 3600],
    "startup_timeout": [timedelta(0), 600],
    "user_id": [0, -1, "1000", True],
    "service_account": ["", 5],
    "image_pull_secrets": ["registry", [""], [5]],
    "torchrun": ["no"],
    "namespace": ["", 5],
    "keep": ["maybe", None],
    "runtime_conn_id": ["", 5],
}
METRICS: list[Any] = [
    {},
    {"accuracy": {"margin": 0.1}},
    {"f1_score": {}},
    {"f1_score": {"margin": -0.1}},
    {"f1_score": {"margin": nan}},
    {"f1_score": {"margin": True}},
    {"f1_score": {"margn": 0.1}},
    {"f1_score": {"margin": 0.1, "superiority": True}},
    {"f1_score": {"at_least": 0.9, "at_most": 0.8}},
    {"f1_score": {"margin": 0.1, "greater_is_better": True}},
    {"my_team.metrics:cost": {"margin": 0.1}},
    ["f1_score"],
]

PLANS: list[Any] = [
    {"steps": [10, 90]},
    {"stepz": [100]},
    {"step_s": -5},
    {"steps": [50, 20, 100]},
    {"steps": []},
    {"steps": ["{{ params.first }}", 50, 20, 100]},
    {"steps": [10, "{{ params.second }}", 90]},
    {"min_requests": "{{ params.n }}", "alpha": 2},
    {"stepz": "{{ params.steps }}"},
    {"steps": [{"weight": 10, "header": {"x": "{{ params.tenant }}"}}, 100]},
    {"max_error_rate": nan},
    "fast",
    [10, 100],
]
SERVES: list[Any] = [
    {"gpuss": 1},
    {"gpuss": "{{ params.gpus }}"},
    {"memory": "4Gb"},
    {"memory": "4Gb", "gpus": "{{ params.gpus }}"},
    {"gpu": {"kind": "H100"}},
    {"gpu": {"memory_gib": 0}},
    {"relax": ["root"]},
    {"command": ["serve", "{prot}"]},
    {"pod": {"nodeSelektor": {"a": "b"}}},
    {"pod": {"hostNetwork": True}},
    "big",
]
WRONG: dict[str, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    "BulkheadHook": ({}, CONN),
    "CollectOperator": (TASK, CONN),
    "ContainmentRetryPolicy": (
        {},
        {
            "infrastructure_retries": [-1, 1.5, "3"],
            "same_cause": [0, True],
            "memory_factor": [0.5, nan, "2"],
            "memory_ceiling": [0.5, inf],
        },
    ),
    "DeployOperator": (
        {**TASK, "service": "digits", "model_name": "digits"},
        {
            "service": ["My Service!", "", "../x", "{{ params.service }}", None],
            "model_name": ["", "m" * 257, None],
            "evaluate_task_id": ["", 5, None],
            "model_uri": ["", 5],
            "model_version": ["", 3],
            "plan": PLANS,
            "image": ["", 5],
            "serve": SERVES,
            "stop_at_approval": ["yes"],
        },
    ),
    "DeviceFaultSensor": (TASK, {"model": ["", None], "only_new": ["no"], **CONN}),
    "DeviceFaultTrigger": ({}, {"model": ["", None], "only_new": ["no"], **CONN}),
    "DeviceHealthSensor": (
        TASK,
        {"count": [0, "8"], "nodes": [0, 1.5], "model": ["", None], "free": ["no"], **CONN},
    ),
    "DeviceRequirement": ({}, {"count": [0, "8", True], "nodes": [0], "model": ["", None], "free": [1]}),
    "EvaluateOperator": (
        {**TASK, "model_name": "churn", "data": "a.csv", "target": "y", "metrics": {"roc_auc": {"margin": 0.1}}},
        {
            "model_name": ["", None],
            "train_task_id": ["", None],
            "candidate": ["", 5],
            "data": ["", "a.xlsx", None, "no/function:", "s3://me:secret@bucket/a.csv"],
            "target": ["", None],
            "metrics": METRICS,
            "slices": ["region", [""], ["a", "a"], [5]],
            "least_rows": [0, "50", True],
            "checks": ["", "suite.yaml", 5],
            "first": ["maybe", None],
            "lost_champion": ["allow", None],
            "alpha": [0, 0.5, nan, "0.05", True],
            "training_data": ["", "a.xlsx", 5, "s3://me:secret@bucket/a.csv"],
            "most_overlap": [-0.1, 1, nan, "0", None],
            "cost": [
                {"price": {"at_most": 1}},
                {"size_mib": {}},
                {"size_mib": {"at_most": 0}},
                {"size_mib": {"at_most_times": "2"}},
                ["size_mib"],
            ],
            "batch_sizes": [[], [0], ["1"], 5, [1.5]],
        },
    ),
    "FleetHealthOperator": (TASK, {"polls": [0, "4"], **CONN}),
    "GpuDiagnosticOperator": (
        {**TASK, "image": "x"},
        {"level": ["deep"], "node": [""], "target": ["", 5], "experiment": [None]},
    ),
    "GpuPodOperator": ({**TASK, "image": "x"}, LAUNCH),
    "IsolateNotifier": ({"service": "digits"}, {"service": ["My Service!"], "reason": [""], **CONN}),
    "IsolateOperator": (
        {**TASK, "reason": "why", "revision": "digits-1"},
        {"reason": ["", None], "revision": ["", 5, None], "deploy_task_id": ["", "deploy"]},
    ),
    "LocalRuntimeHook": ({}, {"local_conn_id": ["", 5]}),
    "PodOperator": ({**TASK, "command": ["true"]}, {**LAUNCH, **POD}),
    "PromoteOperator": (
        {**TASK, "deploy_task_id": "deploy"},
        {"deploy_task_id": ["", None], "step": [0, "1"], "stop_at_approval": ["yes"]},
    ),
    "Relaxations": (
        {},
        {
            "run_as_root": ["yes"],
            "writable_root": ["yes"],
            "privilege_escalation": [1],
            "unconfined_seccomp": [None],
            "service_account_token": [1],
            "no_deadline": [0],
            "capabilities": ["SYS_PTRACE", [""]],
        },
    ),
    "RollBackNotifier": ({"service": "digits"}, {"service": ["My Service!", None], "reason": [""], **CONN}),
    "RollBackOperator": (
        {**TASK, "service": "digits"},
        {"service": ["My Service!"], "reason": [""], "deploy_task_id": [""]},
    ),
    "RunParamDeadline": ({}, {"param": ["", None], "default_s": [0, -5, nan, inf, "600"]}),
    "ServingSLOSensor": (
        {**TASK, "service": "digits"},
        {
            "service": ["My Service!"],
            "objective": [97, 0.1, nan, "0.9"],
            "guard": [timedelta(seconds=-1), 60],
            "min_failures": [0, "10"],
            "on_breach": ["explode"],
            "deploy_task_id": [""],
            **CONN,
        },
    ),
    "TrainOperator": (
        {**TASK, "entrypoint": "my_team.train:main"},
        {
            "entrypoint": ["my_team.train", "my_team.train:", "train.py", 5, None],
            "command": [["python", "train.py"]],
            "parameters": [["seed"], {1: 2}, {"rate": nan}, {"data": {1, 2}}, "seed=1"],
            "experiment": ["", 5],
        },
    ),
    "isolate_on_deadline": (
        {"service": "digits"},
        {"service": ["My Service!", None], "reason": ["", None], **CONN},
    ),
    "release": (
        {"service": "digits", "model_name": "digits"},
        {
            "service": ["My Service!"],
            "model_name": [""],
            "plan": [*PLANS, {"steps": [{"weight": 50, "approve": "{{ params.ask }}"}, 100]}, {"steps": "{{ steps }}"}],
            "approval_timeout": [timedelta(seconds=-1), 60],
            "approvers": ["anna"],
            **CONN,
        },
    ),
    "rollback_on_deadline": ({}, {"service": ["My Service!", ""], "reason": [""], **CONN}),
}
"""For each public name: arguments that are well, and for each of its own arguments values that are not."""

ELSEWHERE = {
    "FLEET": "a name of an asset",
    "Plan": "pydantic's: tests/bulkhead/rollout/test_plan.py",
    "Step": "pydantic's: tests/bulkhead/rollout/test_plan.py",
    "__version__": "a text",
}
NOT_OURS = {"release": {"group_id"}}
"""Airflow checks these."""


INHERITED = {"GpuPodOperator", "PodOperator"}
"""Those on whose behalf the arguments of ``LaunchOperator`` are tried."""


def _parameters(of: Any) -> set[str]:
    parameters = inspect.signature(of).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}


def _own(name: str) -> set[str]:
    inherited = _parameters(LaunchOperator) if name in INHERITED else set()
    return (_parameters(getattr(bulkhead, name)) | inherited) - NOT_OURS.get(name, set())


def test_the_table_names_every_argument_of_everything_public() -> None:
    assert set(WRONG) | set(ELSEWHERE) == set(bulkhead.__all__)
    assert {name: set(wrong) for name, (_, wrong) in WRONG.items()} == {name: _own(name) for name in WRONG}


def _call(name: str, arguments: dict[str, Any]) -> None:
    with DAG("mistakes"):
        getattr(bulkhead, name)(**arguments)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_well_is_taken(name: str) -> None:
    _call(name, WRONG[name][0])


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [(name, argument, value) for name, (_, wrong) in WRONG.items() for argument in wrong for value in wrong[argument]],
)
def test_a_wrong_value_is_refused_by_name(name: str, argument: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as message:
        _call(name, {**WRONG[name][0], argument: value})
    nothing_names_the_model = (name, argument, value) == ("DeployOperator", "evaluate_task_id", None)
    either = (
        {"deploy_task_id": "revision"}
        if value == "deploy"
        else {"command": "entrypoint"}
        if name == "TrainOperator"
        else {}
    )
    wanted = "model_uri" if nothing_names_the_model else either.get(argument, argument)
    assert wanted in message.value.field
    assert message.value.remedy and "Error" not in message.value.remedy


@pytest.mark.parametrize(
    "arguments",
    [
        {"hostnetwork": True},
        {"automount_service_account_token": True},
        {"full_pod_spec": k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="x")], host_pid=True))},
        {"security_context": {"runAsUser": 0}},
        {"container_security_context": {"allowPrivilegeEscalation": True}},
        {"container_resources": {"limits": {"memory": "4Gb"}}},
        {"startup_timeout_seconds": -1},
        {"active_deadline_seconds": 0},
        {"termination_grace_period": -1},
        {"namespace": ""},
        {"require_devices": {"count": 2}},
        {"devices_timeout": timedelta(seconds=-1)},
    ],
)
def test_so_is_what_a_gpu_pod_takes_from_kubernetespodoperator(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        _call("GpuPodOperator", {**TASK, "image": "x", **arguments})


def test_templates_and_results_of_other_tasks_are_left_for_later() -> None:
    with DAG("templates"):
        before = DeployOperator(task_id="before", service="digits", model_name="digits")
        result = before.output
        assert isinstance(result, XComArg)
        plan = {
            "steps": ["{{ params.first }}", {"weight": "{{ x }}", "headers": {"a": "{{ b }}"}}],
            "step_s": "{{ s }}",
        }
        for name, value in {"plan": plan, "serve": {"gpus": "{{ g }}"}, "model_uri": "{{ uri }}"}.items():
            DeployOperator(task_id=name, service="digits", model_name="digits", **{name: value})
        for name in ("plan", "serve", "model_uri", "model_version"):
            task = DeployOperator(task_id=f"{name}_of", service="digits", model_name="digits", **{name: result})
            assert task.upstream_task_ids == {"before"}
        _call("RollBackOperator", {**TASK, "service": "{{ params.service }}", "reason": "{{ params.why }}"})
        _call("PodOperator", {**TASK, "command": ["x", "{{ y }}"], "env": {"A": "{{ b }}"}, "checkpoint": "{{ c }}"})
        resources = {"limits": {"memory": "{{ params.memory }}", "cpu": 2}}
        _call("GpuPodOperator", {**TASK, "image": "{{ i }}", "namespace": "{{ n }}", "container_resources": resources})


STEPS = st.lists(st.integers(0, 120) | st.just("{{ x }}") | st.just({"weight": "{{ x }}"}), min_size=1, max_size=6)


@given(steps=STEPS, weights=st.lists(st.integers(1, 100), min_size=6, max_size=6))
def test_a_plan_that_its_templates_make_right_is_never_refused(steps: list[Any], weights: list[int]) -> None:
    rendered = [weight if is_templated(step) else step for step, weight in zip(steps, weights, strict=False)]
    try:
        parse_plan({"steps": rendered})
    except InvalidInputError:
        return
    check_plan({"steps": steps}, is_templated)
