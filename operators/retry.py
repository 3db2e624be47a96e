"""Airflow's retry policy by class of failure: see ``bulkhead.pods.policy`` for the rules."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from airflow.sdk.configuration import conf
from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from bulkhead import arguments
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.pods.exceptions import PodFailedError
from bulkhead.pods.policy import Changes, FailureAction, FailureDecision, Record, RetryLimits, changes, decide

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

log = logging.getLogger(__name__)

_ONCE_MORE_AFTER = timedelta(seconds=5)
"""By then an executor has reported the deferral, and what the task waited for is mostly over: it need not defer."""


class ContainmentRetryPolicy(RetryPolicy):
    """Decides by what failed: retry here, elsewhere, with more memory, after a wait, or not at all.

    A task's ``retries`` stay the user's own: ``LaunchOperator`` adds ``infrastructure_retries`` to them, since Airflow
    lets a policy end retries early but not extend them. So Airflow shows the sum. What Airflow itself retries, because
    no policy saw it (a worker that was killed), counts against the sum alone.

    Args:
        infrastructure_retries: for failures that are not the program's own.
        same_cause: so often in a row the same failure, without a newer checkpoint, and it is over.
        memory_factor: by which the memory grows after each host OOM.
        memory_ceiling: to at most so many times what was asked for at first.

    Raises:
        InvalidInputError: a number is out of range.
    """

    def __init__(
        self,
        infrastructure_retries: int = 3,
        same_cause: int = 3,
        memory_factor: float = 1.5,
        memory_ceiling: float = 3.0,
    ) -> None:
        arguments.whole("retry_policy.infrastructure_retries", infrastructure_retries, 0)
        arguments.whole("retry_policy.same_cause", same_cause, 1)
        for name, value in (("memory_factor", memory_factor), ("memory_ceiling", memory_ceiling)):
            arguments.number(f"retry_policy.{name}", value, lambda factor: 1 <= factor < inf, "give at least 1")
        self.infrastructure_retries, self.same_cause = infrastructure_retries, same_cause
        self.memory_factor, self.memory_ceiling = memory_factor, memory_ceiling

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide about a failure; called by Airflow in the worker.

        Args:
            exception: that ended the task. What is no pod's failure is left to Airflow.
            try_number: Airflow's, from 1.

        Returns:
            The decision, with its reason.
        """
        if not isinstance(exception, PodFailedError) or context is None:
            return RetryDecision.default()
        history = [*self.history(context), Record.of(exception.failure, exception.node)]
        context["task_state_store"].set(_key(context), [record.dump() for record in history])
        decision = decide(history, self._limits(context))
        if decision.suspect:
            self._suspect(context, exception, decision)
        if decision.action is FailureAction.FAIL:
            return RetryDecision.fail(decision.reason)
        return RetryDecision.retry(timedelta(seconds=decision.delay_s), decision.reason)

    def history(self, context: Context) -> Sequence[Record]:
        """Every failure of the same clear number so far, oldest first."""
        store = context.get("task_state_store")
        saved: Any = store.get(_key(context)) if store else None
        return [Record.load(data) for data in saved or []]

    def changes(self, context: Context) -> Changes:
        """What this try does otherwise than the first."""
        return changes(self.history(context), self._limits(context))

    def _limits(self, context: Context) -> RetryLimits:
        retries = int(getattr(context["ti"].task, "retries", 0) or 0)
        return RetryLimits(
            user_retries=max(0, retries - self.infrastructure_retries),
            infrastructure_retries=self.infrastructure_retries,
            same_cause=self.same_cause,
            memory_factor=self.memory_factor,
            memory_ceiling=self.memory_ceiling,
        )

    def _suspect(self, context: Context, exception: PodFailedError, decision: FailureDecision) -> None:
        """Record that a node is suspected; ``bulkhead.pods.suspicion`` says what follows for others."""
        if not exception.node:
            log.warning("pod %s: a device is suspected, and it is not known on which node", exception.pod)
            return
        failure = exception.failure
        connection = getattr(context["ti"].task, "bulkhead_conn_id", BulkheadHook.default_conn_name)
        cause = f"{failure.failure_class}/{failure.kind}" if failure.kind else str(failure.failure_class)
        BulkheadHook(connection).control().ledger.suspicions.add(
            node=exception.node,
            owner=identity(context).dag_id,
            cause=cause,
            reason=f"{cause}: {failure.message} ({identity(context).instance}: {decision.reason})",
            key=f"suspect/{exception.pod}",
        )


def _key(context: Context) -> str:
    return f"bulkhead.failures.{identity(context).clear_number}"


def default_policy(kwargs: dict[str, Any]) -> None:
    """Give an operator the policy that it has without one of its own.

    Our policy says by itself how long to wait. ``retry_delay`` is for what no policy sees, a worker that was killed or
    a deferral that Airflow lost: the next try finds its pod, and nothing is gained by Airflow's five minutes.

    Args:
        kwargs: of the operator; ``retry_policy`` is filled in, and with ours ``retry_delay``.
    """
    fill_in(kwargs, "retry_policy", ContainmentRetryPolicy())
    if isinstance(kwargs["retry_policy"], ContainmentRetryPolicy):
        fill_in(kwargs, "retry_delay", _ONCE_MORE_AFTER)


def fill_in(kwargs: dict[str, Any], name: str, value: Any) -> None:
    """Give an argument a default that comes after the author's own and after the DAG's ``default_args``.

    Args:
        kwargs: of the operator, as its ``__init__`` got them: Airflow passes the merged ``default_args`` along.
    """
    kwargs.setdefault(name, (kwargs.get("default_args") or {}).get(name, value))


def default_to_one_retry(kwargs: dict[str, Any]) -> None:
    """Give an operator that defers one more try, where neither its author, the DAG nor Airflow's configuration does.

    Airflow 3.3 fails a task whose trigger fires before its executor has reported the deferral (ARCHITECTURE.md, "What
    Airflow does not promise"). What such a task waits for goes on in the ledger, and its next try finds it there.

    Args:
        kwargs: of the operator; ``retries`` and ``retry_delay`` are filled in.
    """
    given = {*kwargs, *(kwargs.get("default_args") or {})}
    if "retries" not in given and not conf.getint("core", "default_task_retries"):
        kwargs["retries"] = 1
        fill_in(kwargs, "retry_delay", _ONCE_MORE_AFTER)


def extend_retries(operator: BaseOperator) -> None:
    """Add the infrastructure's retries to the user's, where this policy decides."""
    if isinstance(operator.retry_policy, ContainmentRetryPolicy):
        operator.retries = (operator.retries or 0) + operator.retry_policy.infrastructure_retries


def changes_for(operator: BaseOperator, context: Context) -> Changes:
    """What this try does otherwise, after what failed before; nothing where another policy decides."""
    policy = operator.retry_policy
    return policy.changes(context) if isinstance(policy, ContainmentRetryPolicy) else Changes()
