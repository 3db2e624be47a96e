"""What a team of users brings to the gate: data, a metric, slices and a suite of their own."""

from typing import Any

import numpy as np
import pandas as pd


def holdout() -> pd.DataFrame:
    """400 customers of whom a quarter left, half of them in the north."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, 400)
    region = np.where(np.arange(400) % 2 == 0, "north", "south")
    return pd.DataFrame(
        {"age": age, "spend": rng.gamma(2.0, 50.0, 400), "region": region, "left": np.arange(400) % 4 == 0}
    )


def nothing() -> pd.DataFrame:
    return holdout().head(0)


def a_list() -> list[int]:
    return [1]


def cost(targets: Any, predictions: Any) -> Any:
    """A customer who leaves unnoticed costs five, one who is rung up in vain one."""
    return np.where(targets & ~predictions.astype(bool), 5.0, np.where(~targets & predictions.astype(bool), 1.0, 0.0))


def broken_cost(targets: Any, predictions: Any) -> Any:
    raise KeyError("price")


def by_age(frame: pd.DataFrame) -> dict[str, Any]:
    return {"young": frame["age"] < 30, "old": (frame["age"] >= 60).to_numpy()}


def no_masks(frame: pd.DataFrame) -> dict[str, Any]:
    return {"young": [1, 2]}


def empty_mask(frame: pd.DataFrame) -> dict[str, Any]:
    return {"of no age": frame["age"] < 0}


def suite() -> list[Any]:
    import great_expectations.expectations as gxe

    return [gxe.ExpectColumnValuesToBeBetween(column="age", min_value=18, max_value=79)]  # type: ignore[attr-defined]


def strict_suite() -> list[Any]:
    import great_expectations.expectations as gxe

    return [gxe.ExpectColumnValuesToBeBetween(column="age", min_value=40), gxe.ExpectColumnToExist(column="tenure")]  # type: ignore[attr-defined]


def no_suite() -> list[Any]:
    return []
