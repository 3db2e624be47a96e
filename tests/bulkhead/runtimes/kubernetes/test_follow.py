"""Objects that are followed: changed, removed, too old to go on from, and a cluster that goes away and comes back."""

import threading
from collections.abc import Iterator

import pytest

from bulkhead.runtimes.kubernetes.follow import Followed
from bulkhead.runtimes.kubernetes.objects import CONFIG_MAP
from tests.fixtures.small_cluster import SmallCluster
from tests.waiting import until


@pytest.fixture
def told() -> threading.Event:
    return threading.Event()


@pytest.fixture
def followed(small_cluster: SmallCluster, told: threading.Event) -> Iterator[Followed]:
    made = Followed(small_cluster.client(), CONFIG_MAP, "ml", {"labelSelector": "team=ml"}, told.set)
    assert made.objects is None and made.trouble == "the configmaps of namespace ml have not been read yet"
    made.start()
    yield made
    made.stop()


def _names(followed: Followed) -> set[str]:
    return set(followed.objects or ())


def _put(cluster: SmallCluster, name: str, value: str = "1", team: str = "ml") -> None:
    cluster.put(CONFIG_MAP, name, metadata={"labels": {"team": team}}, data={"value": value})


def test_what_is_there_what_comes_what_changes_and_what_goes(
    small_cluster: SmallCluster, followed: Followed, told: threading.Event
) -> None:
    until(lambda: followed.objects is not None, "the first list")
    assert followed.objects == {}
    until(lambda: followed.trouble is None, "it to say so")
    told.clear()
    _put(small_cluster, "a")
    _put(small_cluster, "other", team="x")
    until(told.is_set, "the change to be told")
    until(lambda: _names(followed) == {"a"}, "the new object")
    _put(small_cluster, "a", "2")
    until(lambda: (followed.objects or {})["a"]["data"] == {"value": "2"}, "the change")
    small_cluster.remove(CONFIG_MAP, "a")
    until(lambda: followed.objects == {}, "the removal")
    assert small_cluster.lists == 1


def test_where_it_cannot_go_on_it_reads_everything_again(small_cluster: SmallCluster, followed: Followed) -> None:
    _put(small_cluster, "a")
    until(lambda: _names(followed) == {"a"}, "the first object")
    lists = small_cluster.lists
    small_cluster.forget()
    until(lambda: small_cluster.lists > lists, "another list")
    _put(small_cluster, "b")
    until(lambda: _names(followed) == {"a", "b"}, "the next change")


def test_while_the_cluster_is_away_it_keeps_what_it_had_and_says_so(
    small_cluster: SmallCluster, followed: Followed
) -> None:
    _put(small_cluster, "a")
    until(lambda: _names(followed) == {"a"}, "the first object")
    small_cluster.go(away=True)
    until(lambda: (followed.trouble or "").startswith("configmaps: "), "it to notice")
    assert _names(followed) == {"a"}
    _put(small_cluster, "b")
    small_cluster.go(away=False)
    until(lambda: _names(followed) == {"a", "b"} and followed.trouble is None, "the cluster to be heard again")
