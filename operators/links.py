"""Extra links: buttons on a task in Airflow's web UI that lead to the run, the model and the endpoint it worked on.

Airflow asks for them in the task's own process, each time that the task defers or ends, and keeps them beside its other
XComs. So the UI shows them while MLflow and the ledger are away.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperatorLink

from bulkhead.errors import BulkheadError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

log = logging.getLogger(__name__)

_KEPT = "_bulkhead_pages"


@dataclass(frozen=True)
class Pages:
    """URLs of what a task worked on; empty where there is none.

    Attributes:
        run: MLflow run of the training.
        model: the model version, or the logged model where none is registered yet.
        endpoint: of the service.
        report: the gate's, which the run keeps.
    """

    run: str = ""
    model: str = ""
    endpoint: str = ""
    report: str = ""


class _PageLink(BaseOperatorLink):
    page: ClassVar[str]
    """Field of ``Pages``."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The URL; Airflow shows no button where it is empty.

        Args:
            operator: with a method ``pages``, which gives its ``Pages``.
        """
        pages = _pages(operator, ti_key)
        if isinstance(pages, BulkheadError):  # a button is no reason for more than a line
            log.warning("no link to the %s: %s", self.name, pages)
            return ""
        return str(getattr(pages, self.page))


def _pages(operator: Any, ti_key: TaskInstanceKey) -> Pages | BulkheadError:
    """Read once for all links of a task's process; a ledger that is away is waited for once as well."""
    kept = vars(operator)
    if _KEPT not in kept:
        try:
            kept[_KEPT] = operator.pages(ti_key)
        except BulkheadError as away:
            kept[_KEPT] = away
    pages: Pages | BulkheadError = kept[_KEPT]
    return pages


class MlflowRunLink(_PageLink):
    """To the MLflow run that trained the model."""

    name = "MLflow run"
    page = "run"


class ModelVersionLink(_PageLink):
    """To the model version; to the logged model while none is registered."""

    name = "Model version"
    page = "model"


class EndpointLink(_PageLink):
    """To the service that serves the model."""

    name = "Endpoint"
    page = "endpoint"


class GateReportLink(_PageLink):
    """To the page on which the gate says why a model passed, or did not."""

    name = "Gate report"
    page = "report"
