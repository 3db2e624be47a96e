"""A run that waits for healthy devices and tests them, and one that each fault of a device starts."""

from airflow.sdk import DAG, Asset, AssetWatcher, get_current_context, task

from bulkhead import DeviceFaultTrigger, DeviceHealthSensor, GpuDiagnosticOperator

with DAG("fleet_waits", schedule=None, is_paused_upon_creation=False):
    waits = DeviceHealthSensor(task_id="devices", count=2, nodes=2, model="*H100*", timeout=300)
    waits >> GpuDiagnosticOperator(task_id="diagnose", gpus=1, experiment="diagnostics")

with DAG("fleet_gives_up", schedule=None, is_paused_upon_creation=False):
    DeviceHealthSensor(task_id="devices", count=99, timeout=12, soft_fail=True)

FAULTS = Asset("gpu-faults", watchers=[AssetWatcher(name="unhealthy-devices", trigger=DeviceFaultTrigger())])

with DAG("fleet_fault", schedule=[FAULTS], is_paused_upon_creation=False):

    @task
    def tell() -> dict[str, str]:
        """What the run was started for."""
        (event,) = get_current_context()["triggering_asset_events"][FAULTS]
        return event.extra["payload"]

    tell()
