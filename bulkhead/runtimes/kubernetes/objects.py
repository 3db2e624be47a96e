"""Objects of a namespace, written by server-side apply under a fence, so that others' changes are seen and named.

Every object carries the generation under which it was written. A write reads the object first, refuses to overwrite
a later generation, and goes through only if there was no other write meanwhile (``resourceVersion``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import urllib3
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.errors import FencedError, RefusedError, UnavailableError
from bulkhead.pods.identity import GENERATION, SEQUENCE
from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.refusal import classify_refusal

MANAGER = "bulkhead"
"""Field manager of everything that is written here."""

_APPLY = "application/apply-patch+yaml"
_TIMEOUT_S = (3.0, 10.0)
_TRIES = 8

Document = dict[str, Any]
"""An object in its JSON form."""


class Kind(NamedTuple):
    """A kind of object.

    Attributes:
        api_version: for instance ``apps/v1``.
        kind: for instance ``Deployment``.
        plural: as in its URL.
        namespaced: whether it belongs to a namespace.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True


DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
SERVICE = Kind("v1", "Service", "services")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
POD = Kind("v1", "Pod", "pods")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")


class UnknownKindError(RefusedError):
    """The cluster does not serve this kind of object."""


class EditedError(RefusedError):
    """Fields that were written here belong to another writer by now; the message names them."""


