"""HTTP habits: who calls, response headers, cross-site refusal, and the conventions of the REST interface.

A REST view is a blueprint's route, a scope, `idempotent()` where it writes, and `operation(...)`, which reads what comes,
checks what goes, and is what the OpenAPI document is made from:

    @bp.post("/gifts/claims/<int:claim_id>/ship")
    @api_scope("gifts:write")
    @idempotent()
    @operation(_l("Ship a claimed gift"), tag="Gifts", takes=ShipIn, answers=ClaimOut, refusals=[NotToBeShipped, NotFound])
    def ship(claim_id: int, body: ShipIn) -> ClaimOut: ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache, wraps
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlsplit

from apiflask import APIBlueprint
from flask import Flask, Response, request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from sqlalchemy import Select
from werkzeug.exceptions import RequestEntityTooLarge

from . import mistakes
from .errors import Forbidden, InputInvalid, NotFound, Refusal, problem
from .i18n import gettext as _
from .i18n import lazy_gettext as _l
from .idempotency import IdempotencyRecord, idempotent
from .pages import keyset, readable_cursor

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
API = "/api/v1"
# Five hundred orders of many lines fit; a file belongs on the console's import page.
LARGEST_API_BODY = 8 * 1024 * 1024
LARGEST_ID = 2**63 - 1
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def client_address() -> str:
    """The peer's address. Forwarded headers count only as far as `PROXY_COUNT` proxies are configured."""
    return request.remote_addr or ""


# ── What REST bodies are made of ────────────────────────────────────────────────────────────────────────────────────


class Strict(BaseModel):
    """A body that comes in or goes out: types are not bent, unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


def _spelt(pattern: str, sentence: Any) -> BeforeValidator:
    """Refuse what the reader of instants and dates would also take (bare numbers, blanks) but the schema's format does not."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: Any) -> Any:
        if not (isinstance(value, date) or (isinstance(value, str) and compiled.fullmatch(value))):
            raise ValueError(str(sentence))
        return value

    return BeforeValidator(check)


def _near(value: datetime, info: ValidationInfo) -> datetime:
    """Refuse an instant of a caller that has no date in every zone, or is none that people mean: it could not be read again."""
    if info.mode == "json" and not 1900 <= value.year < 2200:
        raise ValueError(str(mistakes.FAR))
    return value


# ISO 8601 as RFC 3339 has it: "2026-11-01T10:00:00+08:00" or "…Z".
Instant = Annotated[
    AwareDatetime,
    Field(strict=False),
    _spelt(
        r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
        mistakes.INSTANT,
    ),
    AfterValidator(_near),
]
Day = Annotated[date, Field(strict=False), _spelt(r"\d{4}-\d\d-\d\d", mistakes.DAY)]
RowId = Annotated[int, Field(ge=1, le=LARGEST_ID)]
# One line of text without control characters; narrow it with Field(max_length=…).
Words = Annotated[
    str,
    StringConstraints(
        max_length=200,
        pattern=mistakes.explained(
            r"^[^\x00-\x1f\x7f]*$", _l("This has to be one line of text, without control characters.")
        ),
    ),
]
# The same, and not empty or blank.
NAME = mistakes.explained(
    r"^[^\x00-\x1f\x7f\x85]*[^\s\x00-\x1f\x7f\x85][^\x00-\x1f\x7f\x85]*$",
    _l("This has to be one line of text, without control characters, and not blank."),
)
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=NAME)]
# Several lines.
Text = Annotated[
    str,
    StringConstraints(
        max_length=5_000,
        pattern=mistakes.explained(
            r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$", _l("This may not hold control characters.")
        ),
    ),
]
# 分, not negative; a hundred million yuan at most.
Amount = Annotated[int, Field(ge=0, le=10_000_000_000)]


