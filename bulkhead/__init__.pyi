"""What ``from bulkhead import …`` offers, for type checkers and editors; ``__init__.py`` imports it lazily."""

from bulkhead.health.requirement import DeviceRequirement as DeviceRequirement
from bulkhead.operators.collect import CollectOperator as CollectOperator
from bulkhead.operators.deploy import DeployOperator as DeployOperator
from bulkhead.operators.diagnose import GpuDiagnosticOperator as GpuDiagnosticOperator
from bulkhead.operators.evaluate import EvaluateOperator as EvaluateOperator
from bulkhead.operators.fleet import FLEET as FLEET
from bulkhead.operators.fleet import FleetHealthOperator as FleetHealthOperator
from bulkhead.operators.gpu_pod import GpuPodOperator as GpuPodOperator
from bulkhead.operators.hooks import BulkheadHook as BulkheadHook
from bulkhead.operators.hooks import LocalRuntimeHook as LocalRuntimeHook
from bulkhead.operators.isolate import IsolateOperator as IsolateOperator
from bulkhead.operators.pod import PodOperator as PodOperator
from bulkhead.operators.promote import PromoteOperator as PromoteOperator
from bulkhead.operators.release import release as release
from bulkhead.operators.retry import ContainmentRetryPolicy as ContainmentRetryPolicy
from bulkhead.operators.roll_back import RollBackOperator as RollBackOperator
from bulkhead.operators.train import TrainOperator as TrainOperator
from bulkhead.operators.triggers.fleet import DeviceFaultTrigger as DeviceFaultTrigger
from bulkhead.plugins.callbacks import IsolateNotifier as IsolateNotifier
from bulkhead.plugins.callbacks import RollBackNotifier as RollBackNotifier
from bulkhead.plugins.deadlines import RunParamDeadline as RunParamDeadline
from bulkhead.plugins.deadlines import isolate_on_deadline as isolate_on_deadline
from bulkhead.plugins.deadlines import rollback_on_deadline as rollback_on_deadline
from bulkhead.plugins.device_sensors import DeviceFaultSensor as DeviceFaultSensor
from bulkhead.plugins.device_sensors import DeviceHealthSensor as DeviceHealthSensor
from bulkhead.plugins.sensors import ServingSLOSensor as ServingSLOSensor
from bulkhead.pods.relaxations import Relaxations as Relaxations
from bulkhead.rollout.plan import Plan as Plan
from bulkhead.rollout.plan import Step as Step

__version__: str
