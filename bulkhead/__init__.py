"""Bulkhead: failure containment for Airflow model pipelines on GPU pods.

What an author of DAGs needs is here: ``from bulkhead import TrainOperator, DeployOperator``. A name is imported when it
is first asked for (PEP 562), so that ``import bulkhead`` takes neither Airflow nor torch, mlflow or kubernetes.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "BulkheadHook": "bulkhead.operators.hooks",
    "CollectOperator": "bulkhead.operators.collect",
    "ContainmentRetryPolicy": "bulkhead.operators.retry",
    "DeployOperator": "bulkhead.operators.deploy",
    "DeviceFaultSensor": "bulkhead.plugins.device_sensors",
    "DeviceFaultTrigger": "bulkhead.operators.triggers.fleet",
    "DeviceHealthSensor": "bulkhead.plugins.device_sensors",
    "DeviceRequirement": "bulkhead.health.requirement",
    "EvaluateOperator": "bulkhead.operators.evaluate",
    "FLEET": "bulkhead.operators.fleet",
    "FleetHealthOperator": "bulkhead.operators.fleet",
    "GpuDiagnosticOperator": "bulkhead.operators.diagnose",
    "GpuPodOperator": "bulkhead.operators.gpu_pod",
    "IsolateNotifier": "bulkhead.plugins.callbacks",
    "IsolateOperator": "bulkhead.operators.isolate",
    "LocalRuntimeHook": "bulkhead.operators.hooks",
    "Plan": "bulkhead.rollout.plan",
    "PodOperator": "bulkhead.operators.pod",
    "PromoteOperator": "bulkhead.operators.promote",
    "Relaxations": "bulkhead.pods.relaxations",
    "RollBackNotifier": "bulkhead.plugins.callbacks",
    "RollBackOperator": "bulkhead.operators.roll_back",
    "RunParamDeadline": "bulkhead.plugins.deadlines",
    "ServingSLOSensor": "bulkhead.plugins.sensors",
    "Step": "bulkhead.rollout.plan",
    "TrainOperator": "bulkhead.operators.train",
    "isolate_on_deadline": "bulkhead.plugins.deadlines",
    "release": "bulkhead.operators.release",
    "rollback_on_deadline": "bulkhead.plugins.deadlines",
}

__all__ = [*sorted(_WHERE), "__version__"]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'bulkhead' has no attribute {name!r}; it offers {', '.join(sorted(_WHERE))}")
    try:
        member = getattr(import_module(_WHERE[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "airflow":
            raise
        raise ImportError(f"bulkhead.{name} needs Airflow: pip install 'bulkhead[airflow]'") from error
    globals()[name] = member
    return member


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
