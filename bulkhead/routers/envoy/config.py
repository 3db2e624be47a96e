"""Envoy's configuration as values: bootstrap, listener, routes, clusters, endpoints.

Sources: Envoy's v3 API reference (``config.bootstrap.v3``, ``config.route.v3``, ``config.cluster.v3``,
``config.endpoint.v3``) and
its "Dynamic from filesystem" guide: a file is read again when it is *moved* into the watched directory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bulkhead.routers.base import Fence, Mirror, Split

REVISION_HEADER = "x-bulkhead-revision"
"""Response header that names the revision that answered."""

MIRROR = "mirror-"
"""How the name of the cluster begins that gets copies of requests; the rest is the candidate's."""

LOOPBACK = "127.0.0.1"

Address = tuple[str, int]
"""Host and TCP port."""

_TYPE = "type.googleapis.com/envoy."
_METADATA = "bulkhead"
_REQUEST_TIMEOUT = "30s"
_RETRIES = 3
_OTHERS = "envoy.retry_host_predicates.previous_hosts"
_OTHERS_TYPE = "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
# Below uvicorn's own keep-alive (see bulkhead.gpu_tasks.serve), so that Envoy never sends on a connection just closed.
_UPSTREAM_IDLE = "30s"


def bootstrap(folder: Path, admin_port: int, *, drained: bool = False) -> dict[str, Any]:
    """Envoy's start-up configuration.

    Args:
        folder: where ``lds.json`` and ``cds.json`` lie.
        admin_port: on loopback; only reading paths are allowed, so no request can stop Envoy through it.
        drained: whether it may be told to have its clients go elsewhere, which whoever shares its loopback then may.
    """
    paths = ["/stats", "/ready", "/config_dump", "/clusters", *(["/drain_listeners"] if drained else [])]
    return {
        "node": {"id": "bulkhead", "cluster": "bulkhead"},
        "admin": {
            "address": _address((LOOPBACK, admin_port)),
            "allow_paths": [{"prefix": path} for path in paths],
        },
        "stats_flush_interval": "0.5s",
        "dynamic_resources": {
            "lds_config": _files(folder / "lds.json", folder),
            "cds_config": _files(folder / "cds.json", folder),
        },
    }


def listener(folder: Path, service: str, at: Address) -> dict[str, Any]:
    """The listener discovery file: one port of one service.

    Args:
        folder: where ``rds.json`` lies.
        at: where to listen.
    """
    manager = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": service,
        "rds": {"route_config_name": service, "config_source": _files(folder / "rds.json", folder)},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    resource = {
        "@type": _TYPE + "config.listener.v3.Listener",
        "name": service,
        "address": _address(at),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"version_info": "1", "resources": [resource]}


def routes(service: str, split: Split, fence: Fence) -> dict[str, Any]:
    """The route discovery file: who gets which share.

    A request that reached no server (connection refused, reset before it was sent) is tried again, at another server
    where there is one: it cannot have had an effect. An answer, whatever its status, is never retried: that would hide
    a bad model.

    Args:
        split: weights by revision, pinned requests, and where copies go.
        fence: written into the file.

    Raises:
        InvalidInputError: the weights do not sum to 100, or name a revision without an endpoint.
    """
    split.check()
    shares = {revision: weight for revision, weight in split.weights.items() if weight}
    if shares:
        action = _route(shares, split.mirror)
    else:
        body = f"service {service} has no revision that serves"
        action = {"direct_response": {"status": 503, "body": {"inline_string": body}}}
    entries = [{"match": {"prefix": "/"}, **action}]
    if split.pin is not None:
        match = {"prefix": "/", "headers": [_equals(name, value) for name, value in split.pin.headers.items()]}
        entries.insert(0, {"match": match, **_route({split.pin.revision: 100}, None)})
    resource = {
        "@type": _TYPE + "config.route.v3.RouteConfiguration",
        "name": service,
        "virtual_hosts": [{"name": service, "domains": ["*"], "routes": entries}],
        "metadata": {
            "filter_metadata": {
                _METADATA: {"generation": fence.generation, "sequence": fence.sequence, **split.document()}
            }
        },
    }
    return {"version_info": version(fence, split), "resources": [resource]}


