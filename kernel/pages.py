"""Lists: keyset paging, capped counts, CSV."""

from __future__ import annotations

import base64
import csv
import enum
import io
import json
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, wraps
from itertools import islice
from typing import Any, LiteralString, ParamSpec, TypeVar, overload
from urllib.parse import urlencode

import psycopg
from flask import Response, g, has_request_context, request, stream_with_context, url_for
from flask.globals import request_ctx
from psycopg.errors import QueryCanceled
from psycopg.sql import SQL
from sqlalchemy import ColumnElement, Select, and_, bindparam, func, literal, or_, select, tuple_
from sqlalchemy import text as text_clause
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import desc_op

from . import clock
from .db import db
from .errors import Refusal
from .forms import one_line
from .i18n import gettext as _
from .i18n import lazy_gettext as _l
from .i18n import number

P = ParamSpec("P")
R = TypeVar("R")


def once_a_request(read: Callable[P, R]) -> Callable[P, R]:
    """Let a read that several pieces of a page need run once a request for each of its arguments; outside of one, each time.

    For what pages show alone: what the same request has changed since is not seen.
    """

    @wraps(read)
    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        if not has_request_context():
            return read(*args, **kwargs)
        kept = g.setdefault("kept_reads", {})
        key = (once, args, tuple(sorted(kwargs.items())))
        if key not in kept:
            kept[key] = read(*args, **kwargs)
        found: R = kept[key]
        return found

    return once


def bar(piece: str, running: bool) -> Response:
    """A progress bar that asks for itself again; once the work has ended, the page around it says more and is loaded anew."""
    answer = Response(piece)
    if not running:
        answer.headers["HX-Refresh"] = "true"
    return answer


@dataclass(frozen=True)
class Page:
    """One page of a list. `rows` are entities when the statement selects one, else row tuples."""

    rows: list[Any]
    next_cursor: str | None
    previous_cursor: str | None

    def url(self, cursor: str | None) -> str | None:
        """The present address with another cursor; filters and order stay in it."""
        if cursor is None:
            return None
        arguments = request.args.copy()
        arguments["cursor"] = cursor
        return f"{request.path}?{_query(arguments)}"

    @property
    def next_url(self) -> str | None:
        return self.url(self.next_cursor)

    @property
    def previous_url(self) -> str | None:
        return self.url(self.previous_cursor)


def _query(arguments: Any) -> str:
    return urlencode([(k, v) for k, values in arguments.lists() for v in values])


def url_with(**changes: Any) -> str:
    """The present address with some arguments set, or dropped where None; the cursor always goes (a template function)."""
    arguments = request.args.copy()
    arguments.pop("cursor", None)
    for key, value in changes.items():
        arguments.pop(key, None)
        if value is not None:
            arguments[key] = str(value)
    query = _query(arguments)
    return f"{request.path}?{query}" if query else request.path


def searched(name: str = "q", most: int = 100) -> str:
    """The words that a reader looks for, from the query string: one line of `most` characters at the most, "" for none."""
    return one_line(request.args.get(name))[:most]


def search_chip(words: str) -> list[tuple[str, str, str]]:
    """The chip that says what a list is searched by, and takes it away: for the `chips` of a list's page; none without words."""
    return [("q", words, _("Search: %(words)s", words=words))] if words else []


def order_by(said: str, columns: Mapping[str, Any], last: Sequence[Any], otherwise: Sequence[Any]) -> list[Any]:
    """The columns of a sort, as the `sort_link` of a list says it: `name`, or `-name` for the other way round.

    `columns` are those that can be sorted by; `last` follow the one that is meant and make it unique; `otherwise` is the order
    for a word that names none of them.
    """
    column = columns.get(said.removeprefix("-"))
    if column is None:
        return list(otherwise)
    order = [column, *last]
    return [one.desc() for one in order] if said.startswith("-") else order


def url_alike(endpoint: str, **values: Any) -> str:
    """The address of another view with the search, filters and order of the present one, such as a list's CSV (a template
    function). `values` belong to the view's own address and come before what the present one says.

    What a reader has written into an address never becomes an argument of `url_for`, which has names of its own.
    """
    arguments = request.args.copy()
    for key in ("cursor", *values):
        arguments.pop(key, None)
    address, query = url_for(endpoint, **values), _query(arguments)
    return f"{address}?{query}" if query else address


