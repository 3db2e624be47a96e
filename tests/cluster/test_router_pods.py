"""Envoys of our own in a real cluster: the control plane's pods split the traffic of clients in the cluster.

Programs run in the pods that the chart has installed, with their service accounts. Clients ask the router's pods by
their addresses, and go to another when they are told to, as a Service has them do.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.ledger.tables import Revision
from bulkhead.pods.serving_names import server_name
from bulkhead.runtimes.kubernetes.objects import DEPLOYMENT, Objects
from bulkhead.workloads.kubernetes import KubernetesWorkloads
from tests.fixtures.chart import ChartSite
from tests.fixtures.cluster import IMAGE, answering
from tests.rollouts import revision
from tests.waiting import until

pytestmark = pytest.mark.timeout(900)


SPLIT = """
import json, sys
from bulkhead import settings
from bulkhead.control import Control
from bulkhead.routers.base import Fence, Split
router = Control(settings.load()).backends("digits").router
weights, revisions = json.loads(sys.argv[1]), ["old-00000000", "new-00000000"]
router.apply("digits", Split(dict.fromkeys(revisions, 8080), weights), Fence(1, int(sys.argv[2])))
counters = router.counters("digits", revisions)
print(json.dumps({name: counted.requests for name, counted in counters.items()}))
"""

ASK = """
import http.client, json, os, sys, time
from collections import Counter
hosts, seen, moved = sys.argv[1].split(","), Counter(), 0
def connected():
    return http.client.HTTPConnection(hosts[moved % len(hosts)], 8080, timeout=5)
connection, last = connected(), {}
while not os.path.exists("/tmp/stop") and (len(sys.argv) < 3 or sum(seen.values()) < int(sys.argv[2])):
    connection.request("GET", "/index.html")
    answer = connection.getresponse()
    body = answer.read().decode().strip()
    said = f"{answer.status} {body if answer.status == 200 else ''}".strip()
    seen[said] += 1
    last[said] = time.time()
    if answer.getheader("connection") == "close":
        moved += 1
        connection = connected()
    time.sleep(0.005)
