"""Pieces of pages that ask whether they have changed: 304 while nothing has (RFC 9110, 13.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from flask import Response, request

from kernel.i18n import current_locale


def mark_of(*parts: object) -> str:
    """The entity tag of a piece that shows these facts, in the reader's language."""
    said = "|".join(map(str, (current_locale(), *parts)))
    return sha256(said.encode()).hexdigest()[:20]


def fresh(mark: str, render: Callable[[], str]) -> Response:
    """The piece, or 304 without rendering anything when the reader has it as it is."""
    if request.if_none_match.contains_weak(mark):
        answer = Response(status=304)
    else:
        answer = Response(render())
    answer.set_etag(mark, weak=True)
    return answer
