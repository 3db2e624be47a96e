"""What an API server's error means when a pod is created: quota, admission, access, or a cluster that is away."""

from __future__ import annotations

import json
import re

from bulkhead.pods.outcome import Failure, FailureClass

_QUOTA = re.compile(r"exceeded quota|quota exceeded", re.I)
_POLICY = re.compile(r"violates PodSecurity|admission webhook|denied the request|ValidatingAdmissionPolicy", re.I)
_MISTYPED = "failed to create typed patch object"  # said with a 500 of a custom resource, yet it never mends by itself
_ACCESS = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
)
_NO_TIME = re.compile(r"unable to return a response in the time allotted|context deadline exceeded|etcdserver: ", re.I)
"""An API server that did not get its own answers in time says 403 and "forbidden", from inside its admission."""

_NAMESPACE = re.compile(r'namespaces "(?P<name>[^"]+)" not found')


def classify_refusal(status: int, body: str, namespace: str) -> Failure:
    """Name the refusal of a create, get or delete.

    Args:
        status: of HTTP; 0 where there was no answer at all.
        body: of the answer: a ``v1.Status`` in JSON, or any text.

    Returns:
        The failure, with the remedy in its message.
    """
    text = _message(body)
    if status == 403 and _QUOTA.search(text):
        return _failure(FailureClass.UNSCHEDULABLE, "quota", text)
    if status == 403 and _NO_TIME.search(text) and not _POLICY.search(text):
        return _failure(FailureClass.CLUSTER_UNREACHABLE, "timeout", text)
    access = _ACCESS.search(text)
    if status == 403 and access is not None:
        return _failure(FailureClass.CONFIG, "access", f"{text}; grant it by\n{_role(access, namespace)}")
    if _POLICY.search(text) or status == 403:
        return _failure(FailureClass.ADMISSION, "policy", text)
    if status == 404 and _NAMESPACE.search(text):
        return _failure(FailureClass.CONFIG, "namespace", f"{text}: create it, or name another")
    if status in (400, 404, 409, 413, 422) or _MISTYPED in text:
        return _failure(FailureClass.CONFIG, "invalid", text)
    if status == 401:
        return _failure(FailureClass.CLUSTER_UNREACHABLE, "credentials", f"{text or '401'}: check the connection")
    return _failure(FailureClass.CLUSTER_UNREACHABLE, str(status or "no-answer"), text or "no answer")


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.strip()


def _role(access: re.Match[str], namespace: str) -> str:
    """The smallest Role that would have allowed it."""
    group, resource = access["group"], access["resource"]
    return (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n"
        f"metadata: {{name: bulkhead-pods, namespace: {namespace}}}\n"
        f'rules: [{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{access["verb"]}"]}}]\n'
        f"(and a RoleBinding of it to {access['user']})"
    )


def _failure(named: FailureClass, kind: str, message: str) -> Failure:
    return Failure(failure_class=named, kind=kind, message=message[:1500])
