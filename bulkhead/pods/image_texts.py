"""Why an image cannot be had, in the words of the kubelet, containerd and registries.

Sources: the kubelet's ``pkg/kubelet/images/types.go``; containerd's resolver and unpacker; the OCI distribution
specification's error codes.
"""

from __future__ import annotations

import re

_REASONS = {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"}
_ALWAYS = {
    "ErrImageNeverPull": "not-found",
    "InvalidImageName": "not-found",
    "SignatureValidationFailed": "signature",
    "ImageVolumeMountFailed": "network",
}
# Names, addresses and digests are the author's or the registry's, and any number or word may be in them.
_NAMES = re.compile(
    r'"[^"\n]*"|https?://\S+|sha256:[0-9a-f]+|\b[\w.-]+\.[\w.-]+(:\d+)?/\S+|\[?[\da-f:.]*\d\]?:\d+(->\S+)?|\bimage \S+',
    re.I,
)
_NODE_DISK = re.compile(r"no space left on device|disk quota exceeded|input/output error|read-only file system", re.I)
_PASSING = re.compile(
    r"i/o timeout|connection (reset|refused)|timed? ?out|\bEOF\b|no such host|temporary failure|server misbehaving|"
    r"network is unreachable|no route to host|\b50[0234]\b|internal server error|bad gateway|service unavailable|"
    r"deadline exceeded|context canceled",
    re.I,
)
_KINDS = (
    (re.compile(r"toomanyrequests|rate limit|too many requests|\b429\b", re.I), "rate-limit"),
    (
        re.compile(
            r"unauthorized|authentication required|denied|authorization failed|no basic auth|forbidden|\b40[13]\b", re.I
        ),
        "auth",
    ),
    (
        re.compile(
            r"not found|manifest unknown|does not exist|\b404\b|invalid reference|couldn't parse|not present|"
            r"no matching manifest|no match for platform",
            re.I,
        ),
        "not-found",
    ),
)


def of_image(reason: str, message: str) -> str | None:
    """The kind of an image's failure.

    Args:
        reason: of the waiting container.

    Returns:
        ``auth``, ``not-found``, ``rate-limit``, ``node-disk``, ``signature`` or ``network``; None for a reason that has
        nothing to do with images.
    """
    if reason in _ALWAYS:
        return _ALWAYS[reason]
    if reason not in _REASONS:
        return None
    said = _NAMES.sub(" ", message)
    if _NODE_DISK.search(said):
        return "node-disk"
    if _PASSING.search(said):
        return "network"
    return next((kind for pattern, kind in _KINDS if pattern.search(said)), "network")
