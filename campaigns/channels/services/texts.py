"""What a text must be like before it may be saved, tried or sent over an account."""

from __future__ import annotations

import re

from .. import sms
from ..models import Account, ChannelKind

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}|]*)(?:\|([^{}]*))?\}")


def terms_of(account: Account) -> sms.Terms:
    """The signature and the way to stop that the texts of an account for text messages carry."""
    return sms.Terms(account.settings["signature"], account.settings.get("opt_out") or sms.Terms("").opt_out)


def templates_of(account: Account) -> tuple[sms.Template, ...]:
    """The approved templates of an account; empty where its provider asks for none."""
    lines = account.settings.get("templates") or ""
    return sms.read_templates(lines) if account.settings.get("provider") == "aliyun" else ()


def check(account: Account, body: str, marketing: bool = True) -> None:
    """Refuse a text that may not go over an account. `body` may still have placeholders (`{nickname|dear}`) in it.

    Only text messages have such rules: refuses with `sms.SignatureMissing`, `OptOutMissing`, `LinkPersonal`, `MessageTooLong` and, where
    the provider sends approved templates only, `TemplateUnknown`.
    """
    if account.kind is not ChannelKind.SMS:
        return
    names: list[str] = [found[1].strip() for found in _PLACEHOLDER.finditer(body) if found[1]]
    # A placeholder stands for something of a usual length; the whole text is judged again when it is sent.
    shown = _PLACEHOLDER.sub(lambda found: "一二三四" if found[1] is not None else found[0][0], body)
    sms.check(shown, terms_of(account), marketing, names)
    templates = templates_of(account)
    if templates:
        sms.fill(shown, terms_of(account).signature, templates)


def sample(account: Account) -> str:
    """A text that may go over an account for text messages: its first template, or a sentence of ours."""
    terms, templates = terms_of(account), templates_of(account)
    if templates:
        return f"【{terms.signature}】" + re.sub(r"\$\{[^}]*\}", "1234", templates[0].text)
    return f"【{terms.signature}】这是一条测试短信，{terms.opt_out}"


def length_of(account: Account, body: str) -> sms.Length | None:
    """How long a text message would be, or None where length is no matter."""
    return sms.length(body) if account.kind is ChannelKind.SMS else None
