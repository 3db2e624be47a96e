"""What is said of nodes, and what follows for others: a preference, or within a budget, a refusal."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.suspicion import LEFT, NodeSuspicion, Place, avoid

SHARE = 0.05
START = datetime(2026, 11, 27, tzinfo=UTC)


def _said(node: str, owner: str = "a", cause: str = "device_fault/ecc", second: int = 0) -> NodeSuspicion:
    return NodeSuspicion(node, owner, cause, START + timedelta(seconds=second), f"{owner}: {cause}")


def _pool(count: int, product: str = "H100", pool: str = "p") -> dict[str, Place]:
    return {f"{product}-{pool}-{number}": Place(product, pool) for number in range(count)}


NODES = _pool(8)
ONE, TWO, THREE = list(NODES)[:3]


def test_one_dags_word_is_a_preference() -> None:
    found = avoid([_said(ONE), _said(ONE, second=1)], NODES, SHARE)
    assert (found.forbidden, found.discouraged) == ((), (ONE,))
    assert found.reasons == {ONE: ("a: device_fault/ecc",) * 2}


def test_a_second_dag_confirms_it_whatever_it_calls_it() -> None:
    found = avoid([_said(ONE), _said(ONE, "b", "device_fault/xid-79")], NODES, SHARE)
    assert (found.forbidden, found.discouraged) == ((ONE,), ())
    assert found.reasons == {ONE: ("a: device_fault/ecc", "b: device_fault/xid-79")}


def test_the_devices_own_readings_confirm_it() -> None:
    assert avoid([_said(ONE)], {**NODES, ONE: Place("H100", "p", doubted=True)}, SHARE).forbidden == (ONE,)


def test_what_readings_alone_doubt_is_the_quarantines_affair() -> None:
    found = avoid([], {**NODES, ONE: Place("H100", "p", doubted=True)}, SHARE)
    assert (found.forbidden, found.discouraged) == ((), ())


def test_the_same_failure_of_one_dag_on_several_nodes_is_its_programs() -> None:
    said = [_said(node, "buggy", second=number) for number, node in enumerate(NODES)]
    found = avoid(said, NODES, SHARE)
    assert (found.forbidden, found.discouraged, found.reasons) == ((), (), {})
    assert avoid(said[:2], NODES, SHARE).discouraged == tuple(NODES)[:2]


def test_a_buggy_dag_confirms_nothing_and_clears_nothing_that_others_say() -> None:
    said = [_said(node, "buggy") for node in NODES] + [_said(ONE, "b"), _said(TWO, "b"), _said(TWO, "c")]
    found = avoid(said, NODES, SHARE)
    assert (found.forbidden, found.discouraged) == ((TWO,), (ONE,))


def test_two_nodes_are_never_locked_out() -> None:
    said = [_said(node, owner) for node in (ONE, TWO) for owner in "ab"]
    found = avoid(said, {name: NODES[name] for name in (ONE, TWO)}, 1.0)
    assert (found.forbidden, found.discouraged) == ((), (ONE, TWO))


def test_a_node_that_no_watch_has_seen_is_never_forbidden() -> None:
    found = avoid([_said("elsewhere"), _said("elsewhere", "b")], NODES, SHARE)
    assert (found.forbidden, found.discouraged) == ((), ("elsewhere",))


def test_the_budget_is_spent_on_what_readings_confirm_then_on_most_witnesses() -> None:
    said = [_said(ONE, owner, "1") for owner in "ab"] + [_said(TWO, owner, "2") for owner in "abc"] + [_said(THREE)]
    assert avoid(said, NODES, SHARE).forbidden == (TWO,)
    assert avoid(said, {**NODES, THREE: Place("H100", "p", doubted=True)}, SHARE).forbidden == (THREE,)


def test_each_product_and_pool_has_its_own_budget() -> None:
    places = {**_pool(40), **_pool(40, pool="q"), **_pool(40, "A100")}
    said = [_said(node, owner, cause=node) for node in places for owner in "ab"]
    counted = Counter((places[node].product, places[node].pool) for node in avoid(said, places, SHARE).forbidden)
    assert counted == {("H100", "p"): 2, ("H100", "q"): 2, ("A100", "p"): 2}


def test_nodes_that_cannot_work_count_for_nothing() -> None:
    places = {name: Place("H100", "p", usable=number < 2) for number, name in enumerate(NODES)}
    assert avoid([_said(ONE), _said(ONE, "b")], places, 1.0).forbidden == ()
    last = list(NODES)[-1]
    assert avoid([_said(last), _said(last, "b")], places, 1.0).discouraged == (last,)


def test_a_preference_is_bounded_too_and_keeps_the_latest() -> None:
    said = [_said(f"n{number:03}", cause=str(number), second=number) for number in range(100)]
    found = avoid(said, {}, SHARE)
    assert found.discouraged == tuple(f"n{number:03}" for number in range(36, 100))


_PLACES = st.dictionaries(
    st.sampled_from([f"n{number}" for number in range(12)]),
    st.builds(Place, st.sampled_from(["H100", "A100"]), st.sampled_from(["", "p"]), st.booleans(), st.booleans()),
)
_SAID = st.lists(
    st.builds(
        _said,
        st.sampled_from([f"n{number}" for number in range(14)]),
        st.sampled_from("abcdef"),
        st.sampled_from(["device_fault/ecc", "device_fault/xid-79"]),
        st.integers(0, 3600),
    ),
    max_size=60,
)


@given(_SAID, _PLACES, st.floats(0.01, 1))
def test_whatever_is_said_the_budget_holds_and_the_last_nodes_stay(
    said: list[NodeSuspicion], places: dict[str, Place], share: float
) -> None:
    found = avoid(said, places, share)
    assert not set(found.forbidden) & set(found.discouraged)
    assert set(found.reasons) == {*found.forbidden, *found.discouraged} <= {suspicion.node for suspicion in said}
    usable = Counter((place.product, place.pool) for place in places.values() if place.usable)
    taken = Counter((places[node].product, places[node].pool) for node in found.forbidden)
    for group, count in taken.items():
        assert count <= max(1, int(share * usable[group])) and usable[group] - count >= LEFT
    for node in found.forbidden:
        assert places[node].usable
        assert places[node].doubted or len({suspicion.owner for suspicion in said if suspicion.node == node}) > 1


@given(_SAID, _PLACES, st.randoms())
def test_the_order_in_which_it_was_written_does_not_matter(
    said: list[NodeSuspicion], places: dict[str, Place], random: Random
) -> None:
    shuffled = random.sample(said, len(said))
    one, other = avoid(said, places, SHARE), avoid(shuffled, places, SHARE)
    assert (one.forbidden, set(one.discouraged)) == (other.forbidden, set(other.discouraged))
