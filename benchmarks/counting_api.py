"""``python -m benchmarks.counting_api``: a Kubernetes API for pods that counts its requests and plays the kubelet.

A pod is Pending for ``pending_s``, Running for the seconds of its label ``run-s`` (by default 1) or until it is given
a label ``end``, then Succeeded. It prints its port; ``GET /counts`` tells requests by kind, connections, when each pod
ended, and how many pods there were at most that had not ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from typing import Any

from aiohttp import web

_WATCH_GRACE_S = 600


class Api:
    """The state of one namespace.

    Args:
        pending_s: seconds that a pod is Pending.
    """

    def __init__(self, pending_s: float) -> None:
        self._pending_s = pending_s
        self._pods: dict[str, dict[str, Any]] = {}
        self._watchers: set[asyncio.Queue[bytes]] = set()
        self._history: list[tuple[int, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._version = 0
        self._changed: dict[str, asyncio.Event] = {}
        self._peers: set[Any] = set()
        self.most_at_once = 0
        self.counts: Counter[str] = Counter()
        self.ended: dict[str, float] = {}

    def application(self) -> web.Application:
        """The routes."""
        base = "/api/v1/namespaces/{namespace}"
        app = web.Application(middlewares=[self._count])
        app.router.add_get(f"{base}/pods", self._list)
        app.router.add_post(f"{base}/pods", self._create)
        app.router.add_get(f"{base}/pods/{{name}}", self._read)
        app.router.add_patch(f"{base}/pods/{{name}}", self._label)
        app.router.add_delete(f"{base}/pods/{{name}}", self._delete)
        app.router.add_get(f"{base}/pods/{{name}}/log", self._log)
        app.router.add_get(f"{base}/events", self._events)
        app.router.add_get("/counts", self._counts)
        return app

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/counts":
            what = request.path.rsplit("/", 1)[-1] if "name" not in request.match_info else "pod"
            kind = "WATCH" if "watch" in request.query else request.method
            self.counts[f"{kind} {'log' if request.path.endswith('/log') else what}"] += 1
            if request.transport is not None:
                self._peers.add(request.transport.get_extra_info("peername"))
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        name = pod["metadata"]["name"]
        if name in self._pods:
            return web.json_response({"kind": "Status", "code": 409, "message": "already exists"}, status=409)
        pod["metadata"].setdefault("namespace", request.match_info["namespace"])
        pod["metadata"]["uid"] = str(uuid.uuid4())
        self._pods[name] = pod
        self._set(name, {"phase": "Pending"}, "ADDED")
        active = [kept for kept in self._pods.values() if kept["status"]["phase"] in ("Pending", "Running")]
        self.most_at_once = max(self.most_at_once, len(active))
        task = asyncio.create_task(self._live(name, float(pod["metadata"]["labels"].get("run-s", 1))))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.json_response(pod, status=201)

    async def _live(self, name: str, run_s: float) -> None:
        await asyncio.sleep(self._pending_s)
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        container = {"name": "base", "image": "i", "imageID": "i", "ready": True, "restartCount": 0}
        running = {**container, "state": {"running": {"startedAt": started}}}
        self._set(name, {"phase": "Running", "startTime": started, "containerStatuses": [running]})
        try:
            async with asyncio.timeout(run_s):
                while name in self._pods and "end" not in self._pods[name]["metadata"]["labels"]:
                    await self._changed[name].wait()
        except TimeoutError:  # it has run long enough
            pass
        if name not in self._pods:
            return
        message = '{"version": 1, "result": {"answer": 42}}'
        terminated = {"exitCode": 0, "reason": "Completed", "message": message, "startedAt": started}
        terminated["finishedAt"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        done = {**container, "state": {"terminated": terminated}}
        self.ended[name] = time.time()
        self._set(name, {"phase": "Succeeded", "startTime": started, "containerStatuses": [done]})

    def _set(self, name: str, status: dict[str, Any], kind: str = "MODIFIED") -> None:
        if name in self._pods:
            self._pods[name]["status"] = status
            self._tell(name, kind)

    def _tell(self, name: str, kind: str = "MODIFIED") -> None:
        self._version += 1
        self._pods[name]["metadata"]["resourceVersion"] = str(self._version)
        self._changed.setdefault(name, asyncio.Event()).set()
        self._changed[name] = asyncio.Event()
        self._tell_watchers(kind, self._pods[name])

    def _tell_watchers(self, kind: str, pod: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": pod}).encode() + b"\n"
        self._history.append((self._version, line))
        for queue in self._watchers:
            queue.put_nowait(line)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        items = [pod for pod in self._pods.values() if _selected(pod, request.query.get("labelSelector", ""))]
        metadata = {"resourceVersion": str(self._version)}
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        seen = int(request.query.get("resourceVersion") or self._version)
        for version, line in self._history:
            if version > seen:
                queue.put_nowait(line)
        self._watchers.add(queue)
        try:
            await answer.prepare(request)
            async with asyncio.timeout(_WATCH_GRACE_S):
                while True:
                    await answer.write(await queue.get())
        except (TimeoutError, ConnectionResetError):
            return answer
        finally:
            self._watchers.discard(queue)

    async def _read(self, request: web.Request) -> web.Response:
        pod = self._pods.get(request.match_info["name"])
        return web.json_response(pod) if pod else _missing()

    async def _label(self, request: web.Request) -> web.Response:
        """A merge patch, of which the labels are taken."""
        name = request.match_info["name"]
        if name not in self._pods:
            return _missing()
        labels = (await request.json()).get("metadata", {}).get("labels") or {}
        if labels:
            self._pods[name]["metadata"].setdefault("labels", {}).update(labels)
            self._tell(name)
        return web.json_response(self._pods[name])

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        pod = self._pods.get(name)
        if pod is None:
            return _missing()
        self._tell(name, "DELETED")
        del self._pods[name]
        return web.json_response(pod)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        """One line; a log that is followed ends with its pod."""
        name, line = request.match_info["name"], b"2026-11-24T10:00:00.000000000Z a line\n"
        if request.query.get("follow", "").lower() != "true":
            return web.Response(body=line)
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(line)
        while name in self._pods and self._pods[name]["status"]["phase"] in ("Pending", "Running"):
            await self._changed[name].wait()
        await answer.write_eof()
        return answer

    async def _events(self, request: web.Request) -> web.Response:
        metadata = {"resourceVersion": str(self._version)}
        return web.json_response({"kind": "EventList", "apiVersion": "v1", "metadata": metadata, "items": []})

    async def _counts(self, request: web.Request) -> web.Response:
        counted = {"counts": self.counts, "ended": self.ended, "connections": len(self._peers)}
        return web.json_response({**counted, "most_at_once": self.most_at_once, "pods": list(self._pods)})


def _selected(pod: dict[str, Any], selector: str) -> bool:
    labels = pod["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        key, _, value = term.partition("!=" if "!=" in term else "=")
        if (labels.get(key) == value) is ("!=" in term):
            return False
    return True


def _missing() -> web.Response:
    return web.json_response({"kind": "Status", "code": 404, "message": "not found"}, status=404)


async def serve(pending_s: float) -> None:
    """Serve on a free port of the loopback interface until killed.

    Args:
        pending_s: seconds that a pod is Pending.
    """
    runner = web.AppRunner(Api(pending_s).application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
