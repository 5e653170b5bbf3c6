"""The database: one base class, one session, one place that commits.

A request, a job and a command are each one transaction that ends here. Services flush; they never commit.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from flask import Flask, Response
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FsaSession
from sqlalchemy import BigInteger, Date, DateTime, Enum, Identity, Interval, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column, registry
from sqlalchemy.types import TypeDecorator

log = logging.getLogger(__name__)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """timestamptz that takes and gives aware UTC only; a naive datetime is a mistake and is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[Any]:
        # A decorated type calls itself an object; cursors of lists ask what they are to read.
        return datetime

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        # A span added to an instant is an interval, not another instant.
        return Interval() if isinstance(value, timedelta) else self

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime was given where an instant is needed")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None


class Base(DeclarativeBase):
    # An explicit registry, not a class-level type_annotation_map: Flask-SQLAlchemy 3.1 builds this class anew
    # and SQLAlchemy refuses a second map.
    registry = registry(
        metadata=MetaData(naming_convention=NAMES),
        type_annotation_map={
            int: BigInteger(),
            str: Text(),
            date: Date(),
            datetime: UtcDateTime(),
            dict[str, Any]: JSONB(),
            list[Any]: JSONB(),
            list[str]: JSONB(),
            list[int]: JSONB(),
            enum.StrEnum: Enum(
                enum.StrEnum,
                native_enum=False,
                length=32,
                values_callable=lambda members: [m.value for m in members],
            ),
        },
    )


pk = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]


class Session(FsaSession):
    """Flask-SQLAlchemy's session, except that an explicit bind wins (tests join a transaction)."""

    def get_bind(self, mapper: Any = None, clause: Any = None, bind: Any = None, **kwargs: Any) -> Any:
        return bind or self.bind or super().get_bind(mapper=mapper, clause=clause, **kwargs)


db = SQLAlchemy(
    model_class=Base,
    disable_autonaming=True,
    # Rows stay readable after the edge has committed: the page is rendered before, a job's log after.
    session_options={"class_": Session, "expire_on_commit": False},
)


def escaped(words: str) -> str:
    """Words as a part of a LIKE pattern, in which `%`, `_` and the backslash mean themselves."""
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def changed(result: Any) -> int:
    """How many rows an UPDATE, INSERT or DELETE touched. Callers compare it: an ignored count is a lost race.

    An INSERT has a count only because the engine is told to keep it (`preserve_rowcount` in `kernel/app.py`).
    """
    count = int(result.rowcount)
    if count < 0:
        raise RuntimeError("the number of rows that a statement touched was not kept")
    return count


def on_commit(call: Callable[[], object]) -> None:
    """Run `call` once the present transaction has been committed, and never if it is rolled back."""
    db.session().info.setdefault("on_commit", []).append(call)


def on_rollback(call: Callable[[], object]) -> None:
    """Run `call` once the present transaction has been rolled back, and never if it is committed."""
    db.session().info.setdefault("on_rollback", []).append(call)


def commit() -> None:
    """Commit the session, then run what waited for it. Only the kernel calls this."""
    session = db.session()
    # A commit that fails may have been made all the same, so that nothing is taken away after it.
    session.info.pop("on_rollback", None)
    session.info.pop("only_read", None)
    # Committing nothing would begin a transaction first.
    if session.in_transaction():
        session.commit()
    calls = session.info.pop("on_commit", [])
    for call in calls:
        try:
            call()
        except Exception:
            # The books are already right; whatever was to be woken is found again by the ticker.
            log.exception("a call after the commit failed")


def keep_refused() -> None:
    """Commit what a view has written so far though its answer will be a refusal, which the edge rolls back: a counted try.

    For views that write nothing before it but what is to stay.
    """
    commit()


def rollback() -> None:
    """Roll the session back, forget what waited for its commit, and run what waited for this."""
    session = db.session()
    session.rollback()
    session.info.pop("on_commit", None)
    session.info.pop("only_read", None)
    for call in session.info.pop("on_rollback", []):
        try:
            call()
        except Exception:
            # What was to be taken away is found again by a sweep.
            log.exception("a call after the roll back failed")


def only_read() -> None:
    """Tell the edge that the present transaction has written nothing, so that it ends with a commit though the answer will be
    a refusal: after a rollback the driver has forgotten every statement that it had prepared, and each request of a crowd
    that is refused would have its own planned anew.
    """
    db.session().info["only_read"] = True


@contextmanager
def transaction() -> Iterator[None]:
    """One unit of work for a job or a command: commit at the end, or nothing happened."""
    try:
        yield
    except BaseException:
        rollback()
        raise
    commit()


def init_app(app: Flask) -> None:
    """Bind the session to the app and end each request's transaction at its edge."""
    db.init_app(app)

    @app.after_request
    def end_transaction(response: Response) -> Response:
        # Flask runs these in reverse order of registration; being first, this one runs last.
        refused = response.status_code < 500 and db.session().info.get("only_read", False)
        if response.status_code < 400 or refused:
            commit()
        else:
            rollback()
        return response