print(json.dumps({"seen": seen, "moved": moved, "last": last}))
"""


class Routed:
    """A service with two revisions behind the chart's router. Attributes: site, core, client."""

    def __init__(self, site: ChartSite) -> None:
        site.install()
        self.site, self._sequence = site, 0
        self.workloads = KubernetesWorkloads(site.core.api_client, site.serving, {}, {}, IMAGE)
        for which in ("old", "new"):
            self.workloads.launch(_revision(which), 1)
        self.client = site.client()
        for which in ("old", "new"):
            until(lambda which=which: self._serves(which), f"revision {which} to serve")

    def _serves(self, which: str) -> bool:
        found = self.workloads.find(f"{which}-00000000")
        return found is not None and found.status.ready

    def split(self, **weights: int) -> dict[str, int]:
        """Have the control plane split so; what the Envoys have counted."""
        self._sequence += 1
        shares = json.dumps({f"{which}-00000000": weight for which, weight in weights.items()})
        answer: dict[str, int] = self.site.python(self.site.pods("reconciler")[0], SPLIT, shares, str(self._sequence))
        return answer

    def hosts(self) -> list[str]:
        return [pod.status.pod_ip for pod in self.site.pods("router")]

    def ask(self, requests: int, hosts: list[str] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.site.python(self.client, ASK, ",".join(hosts or self.hosts()), str(requests))
        return answer

    @contextmanager
    def asking(self, told: dict[str, Any]) -> Iterator[None]:
        """Somebody asks all the time; what they were told is in ``told`` afterwards."""
        hosts = ",".join(self.hosts())
        thread = threading.Thread(target=lambda: told.update(self.site.python(self.client, ASK, hosts)))
        thread.start()
        try:
            yield
        finally:
            self.site.run(self.client, "touch", "/tmp/stop")
            thread.join()
            self.site.run(self.client, "rm", "/tmp/stop")


def _revision(which: str) -> Revision:
    columns = replace(revision(which, serve=answering(which)), image=IMAGE).columns()
    return Revision(**{**columns, "id": f"{which}-00000000"})


@pytest.fixture
def routed(chart_site: ChartSite) -> Routed:
    return Routed(chart_site)


def test_every_envoy_splits_as_told_counts_and_drains(routed: Routed, core: k8s.CoreV1Api) -> None:
    assert set(routed.ask(10)["seen"]) == {"503"}  # before anything is released
    routed.split(old=100)
    assert routed.ask(50)["seen"] == {"200 old": 50}

    told: dict[str, Any] = {}
    with routed.asking(told):
        for new in (10, 50, 0, 100):
            routed.split(old=100 - new, new=new)
            for host in routed.hosts():
                seen = routed.ask(100, [host])["seen"]
                assert abs(seen.get("200 new", 0) - new) <= 25  # five standard deviations at a half
    assert set(told["seen"]) == {"200 old", "200 new"}
    counted = routed.split(new=100)
    assert counted["old-00000000"] + counted["new-00000000"] > 850

    # A pod that is taken away sends its clients elsewhere first; a server that is replaced is asked no more.
    told.clear()
    with routed.asking(told):
        [first, *_] = [pod for pod in routed.site.pods("router") if pod.status.pod_ip == routed.hosts()[0]]
        core.delete_namespaced_pod(first.metadata.name, routed.site.serving)
        until(lambda: _gone(core, first), "the pod to be gone")
        Objects(core.api_client, routed.site.serving).patch(DEPLOYMENT, server_name("new-00000000"), _restarted())
        until(lambda: _rolled(core, routed.site.serving), "the servers to be replaced")
    assert set(told["seen"]) == {"200 new"} and told["moved"] >= 1


def _gone(core: k8s.CoreV1Api, pod: k8s.V1Pod) -> bool:
    found = core.list_namespaced_pod(pod.metadata.namespace).items
    return pod.metadata.uid not in {one.metadata.uid for one in found}


def _restarted() -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}


def _rolled(core: k8s.CoreV1Api, namespace: str) -> bool:
    status = k8s.AppsV1Api(core.api_client).read_namespaced_deployment(server_name("new-00000000"), namespace)
    done, replicas = status.status, status.spec.replicas
    seen = done.observed_generation == status.metadata.generation
    return bool(seen and done.updated_replicas == done.ready_replicas == done.replicas == replicas)


def test_the_control_planes_account_may_do_that_and_the_routers_only_read(routed: Routed, core: k8s.CoreV1Api) -> None:
    def may(account: str, group: str, resource: str, verb: str, which: str | None = None) -> bool:
        attributes = k8s.V1ResourceAttributes(
            namespace=routed.site.serving, group=group, resource=resource, verb=verb, name=which
        )
        spec = k8s.V1SubjectAccessReviewSpec(user=f"system:serviceaccount:{account}", resource_attributes=attributes)
        review = k8s.V1SubjectAccessReview(spec=spec)
        return bool(k8s.AuthorizationV1Api(core.api_client).create_subject_access_review(review).status.allowed)

    router = f"{routed.site.serving}:prod-bulkhead-router-digits"
    reconciler = f"{routed.site.namespace}:prod-bulkhead-reconciler"
    assert may(router, "", "configmaps", "watch", "router-digits")
    assert may(router, "discovery.k8s.io", "endpointslices", "list")
    for resource, verb, which in (("configmaps", "get", "other"), ("configmaps", "patch", "router-digits")):
        assert not may(router, "", resource, verb, which)
    assert not may(router, "", "secrets", "get", "router-token") and not may(router, "", "pods", "list")
    assert may(reconciler, "", "configmaps", "patch", "router-digits")
    assert not may(reconciler, "", "configmaps", "get", "other") and not may(reconciler, "", "secrets", "get")
