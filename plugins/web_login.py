"""Who asks the API, as Airflow's auth manager has it."""

from __future__ import annotations

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel

from bulkhead.web.actions import Person


def person(user: GetUserDep) -> Person:
    """A dependency of FastAPI's: whoever is logged in may read, and who may edit a DAG may act on its releases."""

    def may_edit(dag_id: str | None) -> bool:
        details = None if dag_id is None else DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        return get_auth_manager().is_authorized_dag(method="PUT", details=details, user=user)

    return Person(user.get_name(), may_edit)
