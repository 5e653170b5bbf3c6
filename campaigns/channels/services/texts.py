"""What a text must be like before it may be saved, tried or sent over an account."""

from __future__ import annotations

import re

from community.posts import rules as post_rules
from community.posts import services as posts
from community.posts.models import PostKind
from kernel.errors import Refusal
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from .. import sms
from ..adapters import Message
from ..adapters.robot import LONGEST, in_two
from ..models import Account, ChannelKind

# What a chat's message has beside its text: the title and a link, in bytes.
HEAD = 600
_VARYING = re.compile(r"\$\{[^}]*\}")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}|]*)(?:\|([^{}]*))?\}")


class TooLongForChat(Refusal):
    status = 422
    field = "body"
    label = _l("A robot's message to this chat has room for about %(most)s Chinese characters.")


class WholeTooLongForChat(Refusal):
    status = 422
    field = "body"
    label = _l(
        "With its title, products and links the message is too long for this chat: it has %(length)s characters. "
        "Take out about %(over)s Chinese characters."
    )


def terms_of(account: Account) -> sms.Terms:
    """The signature and the way to stop that the texts of an account for text messages carry."""
    return sms.Terms(account.settings["signature"], account.settings.get("opt_out") or sms.Terms("").opt_out)


def templates_of(account: Account) -> tuple[sms.Template, ...]:
    """The approved templates of an account; empty where its provider asks for none."""
    lines = account.settings.get("templates") or ""
    return sms.read_templates(lines) if account.settings.get("provider") == "aliyun" else ()


def check(account: Account, body: str, marketing: bool = True) -> None:
    """Refuse a text that may not go over an account. `body` may still have placeholders (`{nickname|dear}`) in it.

    Text messages: refuses with `sms.SignatureMissing`, `OptOutMissing`, `LinkPersonal`, `MessageTooLong` and, where the provider
    sends approved templates only, `TemplateUnknown`. Chats: refuses with `TooLongForChat`. Posts: refuses with `PostRefused`.
    """
    if account.kind is ChannelKind.ROBOT and len(body.encode()) > LONGEST[account.settings["robot"]] - HEAD:
        raise TooLongForChat(most=(LONGEST[account.settings["robot"]] - HEAD) // 3)
    if account.kind is ChannelKind.GROUP_POST:
        kind = PostKind(account.settings.get("post_kind", "promotion"))
        if stops := [one for one in post_rules.lint(kind, "", body, "") if one.stops]:
            raise posts.PostRefused(stops)
    if account.kind is not ChannelKind.SMS:
        return
    names: list[str] = [found[1].strip() for found in _PLACEHOLDER.finditer(body) if found[1]]
    # A placeholder stands for something of a usual length; the whole text is judged again when it is sent.
    shown = _PLACEHOLDER.sub(lambda found: "一二三四" if found[1] is not None else found[0][0], body)
    sms.check(shown, terms_of(account), marketing, names)
    templates = templates_of(account)
    if templates:
        sms.fill(shown, terms_of(account).signature, templates)


def check_whole(account: Account, message: Message) -> None:
    """Refuse a message that its chat would cut, with title, products and links: with `WholeTooLongForChat`."""
    if account.kind is not ChannelKind.ROBOT:
        return
    text = "".join(in_two(message))
    over = len(text.encode()) - LONGEST[account.settings["robot"]]
    if over > 0:
        raise WholeTooLongForChat(length=len(text), over=-(-over // 3))


def code_text(account: Account, code: str) -> str | None:
    """The text message with a sign-in code; None where the provider has approved no template for one.

    A template for codes has 验证码 in it and one place that varies.
    """
    signature = terms_of(account).signature
    if account.settings.get("provider") != "aliyun":
        words = _("Your code is %(code)s, good for 10 minutes. Tell it to nobody.", code=code)
        return f"【{signature}】{words}"
    for template in templates_of(account):
        if "验证码" in template.text and len(_VARYING.findall(template.text)) == 1:
            return f"【{signature}】{_VARYING.sub(code, template.text)}"
    return None


def answered_text(account: Account) -> str | None:
    """The text message that says that an answer is there, for a provider that sends approved templates only; None without one.

    Such a template has 答复 or 已回复 in it and no place that varies.
    """
    for template in templates_of(account):
        if ("答复" in template.text or "已回复" in template.text) and not _VARYING.search(template.text):
            return f"【{terms_of(account).signature}】{template.text}"
    return None


def sample(account: Account) -> str:
    """A text that may go over an account for text messages: its first template, or a sentence of ours."""
    terms, templates = terms_of(account), templates_of(account)
    if templates:
        return f"【{terms.signature}】" + re.sub(r"\$\{[^}]*\}", "1234", templates[0].text)
    return f"【{terms.signature}】这是一条测试短信，{terms.opt_out}"


def length_of(account: Account, body: str) -> sms.Length | None:
    """How long a text message would be, or None where length is no matter."""
    return sms.length(body) if account.kind is ChannelKind.SMS else None
