"""The links in messages: a visit is counted, and the visitor goes on."""

from __future__ import annotations

import re
from typing import Any

from apiflask import APIBlueprint
from flask import redirect, request

from kernel.auth import public
from kernel.http import client_address

from . import services

bp = APIBlueprint("results_portal", __name__, enable_openapi=False)

# Programs that open links before, or instead of, the person they were sent to.
_PROGRAM = re.compile(r"bot\b|crawl|spider|preview|externalhit|slurp|scanner|curl/|wget/|python-|okhttp", re.I)


def looked_at_by_a_person() -> bool:
    """Whether a visit is one: no HEAD, no fetching ahead, no program that names itself."""
    said = " ".join(request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")).lower()
    ahead = any(word in said for word in ("prefetch", "prerender", "preview"))
    return request.method == "GET" and not ahead and not _PROGRAM.search(request.headers.get("User-Agent", ""))


@bp.get("/l/<token>")
@public("the signed link in a message; opening it counts a click and changes nothing else")
def follow(token: str) -> Any:
    return redirect(services.visit(token, counted=looked_at_by_a_person(), network=client_address()))
