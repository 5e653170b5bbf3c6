"""Refusals: a rule said no. One class a reason; mapped once to a page, a fragment or problem+json."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from .db import rollback
from .i18n import gettext as _
from .i18n import lazy_gettext as _l

log = logging.getLogger(__name__)


class Refusal(Exception):
    """Something that a rule does not allow, said to the person who asked.

    `status` is the HTTP status, `label` the sentence (with `%(name)s` places filled from the keyword arguments),
    `next_step` an optional (path, label) pair that the page offers.
    """

    status = 409
    label: Any = _l("This cannot be done now.")
    title: Any = None
    icon = "alert-circle"
    # Seconds after which the same request may do, told as Retry-After.
    retry_after: int | None = None
    # What the answer's headers say beside that.
    headers: Mapping[str, str] = {}

    # Which parameter of a program's call it is about, where one can be named; see `about`.
    param: str | None = None

    def __init__(self, *, next_step: tuple[str, Any] | None = None, **values: Any) -> None:
        super().__init__()
        self.values = values
        self.next_step = next_step

    @property
    def code(self) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def message(self) -> str:
        text = str(self.label)
        return text % self.values if self.values else text

    @property
    def members(self) -> dict[str, Any]:
        """What a problem document says beside code and sentence, for programs."""
        return {"errors": [{"param": self.param, "detail": self.message}]} if self.param else {}

    def __str__(self) -> str:
        return self.message


@contextmanager
def about(param: str) -> Iterator[None]:
    """Let a refusal of the block name the parameter that it is about (`identities.0.id`), unless it does already."""
    try:
        yield
    except Refusal as refusal:
        refusal.param = refusal.param or param
        raise


class NotFound(Refusal):
    status = 404
    label = _l("There is nothing here. The address may be mistyped, or what it showed has been removed.")
    title = _l("Not found")
    icon = "map-off"


class Forbidden(Refusal):
    status = 403
    label = _l("Your role does not allow this. Ask the owner of the shop if you need it.")
    title = _l("Not allowed")
    icon = "lock"


class InputInvalid(Refusal):
    """The input of a program (API, command line) breaks a rule; `errors` lists them as (place, sentence)."""

    status = 422
    label = _l("The input has mistakes.")

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__()
        self.errors = errors

    @property
    def message(self) -> str:
        return " ".join(f"{place}: {sentence}" for place, sentence in self.errors) or str(self.label)

    @property
    def members(self) -> dict[str, Any]:
        return {"errors": [{"param": place, "detail": sentence} for place, sentence in self.errors]}


def problem(status: int, code: str, detail: str, **more: Any) -> Response:
    """An RFC 9457 problem document."""
    response = jsonify({"type": f"about:blank#{code}", "status": status, "code": code, "detail": detail, **more})
    response.status_code = status
    response.content_type = "application/problem+json"
    return response


def wants_problem() -> bool:
    return request.path.startswith(("/api/", "/hooks/"))


def _page(status: int, title: str, message: str, next_step: tuple[str, Any] | None, icon: str) -> tuple[str, int]:
    face = "console" if request.path.startswith("/console") else "portal"
    fragment = request.headers.get("HX-Request") == "true"
    template = "errors/_fragment.html" if fragment else f"errors/{face}.html"
    return render_template(
        template, status=status, title=title, message=message, next_step=next_step, icon=icon
    ), status


# What a client of a database that is away, full or starting is told to wait, in seconds.
AWAY_SECONDS = 5
# PostgreSQL's classes of "no connection", "out of resources" and "shut down by somebody", and its code for a full disk.
_AWAY, _DISK_FULL = ("08", "53", "57P"), "53100"

STATUS_TEXT = {
    400: (_l("This request could not be read"), _l("Something in the request was malformed. Nothing was changed.")),
    403: (
        _l("Not allowed"),
        _l("This page was open for too long, or came from elsewhere. Go back, reload and try again."),
    ),
    404: (NotFound.title, NotFound.label),
    405: (
        _l("This link is not for opening"),
        _l("The address exists, but not for this kind of request. Nothing was changed."),
    ),
    413: (_l("Too large"), _l("The file is larger than is taken here. Nothing was changed.")),
    429: (_l("Too many tries"), _l("Please wait a little and try again.")),
    500: (
        _l("Something went wrong on our side"),
        _l("Nothing was changed. Please try again; the fault has been noted."),
    ),
    503: (_l("Busy"), _l("The server is busy or restarting. Please try again in a moment.")),
    507: (
        _l("No room left"),
        _l("The server's disk is full. Nothing was changed; try again once somebody has made room."),
    ),
}


# A program sends bodies, not files.
TOO_LARGE = _l("The body is larger than is taken here.")


def is_away(error: DBAPIError) -> bool:
    """Whether a fault of the database is that it is away, takes no more connections or has no room, which passes by itself."""
    state = getattr(error.orig, "sqlstate", None)
    return bool(error.connection_invalidated or not state or str(state).startswith(_AWAY))


def init_app(app: Flask) -> None:
    def plain(status: int) -> tuple[str, int]:
        """A page that asks the database nothing, not even who is reading it: the usual way of rendering does."""
        title, message = STATUS_TEXT[status]
        template = app.jinja_env.get_template("errors/plain.html")
        return template.render(title=title, message=message, icon="alert-triangle"), status

    def passing(status: int) -> Response:
        """What passes by itself: said without a trace of the program, so that a long night does not fill the log."""
        rollback()
        if wants_problem():
            code = {503: "unavailable", 507: "no_room"}[status]
            answer = problem(status, code, str(STATUS_TEXT[status][1]))
        else:
            answer = app.make_response(plain(status))
        answer.headers["Retry-After"] = str(AWAY_SECONDS)
        return answer

    @app.errorhandler(OperationalError)
    def unavailable(error: OperationalError) -> Any:
        if not is_away(error):
            return fault(error)
        log.error("the database on %s %s: %s", request.method, request.path, error.orig)
        return passing(507 if getattr(error.orig, "sqlstate", None) == _DISK_FULL else 503)

    @app.errorhandler(PoolTimeout)
    def crowded(error: PoolTimeout) -> Any:
        log.error("no connection was free on %s %s: %s", request.method, request.path, error)
        return passing(503)

    @app.errorhandler(OSError)
    def without_room(error: OSError) -> Any:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return fault(error)
        log.error("no room on %s %s: %s", request.method, request.path, error)
        return passing(507)

    @app.errorhandler(Refusal)
    def refuse(refusal: Refusal) -> Any:
        if wants_problem():
            answer = problem(refusal.status, refusal.code, refusal.message, **refusal.members)
        else:
            answer = app.make_response(
                _page(refusal.status, str(refusal.title or ""), refusal.message, refusal.next_step, refusal.icon)
            )
        if refusal.retry_after is not None:
            answer.headers["Retry-After"] = str(refusal.retry_after)
        answer.headers.update(refusal.headers)
        return answer

    @app.errorhandler(CSRFError)
    def forged(_error: CSRFError) -> Any:
        title, message = STATUS_TEXT[403]
        return _page(403, str(title), str(message), None, "lock")

    @app.errorhandler(DataError)
    def unstorable(error: DataError) -> Any:
        """Text or numbers that PostgreSQL cannot hold, such as a NUL among letters: the input's fault, not ours."""
        log.warning("input on %s %s cannot be stored: %s", request.method, request.path, error.orig)
        rollback()
        title, message = STATUS_TEXT[400]
        if wants_problem():
            return problem(400, "bad_request", str(message))
        return _page(400, str(title), str(message), None, "alert-circle")

    @app.errorhandler(RecursionError)
    def too_deep(_error: RecursionError) -> Any:
        """JSON that is nested deeper than can be read: the sender's mistake, not a fault of ours."""
        title, message = STATUS_TEXT[400]
        if wants_problem():
            return problem(400, "bad_request", str(message))
        return _page(400, str(title), str(message), None, "alert-circle")

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Any:
        status = error.code or 500
        if status < 400:
            return error
        # What fails once the answer is written, such as the request's own commit, arrives here wrapped.
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, OperationalError) and is_away(cause):
            return unavailable(cause)
        title, message = STATUS_TEXT.get(status, (error.name, STATUS_TEXT[400][1]))
        if wants_problem():
            message = TOO_LARGE if status == 413 else message
            response = problem(status, (error.name or "error").lower().replace(" ", "_"), str(message))
        else:
            response = app.make_response(_page(status, str(title), str(message), None, "alert-circle"))
        said = error.get_response().headers
        for name in ("Retry-After", "Allow"):
            if name in said:
                response.headers[name] = said[name]
        return response

    @app.errorhandler(Exception)
    def fault(error: Exception) -> Any:
        log.exception("unexpected fault on %s %s", request.method, request.path)
        if app.config.get("PROPAGATE_EXCEPTIONS"):
            raise error
        rollback()
        title, message = STATUS_TEXT[500]
        if wants_problem():
            return problem(500, "fault", str(message))
        try:
            return _page(500, str(title), str(message), None, "alert-triangle")
        except Exception:
            # The usual page asks the database who is reading; with the database away, a page that asks nothing is shown.
            log.exception("the page for a fault could not be shown either")
            rollback()
            return plain(500)


__all__ = ["Forbidden", "InputInvalid", "NotFound", "Refusal", "about", "problem", "_"]
