from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from bulkhead.runtimes.local.quantities import parse


@given(st.integers(0, 10**6), st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]))
def test_it_reads_what_the_kubernetes_client_reads(number: int, suffix: str) -> None:
    assert parse(f"{number}{suffix}") == parse_quantity(f"{number}{suffix}")


@pytest.mark.parametrize(("text", "value"), [("500m", "0.5"), ("2Gi", str(2**31)), ("1e3", "1000"), ("0.5", "0.5")])
def test_examples_of_the_documentation(text: str, value: str) -> None:
    assert parse(text) == Decimal(value)


@pytest.mark.parametrize("text", ["two", "Gi", "1GB"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidOperation):
        parse(text)