def upstreams(split: Split) -> dict[str, int]:
    """Every cluster that a split needs.

    Args:
        split: endpoints, and where copies go.

    Returns:
        TCP port by name.
    """
    mirror = {MIRROR + split.mirror.revision: split.mirror.port} if split.mirror else {}
    return {**split.endpoints, **mirror}


def clusters(split: Split, fence: Fence, places: Path | None = None) -> dict[str, Any]:
    """The cluster discovery file: where each revision listens.

    Args:
        split: ports by revision.
        fence: written into the file.
        places: folder with an endpoint discovery file for each; None where they listen on loopback.
    """
    resources = [_cluster(name, port, places) for name, port in sorted(upstreams(split).items())]
    return {"version_info": version(fence, split), "resources": resources}


def place_file(cluster: str) -> str:
    """Name of a cluster's endpoint discovery file."""
    return f"eds-{cluster}.json"


def endpoints(cluster: str, addresses: Collection[Address]) -> dict[str, Any]:
    """A cluster's endpoint discovery file.

    Args:
        addresses: of the servers that answer.
    """
    return {"resources": [{"@type": _TYPE + "config.endpoint.v3.ClusterLoadAssignment", **_loads(cluster, addresses)}]}


def parse_routes(document: Mapping[str, Any]) -> tuple[Fence, Split]:
    """Read back what ``routes`` wrote.

    Args:
        document: the route discovery file.
    """
    data = document["resources"][0]["metadata"]["filter_metadata"][_METADATA]
    return Fence(int(data["generation"]), int(data["sequence"])), Split.parse(data)


def version(fence: Fence, split: Split) -> str:
    """Envoy's version string: the fence, and a digest, since a change by others is repaired under the same fence."""
    digest = hashlib.sha256(json.dumps(split.document(), sort_keys=True).encode()).hexdigest()[:12]
    return f"{fence.generation}.{fence.sequence}.{digest}"


def fence_of(version: str) -> Fence:
    """The fence of a version string."""
    generation, sequence, _ = version.split(".")
    return Fence(int(generation), int(sequence))


def _route(shares: Mapping[str, int], mirror: Mirror | None) -> dict[str, Any]:
    route: dict[str, Any] = {
        "timeout": _REQUEST_TIMEOUT,
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": _RETRIES,
            "retry_host_predicate": [{"name": _OTHERS, "typed_config": {"@type": _TYPE + _OTHERS_TYPE}}],
            "host_selection_retry_max_attempts": _RETRIES + 2,
        },
        "weighted_clusters": {"clusters": [_share(name, weight) for name, weight in shares.items()]},
    }
    if mirror is not None:
        fraction = {"default_value": {"numerator": mirror.percent, "denominator": "HUNDRED"}}
        policy = {"cluster": MIRROR + mirror.revision, "runtime_fraction": fraction}
        route["request_mirror_policies"] = [policy]
    return {"route": route}


def _equals(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"exact": value}}


def _share(revision: str, weight: int) -> dict[str, Any]:
    header = {
        "header": {"key": REVISION_HEADER, "value": revision},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return {"name": revision, "weight": weight, "response_headers_to_add": [header]}


def _cluster(name: str, port: int, places: Path | None) -> dict[str, Any]:
    http = {
        "@type": _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": _UPSTREAM_IDLE},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    placed: dict[str, Any] = {"type": "STATIC", "load_assignment": _loads(name, [(LOOPBACK, port)])}
    if places is not None:
        placed = {"type": "EDS", "eds_cluster_config": {"eds_config": _files(places / place_file(name), places)}}
    return {
        "@type": _TYPE + "config.cluster.v3.Cluster",
        "name": name,
        **placed,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            _TYPE.split("/")[1] + "extensions.upstreams.http.v3.HttpProtocolOptions": http
        },
    }


def _loads(cluster: str, addresses: Collection[Address]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(address)}} for address in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def _address(at: Address) -> dict[str, Any]:
    return {"socket_address": {"address": at[0], "port_value": at[1]}}


def _files(path: Path, folder: Path) -> dict[str, Any]:
    return {
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(folder)}},
        "resource_api_version": "V3",
    }
