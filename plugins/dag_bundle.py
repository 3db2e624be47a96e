"""The DAGs that come with the package, for an Airflow that has only the wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

import bulkhead

_FOLDER = Path(bulkhead.__file__).parent / "dags"


class ControlPlaneDagBundle(LocalDagBundle):
    """A DAG bundle with ``bulkhead_collect``, ``bulkhead_fleet_health`` and ``bulkhead_reconcile``, all of them paused.

    An entry of ``[dag_processor] dag_bundle_config_list``::

        {"name": "bulkhead", "classpath": "bulkhead.plugins.dag_bundle.ControlPlaneDagBundle", "kwargs": {}}

    Args:
        kwargs: what Airflow gives every bundle, and the ``kwargs`` of its entry: ``refresh_interval``, for one.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str(_FOLDER), **kwargs)
