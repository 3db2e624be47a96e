"""The deploy stage: an intent in the ledger, and waiting for what the reconciler makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from bulkhead import arguments
from bulkhead.control import Control
from bulkhead.errors import BulkheadError, BusyError, ConflictError, InvalidInputError, NotFoundError
from bulkhead.ledger.requests import Request
from bulkhead.operators.ends import refused
from bulkhead.operators.identity import identity, identity_of
from bulkhead.operators.links import EndpointLink, MlflowRunLink, ModelVersionLink, Pages
from bulkhead.operators.rollouts import RolloutOperator
from bulkhead.operators.templates import check_known, is_templated
from bulkhead.registries.pages import model_page, run_page
from bulkhead.rollout.plan import check_plan, parse_plan
from bulkhead.rollout.revision import RevisionSpec, check_model_name
from bulkhead.workloads import manifests
from bulkhead.workloads.serving import check_serve

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey


class DeployOperator(RolloutOperator):
    """Releases a model to a service by a plan, and fails with the numbers if it was rolled back.

    It only writes what is wanted: the reconciler does it, also while no worker, no triggerer and no
    scheduler runs. A retry finds its rollout again. A cleared task asks for a new one.

    Args:
        service: by name; one of the configuration's.
        model_name: registered model; at most 256 characters.
        evaluate_task_id: the task whose result is the evidence and names the model.
        model_uri: the model, where no evaluate task names it; templated.
        model_version: version in the registry, where it is registered already; templated.
        plan: fields of ``bulkhead.rollout.plan.Plan``; templated.
        image: container image that serves; by default the one that ``[bulkhead] tasks_image`` names.
        serve: how the server's pod is to be: see ``RevisionSpec``.
        stop_at_approval: whether the task ends, well, where its rollout waits for a person: for a DAG that goes on with
            an ApprovalOperator and a PromoteOperator, as ``bulkhead.operators.release.release`` does. Else it goes on
            waiting.
        kwargs: of ``RolloutOperator``.

    Raises:
        InvalidInputError: an argument is wrong. Of ``plan`` and ``serve`` all is checked that holds no template.
    """

    template_fields: Sequence[str] = ("plan", "model_uri", "model_version", "serve")

    operator_extra_links = (MlflowRunLink(), ModelVersionLink(), EndpointLink())

    def __init__(
        self,
        *,
        service: str,
        model_name: str,
        evaluate_task_id: str | None = "evaluate",
        model_uri: str | None = None,
        model_version: str | None = None,
        plan: Mapping[str, Any] | None = None,
        image: str | None = None,
        serve: Mapping[str, Any] | None = None,
        stop_at_approval: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        arguments.service("service", service)
        check_model_name("model_name", model_name)
        arguments.switch("stop_at_approval", stop_at_approval)
        named = {"evaluate_task_id": evaluate_task_id, "model_uri": model_uri, "model_version": model_version}
        if image is not None:
            arguments.text("image", image)
        for name, value in named.items():
            if value is not None:
                check_known(arguments.text, name, value)
        if all(value is None for value in named.values()):
            raise InvalidInputError("model_uri", None, f"nothing names the model: give one of {', '.join(named)}")
        plan, serve = _given(plan), _given(serve)
        _check(plan, serve)
        self.service, self.model_name, self.evaluate_task_id = service, model_name, evaluate_task_id
        self.model_uri, self.model_version = model_uri, model_version
        self.plan, self.image, self.serve = plan, image, serve
        self.stop_at_approval = stop_at_approval

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the intent and defer.

        Returns:
            See ``resume``: where an earlier try's rollout has ended, there is nothing to defer for.

        Raises:
            AirflowFailException: the plan, the service or the revision is wrong, or another rollout is in
                progress; nothing was changed. Or see ``resume``.
        """
        task = identity(context)
        control = self.control()
        try:
            rollout = control.commands.release(
                self._revision(context, control.settings.tasks_image),
                parse_plan(self.plan),
                Request(task.key, "", f"{task.owner}/{task.task_id}"),
                owner=task.owner,
                cleared=context["ti"].max_tries > (self.retries or 0),
            )
        except BusyError as busy:
            if not task.earlier(busy.key):
                raise refused(busy, self._serves(control)) from busy
            self._supersede(control, busy.rollout_id)
        except (InvalidInputError, NotFoundError, ConflictError) as error:
            raise refused(error, self._serves(control)) from error
        return self.outcome(context, control.ledger, rollout, -1 if self.stop_at_approval else None)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """See ``RolloutOperator.resume``.

        Args:
            event: of the trigger; the late one of a try before the task was cleared (see ``WaitForDevicesMixin``) is
                none, and the task goes on with its own release.

        Returns:
            See there.
        """
        if identity(context).earlier(self.control().ledger.rollouts.get(event["rollout_id"]).key):
            self.log.info("word of rollout %s, which is from before the task was cleared", event["rollout_id"])
            return self.execute(context)
        return super().resume(context, event)

    def again(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Ask again, once the rollout from before the clear has returned.

        Returns:
            See ``execute``.
        """
        self._logged(event)
        return self.execute(context)

    def pages(self, ti_key: TaskInstanceKey) -> Pages:
        """Where what it deploys is looked at.

        Raises:
            BulkheadError: the configuration is wrong, or the ledger does not answer.
        """
        control = self.control()
        endpoint = control.settings.service(self.service).address
        intent = control.ledger.intents.find(identity_of(ti_key).key)
        if intent is None or intent.rollout_id is None:  # it was refused
            return Pages(endpoint=endpoint)
        revision = control.ledger.revisions.get(control.ledger.rollouts.get(intent.rollout_id).revision_id)
        ui, evidence = control.settings.mlflow_ui, revision.evidence
        experiment_id, run_id = (str(evidence.get(name) or "") for name in ("experiment_id", "run_id"))
        return Pages(
            run_page(ui, experiment_id, run_id),
            model_page(ui, revision.model_uri, experiment_id, revision.model_name, revision.model_version),
            endpoint,
        )

    def _supersede(self, control: Control, rollout_id: int) -> NoReturn:
        """This task was cleared while its rollout was in progress: that one returns first.

        The trigger of the cleared try asks for the same; it may not have had its turn yet, or be gone.
        """
        why = "its deploy task was cleared in Airflow"
        control.commands.abort(rollout_id, Request(f"superseded/{rollout_id}", why, "airflow: deploy"))
        self.log.info("Rollout %s is from before the task was cleared: it is rolled back first.", rollout_id)
        before = control.ledger.events.latest_ids([rollout_id]).get(rollout_id, 0)
        self.wait_for(control.ledger, control.ledger.rollouts.get(rollout_id), after_event=before, method_name="again")

    def _serves(self, control: Control) -> str:
        try:
            stable = control.ledger.services.get(self.service).stable_revision
        except BulkheadError:  # the refusal is the answer, whatever else is amiss
            return ""
        return f"Revision {stable} serves {self.service} as before." if stable else ""

    def _revision(self, context: Context, default_image: str) -> RevisionSpec:
        evidence: Mapping[str, Any] = {}
        if self.evaluate_task_id is not None:
            evidence = context["ti"].xcom_pull(task_ids=self.evaluate_task_id) or {}
        uri = self.model_uri or evidence.get("model_uri")
        if uri is None and self.model_version is None:
            remedy = (
                f"nothing names the model: give model_uri or model_version, or let task {self.evaluate_task_id!r} run"
            )
            raise InvalidInputError("model_uri", uri, remedy)
        return RevisionSpec(
            service=self.service,
            model_name=self.model_name,
            model_uri=uri or f"models:/{self.model_name}/{self.model_version}",
            image=self.image or default_image,
            serve=self.serve,
            evidence=evidence,
            model_version=self.model_version,
        )


def _given(data: Any) -> Any:
    """A copy of a mapping that an author gave; another task's result is left as it is, for Airflow to resolve."""
    return dict(data or {}) if data is None or isinstance(data, Mapping) else data


def _check(plan: Any, serve: Any) -> None:
    """Refuse what is wrong of both whatever their templates turn out to be."""
    if isinstance(plan, Mapping) or not is_templated(plan):
        check_plan(plan, is_templated)
    if isinstance(serve, Mapping) or not is_templated(serve):
        checked = check_serve(serve, is_templated)
        if checked is not None and not is_templated(serve):
            manifests.check(checked)
