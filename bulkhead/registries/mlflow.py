"""MLflow's model registry, as far as a rollout needs it. mlflow is imported on first use: it takes seconds."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from bulkhead.errors import FencedError, InvalidInputError, NotFoundError, RefusedError, UnavailableError
from bulkhead.registries.uris import logged_model, registered_version
from bulkhead.text import bounded, storable

ISOLATED_TAG = "bulkhead.isolated"
"""Tag of a model that is isolated; its value is the reason. ``bulkhead.gpu_tasks.evaluate`` refuses a model with it."""

_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_EVIDENCE = "bulkhead-evidence"
_BUNDLE_TAG = "bulkhead.bundle"
_COMPLETE_TAG = "bulkhead.complete"
_LONGEST_TAG = 500
_REVISION_TAG = "bulkhead.revision"
_GENERATION_TAG = "bulkhead.generation"
_MISSING = re.compile(r"not found|does not exist|no such|could not find|unable to find", re.IGNORECASE)


class MlflowRegistry:
    """Versions and aliases of registered models.

    Args:
        tracking_uri: of the MLflow server. Credentials come from ``MLFLOW_TRACKING_USERNAME`` and
            ``MLFLOW_TRACKING_PASSWORD``, as mlflow itself reads them.
        alias: the alias that names the serving version.
    """

    def __init__(self, tracking_uri: str, alias: str = "champion") -> None:
        self._uri, self.alias = tracking_uri, alias

    def register(self, model_name: str, model_uri: str, revision: str) -> str:
        """Register a model version for a revision, once: a version tagged with the revision is found again.

        Args:
            model_uri: where the model lies.
            revision: id of the revision.

        Returns:
            The version.

        Raises:
            NotFoundError: there is no model at ``model_uri``.
            RefusedError: MLflow does not take such a name or URI.
        """
        import mlflow

        with translated(f"model {model_uri!r}"):
            # By the tag alone: MLflow's filters have no way to write a name that has quotes.
            tagged = self._client.search_model_versions(f"tags.`{_REVISION_TAG}` = '{revision}'")
            versions = [version for version in tagged if version.name == model_name]
            if versions:
                return str(versions[0].version)
            mlflow.set_tracking_uri(self._uri)
            # Registering what does not exist is a server error in MLflow. (Its get_model_info would leave a folder.)
            files = mlflow.artifacts.list_artifacts(artifact_uri=model_uri.rstrip("/"))
            if not any(PurePosixPath(file.path).name == "MLmodel" for file in files):
                raise NotFoundError(f"MLflow knows no model {model_uri!r}: no file MLmodel lies there")
            made = mlflow.register_model(
                model_uri, model_name, tags={_REVISION_TAG: revision}, await_registration_for=30
            )
            return str(made.version)

    def check(self, model_name: str, version: str) -> None:
        """Make sure that a model version exists.

        Args:
            version: in it.

        Raises:
            NotFoundError: it does not.
        """
        with translated(f"version {version} of model {model_name!r}"):
            self._client.get_model_version(model_name, version)

    def champion(self, model_name: str) -> str | None:
        """The version that the alias names, or None."""
        try:
            with translated(f"alias {self.alias!r} of model {model_name!r}"):
                return str(self._client.get_model_version_by_alias(model_name, self.alias).version)
        except NotFoundError:
            return None

    def point(self, model_name: str, version: str | None, service: str, generation: int) -> None:
        """Make the alias name a version, or remove it, and read it back.

        The fence is a tag a service on the registered model, compared and then set: MLflow has no compare-and-swap, so
        two writers within the same few milliseconds could pass; the loser's next poll at the world corrects it.

        Args:
            version: to point at; None removes the alias.
            service: on whose behalf; several services may release versions of one model.
            generation: the writer's, of that service.

        Raises:
            FencedError: a later generation has written.
            UnavailableError: the alias does not read back as written.
        """
        with translated(f"model {model_name!r}"):
            model = self._client.get_registered_model(model_name)
            tag = f"{_GENERATION_TAG}.{service}"
            theirs = _number(model.tags.get(tag))
            if theirs > generation:
                raise FencedError(f"alias of {model_name} was written by generation {theirs}, this is {generation}")
            self._client.set_registered_model_tag(model_name, tag, str(generation))
            if version is None:
                if self.champion(model_name) is not None:
                    self._client.delete_registered_model_alias(model_name, self.alias)
            else:
                self._client.set_registered_model_alias(model_name, self.alias, version)
        if (now := self.champion(model_name)) != version:
            raise UnavailableError(f"alias {self.alias!r} of {model_name} reads {now} after it was set to {version}")

    def forbid(self, model_uri: str, model_name: str, version: str | None, reason: str) -> None:
        """Tag a model, so that the evaluate gate refuses it and a reader of the registry sees it. Idempotent.

        Args:
            model_uri: of the model; a logged model (``models:/m-…``) carries the tag itself.
            version: in it; None where it was never registered.
        """
        with translated(f"model {model_uri!r}"):
            if (model_id := logged_model(model_uri)) is not None:
                self._client.set_logged_model_tags(model_id, {ISOLATED_TAG: bounded(reason, _LONGEST_TAG)})
            if version is not None:
                self._client.set_model_version_tag(model_name, version, ISOLATED_TAG, bounded(reason, _LONGEST_TAG))

    def allow(self, model_uri: str, model_name: str, version: str | None) -> None:
        """Take back what ``forbid`` wrote. Idempotent.

        Args:
            version: in it; None where it was never registered.
        """
        with translated(f"model {model_uri!r}"):
            model_id = logged_model(model_uri)
            if model_id is not None and ISOLATED_TAG in self._client.get_logged_model(model_id).tags:
                self._client.delete_logged_model_tag(model_id, ISOLATED_TAG)
            if version is not None and ISOLATED_TAG in self._client.get_model_version(model_name, version).tags:
                self._client.delete_model_version_tag(model_name, version, ISOLATED_TAG)

    def names(self, model: str, version: str | None) -> Sequence[str]:
        """Every URI by which a model may be asked for.

        Args:
            model: URI of a logged model (``models:/m-…``), or name of a registered model.
            version: in it; None with a URI.

        Raises:
            NotFoundError: there is no such model, or version.
            InvalidInputError: it is neither.
        """
        model_id = logged_model(model)
        if (model_id is None) == (version is None):
            remedy = "give the URI of a logged model (models:/m-…), or the name of a registered one and its version"
            raise InvalidInputError("model", model if version is None else f"{model} {version}", remedy)
        with translated(f"model {model!r}"):
            if version is None:
                self._client.get_logged_model(model_id)
                return [model]
            registered = self._client.get_model_version(model, version)
            source = f"models:/{registered.model_id}" if registered.model_id else registered.source or ""
            return [f"models:/{model}/{version}", *([source] if logged_model(source) is not None else [])]

    def tag(self, model_uris: Iterable[str], name: str, value: str) -> None:
        """Tag models for people. Idempotent.

        Args:
            model_uris: of logged models and of registered versions.
        """
        for uri in model_uris:
            with translated(f"model {uri!r}"):
                if (model_id := logged_model(uri)) is not None:
                    self._client.set_logged_model_tags(model_id, {name: value})
                elif (version := registered_version(uri)) is not None:
                    self._client.set_model_version_tag(*version, name, value)

    def measured(self, model_name: str, version: str, names: Collection[str], since: datetime) -> dict[str, float]:
        """The latest values of a model's metrics.

        Args:
            version: in it.
            names: of the metrics that are wanted.
            since: only what was measured at or after this time.

        Returns:
            Values by name; nothing for a version that is no logged model, which has no metrics of its own.
        """
        with translated(f"version {version} of model {model_name!r}"):
            model_version = self._client.get_model_version(model_name, version)
            model_id = model_version.model_id or logged_model(
                model_version.source or ""
            )  # MLflow 3.17 fills in the source alone
            metrics = self._client.get_logged_model(model_id).metrics if model_id else []
        at_ms = since.timestamp() * 1000
        recent = [metric for metric in metrics or [] if metric.key in names and metric.timestamp >= at_ms]
        return {
            point.key: float(point.value) for point in sorted(recent, key=lambda point: (point.timestamp, point.step))
        }

    def keep(self, name: str, files: Mapping[str, str]) -> str:
        """Keep evidence as one run of the experiment ``bulkhead-evidence``, with an index. Once a name.

        Args:
            files: text by file name.

        Returns:
            Id of the run.
        """
        with translated(f"experiment {_EVIDENCE!r}"):
            client = self._client
            experiment = client.get_experiment_by_name(_EVIDENCE)
            experiment_id = experiment.experiment_id if experiment else client.create_experiment(_EVIDENCE)
            query = f"tags.`{_BUNDLE_TAG}` = '{name}'"
            runs = client.search_runs([experiment_id], query, max_results=1)
            run = runs[0] if runs else client.create_run(experiment_id, run_name=name, tags={_BUNDLE_TAG: name})
            if run.data.tags.get(_COMPLETE_TAG) != "true":
                kept = {path: storable(text) for path, text in files.items()}
                for path, text in kept.items():
                    client.log_text(run.info.run_id, text, path)
                client.log_dict(run.info.run_id, _index(name, kept), "index.json")
                client.set_tag(run.info.run_id, _COMPLETE_TAG, "true")
                client.set_terminated(run.info.run_id)
            return str(run.info.run_id)

    @functools.cached_property
    def _client(self) -> Any:
        return mlflow_client(self._uri)


def mlflow_client(uri: str) -> Any:
    """A client of MLflow that does not wait for long.

    Args:
        uri: of the server, for runs and for models.
    """
    # By itself mlflow goes on trying for minutes, and the caller waits; the caller tries again anyway.
    for variable, value in _IMPATIENT.items():
        os.environ.setdefault(variable, value)
    import mlflow

    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _number(tag: str | None) -> int:
    """A generation that was written as a tag; 0 where there is none, or something else is written there."""
    return int(tag) if tag is not None and tag.isascii() and tag.isdigit() and len(tag) < 19 else 0


def _index(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    entries = [
        {"file": path, "bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for path, text in files.items()
    ]
    return {"bundle": name, "taken_at": datetime.now(UTC).isoformat(), "files": entries}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """MLflow's errors as the project's.

    Args:
        what: is asked for, in words.

    Raises:
        NotFoundError, RefusedError, UnavailableError: it is not there; MLflow does not take it; it does not answer.
    """
    from mlflow.exceptions import MlflowException, RestException

    try:
        yield
    except MlflowException as error:
        text = bounded(str(error.message))
        # An alias that is not there, and a URI that leads nowhere, are invalid parameters to MLflow.
        invalid = error.error_code == "INVALID_PARAMETER_VALUE"
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" or (invalid and _MISSING.search(text)):
            raise NotFoundError(f"MLflow knows no {what}: {text}") from error
        if invalid or error.error_code in ("RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED"):
            raise RefusedError(f"MLflow refuses {what}: {text}") from error
        answers = "failed on" if isinstance(error, RestException) else "does not answer about"
        raise UnavailableError(f"MLflow {answers} {what}: {text}") from error
