"""MLflow's model registry, as far as a rollout needs it. mlflow is imported on first use: it takes seconds."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkhead.errors import FencedError, NotFoundError, UnavailableError

_REVISION_TAG = "bulkhead.revision"
_GENERATION_TAG = "bulkhead.generation"


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
            model_name: registered model.
            model_uri: where the model lies.
            revision: id of the revision.

        Returns:
            The version.

        Raises:
            NotFoundError: there is no model at ``model_uri``.
        """
        import mlflow

        with _translated(f"model {model_uri!r}"):
            query = f"name = '{model_name}' and tags.`{_REVISION_TAG}` = '{revision}'"
            found = self._client.search_model_versions(query)
            if found:
                return str(found[0].version)
            mlflow.set_tracking_uri(self._uri)
            mlflow.models.get_model_info(model_uri)  # registering what does not exist is a server error in MLflow
            made = mlflow.register_model(
                model_uri, model_name, tags={_REVISION_TAG: revision}, await_registration_for=30
            )
            return str(made.version)

    def check(self, model_name: str, version: str) -> None:
        """Make sure that a model version exists.

        Args:
            model_name: registered model.
            version: in it.

        Raises:
            NotFoundError: it does not.
        """
        with _translated(f"version {version} of model {model_name!r}"):
            self._client.get_model_version(model_name, version)

    def champion(self, model_name: str) -> str | None:
        """The version that the alias names, or None.

        Args:
            model_name: registered model.
        """
        try:
            with _translated(f"alias {self.alias!r} of model {model_name!r}"):
                return str(self._client.get_model_version_by_alias(model_name, self.alias).version)
        except NotFoundError:
            return None

    def point(self, model_name: str, version: str | None, service: str, generation: int) -> None:
        """Make the alias name a version, or remove it, and read it back.

        The fence is a tag a service on the registered model, compared and then set: MLflow has no compare-and-swap, so
        two writers within the same few milliseconds could pass; the loser's next look at the world corrects it.

        Args:
            model_name: registered model.
            version: to point at; None removes the alias.
            service: on whose behalf; several services may release versions of one model.
            generation: the writer's, of that service.

        Raises:
            FencedError: a later generation has written.
            UnavailableError: the alias does not read back as written.
        """
        with _translated(f"model {model_name!r}"):
            model = self._client.get_registered_model(model_name)
            tag = f"{_GENERATION_TAG}.{service}"
            theirs = int(model.tags.get(tag, 0))
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

    @functools.cached_property
    def _client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException, RestException

    missing = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    try:
        yield
    except RestException as error:
        if error.error_code in missing:
            raise NotFoundError(f"MLflow knows no {what}: {error.message}") from error
        raise UnavailableError(f"MLflow failed on {what}: {error.message}") from error
    except MlflowException as error:
        if error.error_code in missing:
            raise NotFoundError(f"MLflow knows no {what}: {error.message}") from error
        raise UnavailableError(f"MLflow does not answer about {what}: {error.message}") from error
