"""Where shop systems push their orders to. Size and signature are judged before anything is read; 2xx follows the commit."""

from __future__ import annotations

import re
from typing import Any

from apiflask import APIBlueprint
from flask import jsonify, request

from kernel.auth import public
from kernel.db import transaction
from kernel.errors import problem

from . import queries
from .feeds.reasons import PayloadRefused
from .feeds.signatures import Kind, SignatureRefused
from .services import connections

bp = APIBlueprint("order_hooks", __name__, url_prefix="/hooks", enable_openapi=False)

# A standard webhook is one order of ours in a few kilobytes. A shop system's order of some hundred lines, each with its taxes,
# discounts and properties, passes 64 KB by far; Youzan's is shorter and grows threefold by its percent-encoding.
LARGEST = {
    Kind.STANDARD: 64 * 1024,
    Kind.YOUZAN: 256 * 1024,
    Kind.SHOPIFY: 1024 * 1024,
    Kind.WOOCOMMERCE: 1024 * 1024,
}
# WooCommerce tries an address with this form, unsigned, when somebody saves it; it has no effect.
_PING = re.compile(rb"webhook_id=[0-9]{1,20}")


@bp.post("/orders/<token>")
@public("shop systems call it; every request is signed with the secret of its address")
def receive(token: str) -> Any:
    connection = queries.get_connection_by_token(token)
    # Over this the server answers 413 and reads no further.
    request.max_content_length = LARGEST[connection.kind]
    body = request.get_data(cache=False)
    if connection.kind is Kind.WOOCOMMERCE and _PING.fullmatch(body):
        return jsonify(status="pong")
    try:
        receipt_id = connections.receive(connection, request.headers, body)
    except SignatureRefused as refused:
        with transaction():
            connections.note_refusal(connection.id, refused)
        return problem(401, "not_signed", refused.doubt.value)
    except PayloadRefused as refused:
        with transaction():
            connections.note_unreadable(connection, body, refused)
        return problem(400, "unreadable", refused.faults[0][1])
    if connection.kind is Kind.YOUZAN:
        # The only answer that Youzan takes for yes.
        return jsonify(code=0, msg="success")
    return jsonify(status="known" if receipt_id is None else "received")
