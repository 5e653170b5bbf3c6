"""Pure decisions about text messages: what one must carry, how long it is, and which answers stop it.

In China a marketing message begins or ends with the sender's registered name in 【】 and says how to stop it, or carriers
drop it; the same carriers refuse links that differ from one message to the next.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

# One message holds 70 UTF-16 units; of a longer one each part holds 67, for its header takes the rest (3GPP TS 23.040).
ONE, PART = 70, 67
LONGEST = 500
_SIGNATURE = re.compile(r"【([^【】\s]{2,20})】")
# 拒收请回复R, 退订回T, 回复TD退订, 回R拒收: the word for stopping and the letters to answer with, in either order.
_OPT_OUT = re.compile(
    r"(?:拒收|退订)请?(?:回复?|发送?)[:：\s]?[A-Za-z0-9]{1,5}|(?:回复?|发送?)[:：\s]?[A-Za-z0-9]{1,5}\s?(?:即可)?(?:拒收|退订)"
)
_STOPS = re.compile(r"(?:请?回复?)?(?:r|t|td|n|qx|退订|退定|拒收|取消|停止|stop|unsubscribe|quit|cancel|end)+")
_STOPS_WITHIN = re.compile(r"退订|拒收|取消订阅|不要再发|别再发|别发了")
_OWN_LINK = re.compile(r"/(?:l|u)/[A-Za-z0-9_.~-]{16,}")
PERSONAL_PLACEHOLDERS = frozenset({"coupon_link"})


class SignatureMissing(Refusal):
    status = 422
    field = "body"
    label = _l("Carriers drop a text message without its sender. Begin it with %(signature)s.")


class OptOutMissing(Refusal):
    status = 422
    field = "body"
    label = _l("A text message must say how to stop it. End it with “%(phrase)s”.")


class LinkPersonal(Refusal):
    status = 422
    field = "body"
    label = _l(
        "Carriers refuse links that differ from one message to the next. Write a fixed link, or the coupon's code."
    )


class MessageTooLong(Refusal):
    status = 422
    field = "body"
    label = _l("This text message has %(length)s characters; gateways take %(most)s at most.")


@dataclass(frozen=True)
class Terms:
    """What the texts of an account must carry: the sender's registered name, and how to stop."""

    signature: str
    opt_out: str = "拒收请回复R"


@dataclass(frozen=True)
class Length:
    """How long a text is: UTF-16 units, and how many messages it is paid for as."""

    units: int
    segments: int


def length(text: str) -> Length:
    """The length of a text as carriers count it; nothing is one message too."""
    units = len(text.encode("utf-16-be")) // 2
    return Length(units, 1 if units <= ONE else math.ceil(units / PART))


def signature_of(text: str) -> str | None:
    """The sender's name at the beginning or the end of a text, or None."""
    text = text.strip()
    first = _SIGNATURE.match(text)
    if first is not None:
        return first[1]
    found = list(_SIGNATURE.finditer(text))
    return found[-1][1] if found and found[-1].end() == len(text) else None


def says_how_to_stop(text: str, phrase: str = "") -> bool:
    """Whether a text says how to stop it, in the usual words or in the gateway's own."""
    folded = unicodedata.normalize("NFKC", text)
    return bool(_OPT_OUT.search(folded)) or (bool(phrase) and unicodedata.normalize("NFKC", phrase) in folded)


def check(text: str, terms: Terms, marketing: bool = True, names: Iterable[str] = ()) -> None:
    """Refuse a text that carriers would drop, or that nobody could stop.

    `names` are the placeholders that are still in it. Only marketing needs to say how to stop it: a code or a notice that
    somebody waits for does not. Refuses with `SignatureMissing`, `OptOutMissing`, `LinkPersonal` and `MessageTooLong`.
    """
    if signature_of(text) != terms.signature:
        raise SignatureMissing(signature=f"【{terms.signature}】")
    if marketing and not says_how_to_stop(text, terms.opt_out):
        raise OptOutMissing(phrase=terms.opt_out)
    if PERSONAL_PLACEHOLDERS.intersection(names) or _OWN_LINK.search(text):
        raise LinkPersonal
    found = length(text)
    if found.units > LONGEST:
        raise MessageTooLong(length=found.units, most=LONGEST)


def phrase_stands(phrase: str) -> bool:
    """Whether a gateway's own words tell a reader how to stop: a word for stopping, and something to answer."""
    folded = unicodedata.normalize("NFKC", phrase)
    return bool(re.search(r"拒收|退订|stop|unsubscribe", folded, re.IGNORECASE)) and bool(
        re.search(r"[A-Za-z0-9]", folded)
    )


def stops(words: str, letters: str = "") -> bool:
    """Whether an answer asks to be left alone: R, T, TD, 退订 and the like, however it is typed, or the gateway's own letters.

    In doubt it does: what is taken away too much can be given again by the person, a message too many cannot be unsent.
    """
    folded = unicodedata.normalize("NFKC", words).casefold()
    bare = "".join(c for c in folded if c.isalnum())
    own = "".join(c for c in unicodedata.normalize("NFKC", letters).casefold() if c.isalnum())
    if not bare:
        return False
    return bool(_STOPS.fullmatch(bare)) or (bool(own) and bare == own) or bool(_STOPS_WITHIN.search(bare))


# ── Templates ───────────────────────────────────────────────────────────────────────────────────────────────────────


class TemplatesUnreadable(Refusal):
    status = 422
    field = "templates"
    label = _l(
        "Line %(line)s is no template: write its code, a space, and its approved text with ${…} for what varies."
    )


class TemplateUnknown(Refusal):
    status = 422
    field = "body"
    label = _l(
        "This text fits none of the channel's approved templates. Write one of them, with your words where it varies."
    )


@dataclass(frozen=True)
class Template:
    """A text that the provider has approved, with `${name}` where it may vary."""

    code: str
    text: str


_VARIABLE = re.compile(r"\$\{([A-Za-z][A-Za-z0-9_]{0,29})\}")


def read_templates(lines: str) -> tuple[Template, ...]:
    """The templates of an account, one a line: `SMS_123456789 亲爱的${name}，…拒收请回复R`. Refuses with `TemplatesUnreadable`."""
    found = []
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        code, _gap, text = line.strip().partition(" ")
        if not re.fullmatch(r"[A-Za-z0-9_-]{4,40}", code) or not text.strip() or "${" in _VARIABLE.sub("", text):
            raise TemplatesUnreadable(line=number)
        found.append(Template(code, text.strip()))
    if not found:
        raise TemplatesUnreadable(line=1)
    return tuple(found)


def fill(text: str, signature: str, templates: Iterable[Template]) -> tuple[Template, dict[str, str]]:
    """Which approved template a whole text is, and what stands in its places. Refuses with `TemplateUnknown`.

    The signature goes to the provider by itself and is no part of a template. A name that occurs twice stands for the same.
    """
    bare = text.strip().replace(f"【{signature}】", "", 1).strip()
    for template in templates:
        pattern, at, seen = "", 0, set()
        for found in _VARIABLE.finditer(template.text):
            pattern += re.escape(template.text[at : found.start()])
            pattern += f"(?P={found[1]})" if found[1] in seen else f"(?P<{found[1]}>.{{1,100}}?)"
            seen.add(found[1])
            at = found.end()
        fits = re.fullmatch(pattern + re.escape(template.text[at:]), bare, re.DOTALL)
        if fits:
            return template, fits.groupdict()
    raise TemplateUnknown
