"""Transactions on a ledger: one to read, one to write, and database trouble as the project's own errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import Session, sessionmaker

from bulkhead.errors import BulkheadError, RefusedError, UnavailableError
from bulkhead.ledger.engine import READ_ONLY

Given = ParamSpec("Given")
Result = TypeVar("Result")


def utc_now() -> datetime:
    """The time of this machine, in UTC."""
    return datetime.now(UTC)


def once_a_key(write: Callable[Given, Result]) -> Callable[Given, Result]:
    """Of a method that records a request under its key before it has locked a row: where the same request comes twice
    at once, the later one finds what the other has recorded.

    Args:
        write: in one transaction; it looks for the key first.
    """

    @wraps(write)
    def looking_again(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return write(*args, **kwargs)
        except IntegrityError:  # the database's own constraint on keys: the other has committed in between
            return write(*args, **kwargs)

    return looking_again


class Transactions:
    """What every part of the ledger shares. The parts are siblings: none inherits from, or calls, another.

    Args:
        engine: of an opened and migrated database.
        clock: gives the time in UTC.

    Attributes:
        engine: as given.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self.engine, self._clock = engine, clock
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._readers = sessionmaker(engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False)

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with _translated(), self._sessions.begin() as session:
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with _translated(), self._readers() as session:
            yield session


@contextmanager
def _translated() -> Iterator[None]:
    """Database trouble as the project's errors; a constraint's refusal is left to the caller."""
    try:
        yield
    except IntegrityError:
        raise
    except OperationalError as error:
        raise UnavailableError(f"the ledger does not answer: {error.orig}; it is tried again") from error
    except DataError as error:  # trying again does not mend it
        raise RefusedError(f"the ledger's database cannot hold what was to be written: {error.orig}") from error
    except DatabaseError as error:
        raise UnavailableError(f"the ledger failed: {error.orig}; run 'bulkhead status' to check it") from error
    except StatementError as error:
        if isinstance(error.orig, BulkheadError):  # a column's type refused the value
            raise error.orig from None
        raise
