"""The collector as a task: asks Airflow which tasks are over, and ends the pods that no task waits for any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from bulkhead import arguments
from bulkhead.collector import Collector
from bulkhead.errors import BulkheadError
from bulkhead.ledger.tables import Launch
from bulkhead.operators.clusters import connect
from bulkhead.operators.ends import PlainEnds
from bulkhead.operators.hooks import BulkheadHook

if TYPE_CHECKING:
    from airflow.sdk import Context

States = Callable[..., Mapping[str, Mapping[str, Any]]]
"""``RuntimeTaskInstance.get_task_states``."""

_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_RUNS_AT_ONCE = 50  # their ids travel in a URL


class CollectOperator(PlainEnds, BaseOperator):
    """Ends every pod whose task instance is over.

    Listener, trigger and operator tell the ledger when a task is over, but any of them may be dead at that moment. So
    this asks Airflow for the state of every task instance that has a pod.

    Args:
        bulkhead_conn_id: connection of type ``bulkhead``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    def __init__(self, *, bulkhead_conn_id: str = BulkheadHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.bulkhead_conn_id = bulkhead_conn_id

    def execute(self, context: Context) -> list[str]:
        """Take one pass.

        Returns:
            A line for each pod that was seen to.
        """
        launches = BulkheadHook(self.bulkhead_conn_id).control().ledger.launches
        for launch, state in over(launches.active(), context["ti"].get_task_states):
            launches.end([launch], f"its task is over: {state}")
        collector = Collector(launches, connect)
        lines = [f"{orphan.pod}: {orphan.what} ({orphan.reason})" for orphan in collector.collect()]
        for line in lines:
            self.log.info(line)
        try:
            orphans = collector.orphans()
        except BulkheadError as away:
            self.log.warning("pods of other installations could not be looked for: %s", away)
        else:
            if orphans:
                self.log.warning("pods that were not launched from this ledger, left alone: %s", ", ".join(orphans))
        return lines


def over(launches: Iterable[Launch], states: States) -> Sequence[tuple[Launch, str]]:
    """Launches whose task instance is over, or is not there any more.

    Args:
        states: asks Airflow, as ``RuntimeTaskInstance.get_task_states`` does.

    Returns:
        Each with the state, ``deleted`` where Airflow knows no such task instance.
    """
    grouped: dict[tuple[str, str, int], list[Launch]] = defaultdict(list)
    for launch in launches:
        task = launch.task
        grouped[(task["dag_id"], task["task_id"], task["map_index"])].append(launch)
    ended = []
    for (dag_id, task_id, map_index), group in grouped.items():
        name = task_id if map_index < 0 else f"{task_id}_{map_index}"
        for begin in range(0, len(group), _RUNS_AT_ONCE):
            some = group[begin : begin + _RUNS_AT_ONCE]
            runs = sorted({launch.task["run_id"] for launch in some})
            answer = states(dag_id=dag_id, map_index=map_index, task_ids=[task_id], run_ids=runs)
            for launch in some:
                # No state yet (None) means that it waits for the scheduler, for instance after a clear.
                state = answer.get(launch.task["run_id"], {}).get(name, "deleted")
                if state == "deleted" or state in _OVER:
                    ended.append((launch, str(state)))
    return ended
