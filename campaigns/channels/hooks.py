"""Where gateways, mail servers and WeCom call back. Size is judged before anything is read; the answer follows the commit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify, request
from werkzeug.datastructures import MultiDict

from kernel.auth import public
from kernel.db import transaction
from kernel.errors import NotFound, problem

from . import bounces, services
from .models import Account, ChannelKind
from .services import wecom
from .services.hooks import NotReadable

bp = APIBlueprint("channel_hooks", __name__, url_prefix="/hooks/channels", enable_openapi=False)

LARGEST = 64 * 1024


def _account(token: str, *kinds: ChannelKind) -> Account:
    account = services.find_account(token)
    if account.kind not in kinds:
        raise NotFound
    return account


def _content(body: bytes) -> Any:
    """A body as JSON or as a form. Refuses with `NotReadable`."""
    if request.mimetype == "application/x-www-form-urlencoded":
        form: MultiDict[str, str] = request.form
        return form.to_dict()
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise NotReadable from None


def _taken(token: str, take: Callable[[Account, Any, bool], Any]) -> Any:
    account = _account(token, ChannelKind.SMS, ChannelKind.WEBHOOK)
    # Over this the server answers 413 and reads no further.
    request.max_content_length = LARGEST
    body = request.get_data(cache=True)
    with transaction():
        take(account, _content(body), services.signed(account, request.headers.get("Siyu-Signature"), body))
    # The answer that Aliyun takes for yes; others look at the status alone.
    return jsonify(code=0, msg="OK")


@bp.post("/<token>/replies")
@public("gateways call it; without a signature it can only take rights away")
def replies(token: str) -> Any:
    return _taken(token, services.take_replies)


@bp.post("/<token>/receipts")
@public("gateways call it; what is not signed is kept and believed by nobody")
def receipts(token: str) -> Any:
    return _taken(token, services.take_receipts)


@bp.post("/<token>/mail")
@public("mail servers call it; every request is signed with the secret of its address")
def mail(token: str) -> Any:
    account = _account(token, ChannelKind.EMAIL)
    request.max_content_length = bounces.LARGEST
    body = request.get_data(cache=False)
    if not services.signed(account, request.headers.get("Siyu-Signature"), body):
        return problem(401, "not_signed", "The signature is missing, wrong or too old.")
    with transaction():
        ended = services.take_mail(account, body)
    return jsonify(status="received", ended=ended)


@bp.get("/<token>/wecom")
@public("WeCom calls it; every request is signed")
def wecom_echo(token: str) -> Any:
    account = _account(token, ChannelKind.WECOM)
    return Response(wecom.prove_address(account, request.args), mimetype="text/plain")


@bp.post("/<token>/wecom")
@public("WeCom calls it; every request is signed and encrypted")
def wecom_post(token: str) -> Any:
    account = _account(token, ChannelKind.WECOM)
    request.max_content_length = wecom.LARGEST
    body = request.get_data(cache=False)
    with transaction():
        wecom.take_callback(account, request.args, body)
    return Response("success", mimetype="text/plain")
