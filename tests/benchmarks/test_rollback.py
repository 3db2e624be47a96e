"""The figures of the rollback benchmark."""

from benchmarks.rollback import Run, held, summary


def _runs(last_s: float, total_s: float, errors: int = 0) -> dict[str, object]:
    return summary([Run(0.3, last_s, total_s, 9, errors)] * 3)


def test_a_scenario_is_summed_up() -> None:
    figures = summary([Run(0.1, 0.0, 0.1, 5, 0), Run(0.3, 0.2, 0.5, 15, 1)])
    assert figures["runs"] == 2
    assert figures["bad_to_last_bad_s"] == {"p50": 0.3, "p95": 0.48}
    assert figures["connection_errors"] == 1


def test_each_bar_can_fail() -> None:
    good = {"alive": _runs(0.1, 0.4), "airflow": _runs(0.1, 9)}
    assert all(held(good).values())
    assert not held({**good, "alive": _runs(0.6, 0.9)})["verdict_to_last_bad"]
    assert not held({**good, "writer": _runs(0.1, 11)})["killed"]
    assert not held({**good, "writer": _runs(0.1, 1, errors=1)})["no_connection_error"]