class PageQuery(Strict):
    """What every list takes in its query; a room's filters are fields of a subclass."""

    cursor: Annotated[
        str | None, Field(description="`next_cursor` of the page before; leave it out for the first page.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=100, description="How many items a page has at most.")] = 50


class Listed(BaseModel, Generic[T]):
    """One page of a list. `next_cursor` is null on the last one."""

    model_config = ConfigDict(strict=True, extra="forbid")
    items: list[T]
    next_cursor: str | None

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"{getattr(params[0], '__name__', 'Item')}List"


def cursor_page(
    statement: Select[*tuple[Any, ...]], order: Sequence[Any], query: PageQuery, shape: Callable[[Any], T]
) -> Listed[T]:
    """One page of a list, each row put into its shape; `order` as for `kernel.pages.keyset`.

    Refuses with `InputInvalid` a cursor that was not given by this list: starting over silently would never end.
    """
    if query.cursor is not None and not readable_cursor(query.cursor, order):
        raise InputInvalid([("cursor", _("This cursor was not given by this list. Leave it out to start anew."))])
    page = keyset(statement, order, query.cursor, query.limit)
    return Listed[T](items=[shape(row) for row in page.rows], next_cursor=page.next_cursor)


# ── Operations ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Operation:
    """What a REST view takes and answers; `kernel.openapi` writes the document from it."""

    summary: Any
    tag: str
    takes: Any = None
    query: type[BaseModel] | None = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    refusals: tuple[type[Refusal], ...] = ()
    description: Any = ""
    example: Any = None
    links: Mapping[str, tuple[str, dict[str, str]]] = field(default_factory=dict)


_NO_PARAMETER = _l("This address takes no such parameter.")


class MediaTypeUnsupported(Refusal):
    status = 415
    label = _l("Send the body as application/json.")


def operation(
    summary: Any,
    *,
    tag: str,
    takes: Any = None,
    query: type[BaseModel] | None = None,
    answers: Any = None,
    refusals: Sequence[type[Refusal]] = (),
    description: Any = "",
    example: Any = None,
    links: Mapping[str, tuple[str, dict[str, str]]] | None = None,
) -> Callable[[F], F]:
    """Declare what a REST view takes and answers, and hold it to that.

    `takes` is the pydantic model (or union of models) of the JSON body, handed to the view as `body`; `query` the model of
    the query string, handed over as `query`. `answers` is the model of a 200, or a mapping of status to model, with None
    for an answer without a body. The view returns a model (or what makes one), alone or with its status. `refusals` are the
    `Refusal` classes it may raise; 401, 403, 404 (with a place in the path), 413, 415, 422 and 429 are documented by
    themselves. `example` is a body as it may be sent. `links` name what an answer leads to:
    `{"member": ("members.show", {"member_id": "$response.body#/id"})}`.
    """
    shapes = dict(answers) if isinstance(answers, Mapping) else {200: answers}
    declared = Operation(summary, tag, takes, query, shapes, tuple(refusals), description, example, dict(links or {}))
    body_reader = TypeAdapter(takes) if takes is not None else None
    writers = {status: TypeAdapter(shape) for status, shape in shapes.items() if shape is not None}
    usual = min(shapes)

    def decorate(view: F) -> F:
        @wraps(view)
        def wrapper(**values: Any) -> Any:
            if any(isinstance(value, int) and value > LARGEST_ID for value in values.values()):
                raise NotFound
            if query is not None:
                values["query"] = _read_query(query)
            elif request.args:
                raise InputInvalid([(name, str(_NO_PARAMETER)) for name in request.args])
            if body_reader is not None:
                values["body"] = _read_body(body_reader)
            answer = view(**values)
            if isinstance(answer, Response):
                return answer
            result, status = answer if isinstance(answer, tuple) else (answer, usual)
            writer = writers.get(status)
            if writer is None:
                return Response(status=status)
            # Only what the model declares goes out, whatever the view made.
            shaped = writer.validate_python(result)
            return Response(writer.dump_json(shaped), status=status, mimetype="application/json")

        wrapper._operation = declared  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def operation_of(view: Any) -> Operation | None:
    return getattr(view, "_operation", None)


def _read_body(reader: TypeAdapter[Any]) -> Any:
    if request.mimetype != "application/json":
        raise MediaTypeUnsupported
    body = request.get_data()
    if request.content_length is None and len(body) >= LARGEST_API_BODY:
        # A body whose length was not told beforehand is read so far and no further.
        raise RequestEntityTooLarge
    try:
        return reader.validate_json(body)
    except ValidationError as error:
        raise InputInvalid(mistakes.mistakes_of(error)) from None
    except ValueError:
        raise InputInvalid([("body", _("This is no JSON in UTF-8."))]) from None


@cache
def _kinds(model: type[BaseModel]) -> dict[str, frozenset[str]]:
    """The JSON types and formats that each parameter of a query may have."""
    found = {}
    schema = model.model_json_schema()
    for name, one in schema["properties"].items():
        parts = [one, *one.get("anyOf", ())]
        parts += [schema["$defs"][part["$ref"].rsplit("/", 1)[1]] for part in list(parts) if "$ref" in part]
        found[name] = frozenset(part[of] for part in parts for of in ("type", "format") if of in part)
    return found


def _plain(text: str, kinds: frozenset[str]) -> Any:
    if "integer" in kinds and re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", text):
        return int(text)
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    if "date-time" in kinds and re.fullmatch(r"[^ ]+ \d\d:\d\d", text):
        # The + of an offset, which an address may hold as it is, and which is read as the blank of a form.
        return text.replace(" ", "+")
    return text


def _read_query(model: type[BaseModel]) -> BaseModel:
    """The query string as its model has it; refuses unknown parameters, repeated ones and wrong types."""
    kinds = _kinds(model)
    said: dict[str, Any] = {}
    for name, values in request.args.lists():
        if name in kinds and "array" in kinds[name]:
            said[name] = values
        elif len(values) > 1:
            raise InputInvalid([(name, _("Give this parameter once."))])
        else:
            said[name] = _plain(values[0], kinds.get(name, frozenset()))
    try:
        return model.model_validate_json(json.dumps(said))
    except ValidationError as error:
        raise InputInvalid(mistakes.mistakes_of(error, _NO_PARAMETER)) from None


def api_blueprint(name: str, import_name: str) -> APIBlueprint:
    """A blueprint under /api/v1; bodies are pydantic models in strict mode, mistakes become problem+json."""
    return APIBlueprint(name, import_name, url_prefix=API)


def _cross_site() -> bool:
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return True
    origin = request.headers.get("Origin")
    if not origin or origin == "null":
        # A page under `Referrer-Policy: no-referrer` posts with the origin `null`; the form's token decides there.
        return False
    return urlsplit(origin).netloc != request.host


def init_app(app: Flask) -> None:
    @app.before_request
    def limit_body() -> None:
        if request.path.startswith("/api/"):
            request.max_content_length = LARGEST_API_BODY

    @app.before_request
    def drop_nul() -> None:
        # No text that is stored holds one, so no search can mean it; to the database it would be a fault. A program is told.
        if b"%00" in request.query_string and not request.path.startswith("/api/"):
            said = [(k.replace("\x00", ""), v.replace("\x00", "")) for k, v in request.args.items(multi=True)]
            request.args = type(request.args)(said)

    @app.before_request
    def refuse_cross_site() -> None:
        if request.method not in ("GET", "HEAD", "OPTIONS") and not request.path.startswith("/api/") and _cross_site():
            raise Forbidden

    @app.after_request
    def harden(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "no-referrer")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if request.endpoint not in ("static", "picture"):
            headers.setdefault("Cache-Control", "no-store")
        if app.extensions["settings"].secure:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return response

    error_processor = getattr(app, "error_processor", None)
    if error_processor is not None:

        @error_processor
        def validation_problem(error: Any) -> Any:
            """APIFlask's own errors (a body that does not fit its model) as problem+json."""
            errors = []
            for place, fields in (error.detail or {}).items():
                if isinstance(fields, dict):
                    errors += [{"param": f"{place}.{k}", "detail": _flat(v)} for k, v in fields.items()]
                else:
                    errors.append({"param": str(place), "detail": _flat(fields)})
            code = "input_invalid" if error.status_code == 422 else "bad_request"
            return problem(
                error.status_code, code, _("The request does not have the form that this address takes."), errors=errors
            )


def _flat(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


__all__ = [
    "Amount",
    "Day",
    "IdempotencyRecord",
    "Instant",
    "Listed",
    "Name",
    "PageQuery",
    "RowId",
    "Strict",
    "Text",
    "Words",
    "api_blueprint",
    "client_address",
    "cursor_page",
    "idempotent",
    "operation",
    "operation_of",
]