class Objects:
    """The objects of one namespace, and those of none.

    Args:
        api: of the cluster; see ``bulkhead.runtimes.kubernetes.access``.
    """

    def __init__(self, api: k8s.ApiClient, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def read(self, kind: Kind, name: str) -> Document | None:
        """An object, or None if there is none.

        Raises:
            UnavailableError: the cluster does not answer.
            UnknownKindError: it does not know the kind.
            RefusedError: it does not let us.
        """
        try:
            return self._call("GET", self._path(kind, name))
        except _MissingError:
            return None

    def serves(self, kind: Kind) -> bool:
        """Whether the cluster knows a kind. Everybody who is known to it may ask; reading needs a permission even of
        what it does not know.

        Args:
            kind: of objects, of a named API group.
        """
        try:
            resources = self._call("GET", f"/apis/{kind.api_version}")
        except UnknownKindError:
            return False
        return any(resource["name"] == kind.plural for resource in resources["resources"])

    def list(self, kind: Kind, labels: Mapping[str, str]) -> list[Document]:
        """The objects that carry some labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        items: list[Document] = self._call("GET", self._path(kind), {"labelSelector": selector})["items"]
        return items

    def apply(self, kind: Kind, desired: Mapping[str, Any], generation: int, *, sequence: int = 0) -> Document:
        """Write an object, unless it was written under a later fence. What others have changed of it is ours again.

        Args:
            desired: the fields that are ours, with ``metadata.name``; what is left out is others', or the cluster's.
            sequence: of the writer, within the generation.

        Returns:
            The object as it is now.

        Raises:
            FencedError: it carries a later fence.
        """
        for _ in range(_TRIES):
            existing = self.read(kind, desired["metadata"]["name"])
            try:
                return self._apply(kind, _stamped(kind, desired, (generation, sequence), existing), force=True)
            except _RaceError:
                continue
        raise UnavailableError(f"{kind.kind} {desired['metadata']['name']}: others write it again and again")

    def drift(self, kind: Kind, desired: Mapping[str, Any], generation: int) -> str | None:
        """What applying an object would change or contest, found without changing anything.

        Args:
            desired: as for ``apply``.

        Returns:
            In words; None where it is as wanted.

        Raises:
            FencedError: it carries a later generation.
        """
        name = desired["metadata"]["name"]
        existing = self.read(kind, name)
        if existing is None:
            return f"{kind.kind} {name} was deleted"
        try:
            dry = self._apply(kind, _stamped(kind, desired, (generation, 0), existing), force=False, dry_run=True)
        except EditedError as edited:
            return str(edited)
        except _RaceError:
            return None  # it is being written just now: the next poll sees what came of it
        changed = sorted([*_changed(existing.get("spec"), dry.get("spec"), "spec"), *_notes_changed(existing, dry)])
        return f"{kind.kind} {name} was changed at {', '.join(changed)}" if changed else None

    def patch(self, kind: Kind, name: str, change: Mapping[str, Any]) -> None:
        """Change fields of an object that others made; one that is gone stays so.

        Args:
            change: a JSON merge patch.
        """
        try:
            self._call("PATCH", self._path(kind, name), body=dict(change), content="application/merge-patch+json")
        except _MissingError:
            return

    def edit(self, kind: Kind, name: str, change: Callable[[Document], Mapping[str, Any] | None]) -> None:
        """Change a list that others write too: read, change, and write only if there was no other write meanwhile.

        Args:
            name: of it; one that is gone stays so.
            change: gives a JSON merge patch for the object as it is, or None where nothing is to be changed.

        Raises:
            UnavailableError: others write it again and again.
        """
        for _ in range(_TRIES):
            existing = self.read(kind, name)
            desired = change(existing) if existing is not None else None
            if existing is None or desired is None:
                return
            exactly = {"metadata": {"resourceVersion": existing["metadata"]["resourceVersion"]}}
            try:
                self.patch(kind, name, {**desired, **exactly})
            except _RaceError:
                continue
            return
        raise UnavailableError(f"{kind.kind} {name}: others write it again and again")

    def delete(self, kind: Kind, name: str, generation: int | None, *, orphan: bool = False) -> None:
        """Delete an object, unless it was written under a later generation; one that is not there is no error.

        Args:
            generation: of the writer; None where no rollout writes, and whatever it carries may go.
            orphan: whether what it owns stays.

        Raises:
            FencedError: it carries a later generation.
        """
        for _ in range(_TRIES):
            existing = self.read(kind, name)
            if existing is None or existing["metadata"].get("deletionTimestamp"):
                return
            if generation is not None:
                _check_fence(kind, existing, (generation, 0))
            exactly = {key: existing["metadata"][key] for key in ("uid", "resourceVersion")}
            policy = "Orphan" if orphan else "Background"
            body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": exactly, "propagationPolicy": policy}
            try:
                self._call("DELETE", self._path(kind, name), body=body)
            except (_MissingError, _RaceError):
                continue
        raise UnavailableError(f"{kind.kind} {name}: others write it again and again")

    def _apply(self, kind: Kind, document: Document, force: bool, dry_run: bool = False) -> Document:
        query = {"fieldManager": MANAGER, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        return self._call("PATCH", self._path(kind, document["metadata"]["name"]), query, document, _APPLY)

    def _path(self, kind: Kind, name: str | None = None) -> str:
        path = path_of(kind, self.namespace)
        return f"{path}/{name}" if name else path

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
    ) -> Document:
        headers = {"Accept": "application/json", "Content-Type": content}
        with _named(f"{method} {path}", self.namespace):
            answer: Document = self.api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                response_types_map={200: "object", 201: "object", 202: "object"},
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=_TIMEOUT_S,
            )
        return answer


def path_of(kind: Kind, namespace: str) -> str:
    """The path of the objects of a kind.

    Args:
        namespace: of them, where they belong to one.
    """
    root = "/apis/" if "/" in kind.api_version else "/api/"
    within = f"namespaces/{namespace}/" if kind.namespaced else ""
    return f"{root}{kind.api_version}/{within}{kind.plural}"


class _MissingError(RefusedError):
    """There is no such object."""


class _RaceError(RefusedError):
    """It was written since it was read."""


@contextmanager
def _named(asked: str, namespace: str) -> Iterator[None]:
    """The cluster's answers as the project's errors."""
    try:
        yield
    except ApiException as refused:
        body = refused.body.decode() if isinstance(refused.body, bytes) else str(refused.body or "")
        status = _status(body)
        details = status.get("details") or {}
        causes = details.get("causes") or []
        if refused.status == 404 and details.get("name") and details.get("kind") != "namespaces":
            raise _MissingError(asked) from refused
        if refused.status == 409:
            contested = [cause for cause in causes if cause.get("reason") == "FieldManagerConflict"]
            raise (EditedError(_contest(contested)) if contested else _RaceError(asked)) from refused
        failure = classify_refusal(refused.status or 0, body, namespace)
        if failure.failure_class is FailureClass.CLUSTER_UNREACHABLE:
            raise UnavailableError(f"{asked}: {failure.message}") from refused
        if refused.status == 404:
            why = f"{asked}: the cluster does not serve this kind; install what defines it"
            raise UnknownKindError(why) from refused
        raise RefusedError(f"{asked}: {failure.message}") from refused
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"{asked}: no answer: {type(error).__name__}: {error}") from error


def _status(body: str) -> Document:
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def _contest(causes: list[Document]) -> str:
    """``spec.replicas was set by "kubectl-scale"``, and so on."""
    owners = []
    for cause in causes:
        holder = str(cause.get("message", "")).removeprefix("conflict with ")
        owners.append(f"{str(cause.get('field', '')).lstrip('.')} was set by {holder}")
    return ", ".join(owners)


def fence_of(document: Mapping[str, Any]) -> tuple[int, int]:
    """Generation and sequence under which an object was written; zeros where it was not written here."""
    notes = document["metadata"].get("annotations") or {}
    return int(notes.get(GENERATION, 0)), int(notes.get(SEQUENCE, 0))


def other_writers(existing: Mapping[str, Any] | None, field: str) -> str:
    """Who has written a part of an object beside this project, by the field managers that it names; for people.

    Args:
        existing: the object as the API server has it; None where it is gone.
        field: of its uppermost ones.
    """
    managers = existing["metadata"].get("managedFields", []) if existing is not None else []
    others = {manager["manager"] for manager in managers if f"f:{field}" in manager.get("fieldsV1", {})} - {MANAGER}
    return ", ".join(sorted(others)) or "an unknown writer"


def _check_fence(kind: Kind, existing: Mapping[str, Any], fence: tuple[int, int]) -> None:
    held = fence_of(existing)
    if held > fence:
        why = f"was written by generation {held[0]} step {held[1]}, later than {fence[0]} step {fence[1]}"
        raise FencedError(f"{kind.kind} {existing['metadata']['name']} {why}")


def _stamped(kind: Kind, desired: Mapping[str, Any], fence: tuple[int, int], existing: Document | None) -> Document:
    """The object to send: with its kind, its fence, and the version that it is meant to replace."""
    metadata = dict(desired["metadata"])
    stamp = {GENERATION: str(fence[0]), **({SEQUENCE: str(fence[1])} if fence[1] else {})}
    metadata["annotations"] = {**metadata.get("annotations", {}), **stamp}
    if existing is not None:
        _check_fence(kind, existing, fence)
        metadata["resourceVersion"] = existing["metadata"]["resourceVersion"]
    return {**desired, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def _notes_changed(existing: Document, dry: Document) -> Iterator[str]:
    """Labels and annotations that differ, but for the fence itself."""
    for field in ("labels", "annotations"):
        before, after = (dict(document["metadata"].get(field) or {}) for document in (existing, dry))
        for fence in (GENERATION, SEQUENCE):
            before.pop(fence, None)
            after.pop(fence, None)
        yield from _changed(before, after, f"metadata.{field}")


def _changed(existing: Any, dry: Any, where: str) -> Iterator[str]:
    """Paths at which two values differ."""
    if isinstance(existing, dict) and isinstance(dry, dict):
        for key in existing.keys() | dry.keys():
            yield from _changed(existing.get(key), dry.get(key), f"{where}.{key}")
    elif isinstance(existing, list) and isinstance(dry, list) and len(existing) == len(dry):
        for index, (old, other) in enumerate(zip(existing, dry, strict=True)):
            yield from _changed(old, other, f"{where}[{index}]")
    elif existing != dry:
        yield where