def page_address() -> str:
    """The address under which the page that is drawn can be opened again (a template function).

    What answers a tap, such as a form that was refused, often stands at an address that only takes taps: there it is the nearest
    address above it that shows a page, since what acts on a page has its address below that page's.
    """
    if request.method == "GET":
        return request.full_path.rstrip("?")
    routes = request_ctx.url_adapter
    path = request.path.rstrip("/")
    while path and routes is not None and not routes.test(path, method="GET"):
        path = path.rpartition("/")[0]
    return path or ("/console/" if request.path.startswith("/console/") else "/me/")


def _pack(direction: str, values: Sequence[Any]) -> str:
    plain = [v.isoformat() if isinstance(v, datetime | date) else v for v in values]
    text = json.dumps([direction, *plain], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _fits(wanted: type, value: Any) -> bool:
    """Whether a column of a type can be compared with what a cursor says."""
    if wanted is bool:
        return isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if wanted is str:
        # A NUL and half a character cannot be stored, and so are in no row.
        return isinstance(value, str) and "\x00" not in value and _whole(value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _unpack(cursor: str | None, columns: list[ColumnElement[Any]]) -> tuple[str, list[Any]] | None:
    """What a cursor says, or None for a missing or broken one: a stale bookmark shows the first page."""
    if not cursor:
        return None
    try:
        direction, *plain = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if direction not in ("n", "p") or len(plain) != len(columns):
            return None
        values = []
        for column, value in zip(columns, plain, strict=True):
            wanted = column.type.python_type
            if wanted is datetime:
                value = datetime.fromisoformat(value)
                if value.tzinfo is None:
                    return None
                value = value.astimezone(UTC)
            elif wanted is date:
                value = date.fromisoformat(value)
            elif issubclass(wanted, enum.Enum):
                value = wanted(value)
            elif not _fits(wanted, value):
                return None
            values.append(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return direction, values


def cursor_at(values: Sequence[Any]) -> str:
    """The cursor that leads to what comes after the row with these values of the order's columns."""
    return _pack("n", values)


def row_number(text: str) -> int:
    """The number of a row, from an address (`request.args.get("audience_id", type=row_number)`).

    Raises `ValueError` for whatever is none, and for what no row can have.
    """
    if not _numbers_a_row(text):
        raise ValueError("no number of a row")
    return int(text)


def _numbers_a_row(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def row_or_none(text: str | None) -> int | None:
    """The number of a row as it was sent, or None for none and for whatever is none."""
    return int(text) if text is not None and _numbers_a_row(text) else None


def chosen(kind: type[Any], name: str) -> Any:
    """A value of an enum from the query string, or None for none and for nonsense."""
    text = request.args.get(name, "")
    return kind(text) if text in {member.value for member in kind} else None


def period(days: int = 30) -> tuple[date, date]:
    """The days from and to (both included) that were asked for; the latest so many when nothing sensible was, which
    `period_mistakes` tells."""
    last = _day("to", clock.today())
    first = _day("from", last - timedelta(days=days - 1))
    return (first, last) if first <= last else (last, first)


def period_mistakes() -> dict[str, str]:
    """What is wrong with the days that were asked for, by their names in the address: a day that is none, or two the wrong way
    round (a template function, for the fields of `period`)."""
    wrong = {
        name: _("“%(text)s” is no day from 2000 to 2099.", text=text[:20])
        for name in ("from", "to")
        if (text := request.args.get(name, "").strip()) and _day(name, None) is None
    }
    if not wrong and (first := _day("from", None)) is not None and first > (_day("to", None) or clock.today()):
        wrong["from"] = _("The first day lies after the last one.")
    return wrong


def instants(first: date, last: date) -> tuple[datetime, datetime]:
    """When the first of these days of the shop begins, and when the last one is over."""
    return clock.at(first), clock.at(last + timedelta(days=1))


@overload
def _day(name: str, otherwise: date) -> date: ...
@overload
def _day(name: str, otherwise: None) -> date | None: ...
def _day(name: str, otherwise: date | None) -> date | None:
    try:
        found = date.fromisoformat(request.args.get(name, "").strip())
    except ValueError:
        return otherwise
    return found if 2000 <= found.year < 2100 else otherwise


def ticked(most: int = 1_000) -> list[int]:
    """The numbers of the rows that are ticked in a list's form, `most` at the most; what numbers no row is left out."""
    return [int(text) for text in request.form.getlist("ids")[:most] if _numbers_a_row(text)]


def order_columns(order: Sequence[Any]) -> tuple[list[ColumnElement[Any]], list[bool]]:
    """The columns of an order, and which of them descend."""
    columns: list[ColumnElement[Any]] = []
    descending: list[bool] = []
    for item in order:
        backwards = isinstance(item, UnaryExpression) and item.modifier is desc_op
        columns.append(item.element if backwards else item)
        descending.append(backwards)
    return columns, descending


def readable_cursor(cursor: str, order: Sequence[Any]) -> bool:
    """Whether a cursor leads forward in a list of this order (`keyset` itself shows the first page for any other)."""
    said = _unpack(cursor, order_columns(order)[0])
    return said is not None and said[0] == "n"


def keyset(
    statement: Select[*tuple[Any, ...]],
    order: Sequence[Any],
    cursor: str | None = None,
    size: int = 50,
    values: Mapping[str, Any] | None = None,
) -> Page:
    """One page of `size` rows by keyset.

    `order` lists columns, each plain (ascending) or `.desc()`, none of them nullable (coalesce first), the last unique.
    `cursor` is what a former page gave as next or previous; whatever cannot be read shows the first page. `values` are those
    of the statement's own parameters, when it is made once and asked often: then so is what is asked for a page of it.
    """
    said = _unpack(cursor, order_columns(order)[0])
    back = said is not None and said[0] == "p"
    paged: Callable[..., tuple[Select[*tuple[Any, ...]], int, type[Any]]] = _paged if values is None else _paged_once
    marked, width, shape = paged(statement, tuple(order), size, None if said is None else back)
    there = {_PLACE.format(i): value for i, value in enumerate(said[1])} if said is not None else {}
    rows = db.session.execute(marked, {**(values or {}), **there}).all()
    more = len(rows) > size
    rows = list(rows[:size])
    if back:
        rows.reverse()
    keys = [list(row[width:]) for row in rows]
    shown = [row[0] if width == 1 else shape(*row[:width]) for row in rows]
    has_next = more if not back else True
    has_previous = (said is not None) if not back else more
    return Page(
        rows=shown,
        next_cursor=_pack("n", keys[-1]) if rows and has_next else None,
        previous_cursor=_pack("p", keys[0]) if rows and has_previous else None,
    )


_PLACE = "keyset_at_{}"


def _paged(
    statement: Select[*tuple[Any, ...]], order: tuple[Any, ...], size: int, back: bool | None
) -> tuple[Select[*tuple[Any, ...]], int, type[Any]]:
    """What is asked for a page, how many columns of it are the statement's own, and what makes a row of them.

    `back` is None for the first page; else the page lies before or behind the place that the parameters `keyset_at_0` and so on
    name.
    """
    columns, descending = order_columns(order)
    described = statement.column_descriptions
    marked = statement
    if back is not None:
        there = [bindparam(_PLACE.format(i), type_=column.type) for i, column in enumerate(columns)]
        if all(descending) or not any(descending):
            # A row comparison lets the index start at the place; the branches below cannot.
            left, right = tuple_(*columns), tuple_(*there)
            marked = marked.where(left < right if descending[0] != back else left > right)
        else:
            branches = []
            for i, column in enumerate(columns):
                beyond = column < there[i] if descending[i] != back else column > there[i]
                branches.append(and_(*[c == v for c, v in zip(columns[:i], there, strict=False)], beyond))
            marked = marked.where(or_(*branches))
    marked = marked.add_columns(*[c.label(f"keyset_{i}") for i, c in enumerate(columns)])
    marked = marked.order_by(None).order_by(
        *[c.desc() if d != bool(back) else c.asc() for c, d in zip(columns, descending, strict=True)]
    )
    return marked.limit(size + 1), len(described), _shape(tuple(d["name"] or "_" for d in described))


_paged_once = lru_cache(maxsize=100)(_paged)


@lru_cache(maxsize=1000)
def _shape(names: tuple[str, ...]) -> type[Any]:
    """What makes a row of a list: what the statement selected, by place and name. The columns that only order the list are not
    the reader's."""
    return namedtuple("Row", names, rename=True)  # type: ignore[misc]


class TooSlow(Refusal):
    """A combination of filters that no index answers within the time a reader waits."""

    status = 503
    label = _l("This combination of filters takes too long. Narrow it: one filter more, or another order, helps.")
    title = _l("Narrow it")
    icon = "filter"


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let no statement of the block run longer; what does is broken off and refused with `TooSlow`.

    The transaction goes on as it was before the block. Until its end plans are made for a list: for the values at hand, since
    filters are too uneven for one plan that fits all, and without merge joins, which would read the other side from its
    beginning up to the page.
    """
    session = db.session()
    session.flush()
    # Straight to the driver, two round trips in all: a page is not much more than these.
    driver: psycopg.Connection[Any] = session.connection().connection.dbapi_connection  # type: ignore[assignment]
    begun = driver.execute(SQL(_FOR_LISTS).format(limit=f"{round(seconds * 1000)}ms"), prepare=False)
    begun.nextset()
    (before, *_set) = begun.fetchone() or ("0",)
    try:
        yield
    except BaseException as error:
        if not driver.closed:
            driver.execute(_BACK, prepare=False)
        if isinstance(error, OperationalError) and isinstance(error.orig, QueryCanceled):
            raise TooSlow from None
        raise
    driver.execute(SQL(_LIMIT_AGAIN).format(limit=before), prepare=False)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """As `time_limit`, for a block whose statements each go through many rows at once. Refuses with `TooSlow`."""
    with time_limit(seconds):
        db.session.execute(_FOR_SUMS)
        yield


_FOR_LISTS: LiteralString = (
    "SAVEPOINT time_limit; SELECT current_setting('statement_timeout'), set_config('statement_timeout', {limit}, true),"
    " set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_mergejoin', 'off', true),"
    " set_config('max_parallel_workers_per_gather', '0', true)"
)
_BACK: LiteralString = "ROLLBACK TO SAVEPOINT time_limit; RELEASE SAVEPOINT time_limit"
_LIMIT_AGAIN: LiteralString = "SELECT set_config('statement_timeout', {limit}, true); RELEASE SAVEPOINT time_limit"
_SIDE_BY_SIDE = text_clause("SELECT set_config('enable_mergejoin', 'on', true)")
# Rows are hashed in memory where that is possible, and no time goes into compiling plans; until the transaction's end.
_FOR_SUMS = text_clause("SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true)")


@dataclass(frozen=True)
class Count:
    """A count that stops at a cap."""

    n: int
    capped: bool

    def __str__(self) -> str:
        return number(self.n) + ("+" if self.capped else "")

    def __bool__(self) -> bool:
        return self.n > 0


def capped_count(statement: Select[*tuple[Any, ...]], cap: int = 10_000, side_by_side: bool = False) -> Count:
    """How many rows a statement has, counted no further than the cap.

    With `side_by_side` two tables may be read beside each other from their beginnings, as a page within `time_limit` may not.
    """
    if side_by_side:
        db.session.execute(_SIDE_BY_SIDE)
    inner = (
        statement.order_by(None).with_only_columns(literal(1).label("one"), maintain_column_froms=True).limit(cap + 1)
    )
    n = db.session.scalar(select(func.count()).select_from(inner.subquery())) or 0
    return Count(min(n, cap), n > cap)


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def guarded_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: an apostrophe goes before whatever could begin one.

    Plain numbers stay numbers, negative ones too. `plain_cell` gives the value back.
    """
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    text = str(value).replace("\x00", "")
    if _NUMBER.fullmatch(text):
        return text
    return "'" + text if text.lstrip(" ").startswith((*_FORMULA, "'")) else text


def plain_cell(text: str) -> str:
    """What `guarded_cell` was given, from what a file says."""
    rest = text.removeprefix("'")
    return rest if rest != text and rest.lstrip(" ").startswith((*_FORMULA, "'")) else text


def csv_text(rows: Iterable[Sequence[Any]], opening: bool = False) -> str:
    """Rows as CSV, every cell guarded. `opening` begins a file: a byte-order mark, so that spreadsheets read Chinese."""
    buffer = io.StringIO()
    if opening:
        buffer.write("\ufeff")
    csv.writer(buffer).writerows([guarded_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def attachment(body: Any, mimetype: str, filename: str) -> Response:
    """A file that the browser keeps under a name."""
    response = Response(body, mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def csv_response(filename: str, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Response:
    """A CSV download (UTF-8 with BOM), streamed in portions of some hundred rows."""

    def lines() -> Iterator[str]:
        yield csv_text([[str(name) for name in header]], opening=True)
        waiting = iter(rows)
        while portion := list(islice(waiting, 200)):
            yield csv_text(portion)

    response = attachment(stream_with_context(lines()), "text/csv; charset=utf-8", filename)
    response.headers["Cache-Control"] = "no-store"
    return response
