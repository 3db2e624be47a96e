from datetime import timedelta
from math import nan
from typing import Any

import pytest

from bulkhead import arguments
from bulkhead.errors import InvalidInputError


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (arguments.text, ["a", " a "], ["", " ", "\x00", "a\ud800", None, 1, b"a"]),
        (arguments.service, ["a", "a-1", "a" * 40], ["", "A", "1a", "a-", "a_b", "../x", "a/b", "a" * 41, "a\n", None]),
        (arguments.duration, [timedelta(seconds=1)], [timedelta(0), timedelta(seconds=-1), 5, "1h", None]),
        (arguments.switch, [True, False], [0, 1, "yes", None]),
        (arguments.texts, [[], ["a"], ("a", "b")], ["a", [""], [1], {"a": "b"}, None, 5]),
        (arguments.named_texts, [{}, {"A": ""}], [{"A": 1}, {"": "a"}, {1: "a"}, [], "a", None]),
    ],
)
def test_what_is_taken_and_what_is_not(check: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check("field", value)
    for value in bad:
        with pytest.raises(InvalidInputError, match=r"^field"):
            check("field", value)


def test_whole_numbers_of_a_range() -> None:
    for value in (1, 3):
        arguments.whole("field", value, 1, 3)
    for wrong in (0, 4, 2.0, True, "2", None):
        with pytest.raises(InvalidInputError, match=r"field = .*: give a whole number from 1 to 3"):
            arguments.whole("field", wrong, 1, 3)
    with pytest.raises(InvalidInputError, match=r"field = -1: give a whole number of at least 0"):
        arguments.whole("field", -1, 0)


def test_numbers_of_a_range() -> None:
    for value in (0, 0.5, 1):
        arguments.number("field", value, lambda share: 0 <= share <= 1, "give a share")
    for wrong in (-0.1, 97, nan, False, "0.5", None):
        with pytest.raises(InvalidInputError, match=r"field = .*: give a share"):
            arguments.number("field", wrong, lambda share: 0 <= share <= 1, "give a share")


def test_a_list_that_is_too_short_and_a_word_that_is_none_of_the_choices() -> None:
    with pytest.raises(InvalidInputError, match=r"field = \[\]: give a list of at least 1 texts"):
        arguments.texts("field", [], 1)
    arguments.choice("field", "a", ("a", "b"))
    for wrong in ("c", None, 1):
        with pytest.raises(InvalidInputError, match=r"field = .*: give one of a, b"):
            arguments.choice("field", wrong, ("a", "b"))
