"""Column types of the ledger: the door that every text from outside passes on its way into the database.

They act on values that are compared as well as on values that are written, so a key that had to be shortened is found
again by the key that was asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, String, Text, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from bulkhead.errors import InvalidInputError
from bulkhead.text import bounded, document, identifier, unkept

KEY_BYTES = 1024
"""Longest key or owner. Airflow's ids have at most 250 characters each, and a task instance is named by three."""


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, stored and returned in UTC (SQLite itself would forget the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time; bring any other to UTC."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time in the ledger needs a zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give a time back with its zone."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


def _string(width: int | None, dialect: Dialect) -> TypeEngine[str]:
    """A column of a width; SQLite keeps none, and its columns hold what is written to them."""
    return dialect.type_descriptor(String(None if dialect.name == "sqlite" else width))


class Identifier(TypeDecorator[str]):
    """A name or key; one that does not fit is shortened so that it stays one of its own.

    Args:
        most_bytes: width of the column; an index of PostgreSQL takes at most 2,704 bytes.
    """

    impl = String
    cache_ok = True

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        super().__init__(most_bytes)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Of the column's width."""
        return _string(self.most_bytes, dialect)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Make it fit."""
        return value if value is None else identifier(str(value), self.most_bytes)


class Words(TypeDecorator[str]):
    """A text for people: made storable, and bounded."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Make it storable."""
        return value if value is None else bounded(value)


class Document(TypeDecorator[Any]):
    """What was seen or said, as JSON: every text in it is made storable, and bounded."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Make it storable."""
        return document(value)


class Exact(TypeDecorator[str]):
    """A text that an author wrote and that something is found by: kept to the letter, or refused.

    Args:
        name: of the field, for the error.
    """

    impl: type[String] = Text
    cache_ok = True

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name = name
        super().__init__(*arguments)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Refuse what no database keeps.

        Raises:
            InvalidInputError: it has such a character.
        """
        _refuse_unkept(self.name, value)
        return value


class ExactName(Exact):
    """The same, of a column with a width.

    Args:
        name: of the field, for the error.
        width: in characters.
    """

    impl = String
    cache_ok = True

    def __init__(self, name: str, width: int) -> None:
        self.width = width
        super().__init__(name, width)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Of the column's width."""
        return _string(self.width, dialect)


class Instructions(TypeDecorator[Any]):
    """What an author wrote, as JSON: kept to the letter, or refused.

    Args:
        name: of the field, for the error.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Refuse what no database keeps.

        Raises:
            InvalidInputError: it has such a character, or such a number.
        """
        _refuse_unkept(self.name, value)
        return value


def _refuse_unkept(name: str, value: Any) -> None:
    bad = unkept(name, value)
    if bad is not None:
        raise InvalidInputError(*bad)
