"""Text messages over any gateway with HTTP: the address, the form of the request and the sign of success are settings.

The request is a template, JSON or a form, in which `{to}`, `{phone}`, `{text}`, `{key}`, `{signature}`, `{secret}` and `{time}` stand
for the values of a message; they are put into its strings after it has been read, so that no text can change its form.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kernel import clock
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import sms
from . import Message, Outcome, Status, wire
from .aliyun import national
from .texting import Texting

FIELDS = ("to", "phone", "text", "key", "signature", "secret", "time")
_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,60}")


class TemplateUnreadable(Refusal):
    status = 422
    field = "template"
    label = _l(
        "Write the request as JSON, or as lines such as mobile={phone}; {text} and {phone} or {to} must occur in it."
    )


class HeadersUnreadable(Refusal):
    status = 422
    field = "headers"
    label = _l("Write one header per line, such as Authorization: Bearer {secret}.")


@dataclass(frozen=True)
class Form:
    """How a gateway is asked, and by what it is told that it has taken a message."""

    url: str
    terms: sms.Terms
    template: str
    form: str = "json"  # json | form
    headers: str = ""
    secret: str = ""
    # Where in the answer success stands (`data.code`) and as what (`0`); empty: any 2xx is success.
    ok_path: str = ""
    ok_value: str = ""
    id_path: str = ""
    reason_path: str = ""
    idempotent: bool = False
    timeout_seconds: float = 10.0


def read_template(text: str, form: str) -> Any:
    """A request's template: what JSON holds, or a list of pairs. Refuses with `TemplateUnreadable`."""
    if form == "json":
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise TemplateUnreadable from None
        if not isinstance(found, dict | list):
            raise TemplateUnreadable
    else:
        found = [tuple(line.strip().split("=", 1)) for line in text.splitlines() if line.strip()]
        if any(len(pair) != 2 or not pair[0] for pair in found):
            raise TemplateUnreadable
    used = set(_FIELD.findall(text))
    if "text" not in used or not used & {"to", "phone"}:
        raise TemplateUnreadable
    return found


def read_headers(text: str) -> dict[str, str]:
    """A request's headers, one a line. Refuses with `HeadersUnreadable`."""
    found = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not _HEADER.fullmatch(name.strip()) or not value.strip() or not value.strip().isprintable():
            raise HeadersUnreadable
        found[name.strip()] = value.strip()
    return found


def filled(template: Any, values: dict[str, str]) -> Any:
    """A template with values in the places of its fields."""
    if isinstance(template, str):
        return _FIELD.sub(lambda found: values[found[1]], template)
    if isinstance(template, dict):
        return {name: filled(inner, values) for name, inner in template.items()}
    if isinstance(template, list | tuple):
        return [filled(inner, values) for inner in template]
    return template


def at_path(answer: Any, path: str) -> str | None:
    """What stands at a path such as `data.0.code`, as text; None when nothing does."""
    for step in path.split("."):
        if isinstance(answer, dict):
            answer = answer.get(step)
        elif isinstance(answer, list) and step.isdigit() and int(step) < len(answer):
            answer = answer[int(step)]
        else:
            return None
    if answer is None or isinstance(answer, dict | list):
        return None
    return json.dumps(answer) if isinstance(answer, bool) else str(answer)


class Gateway(Texting):
    def __init__(self, form: Form) -> None:
        super().__init__(form.terms, wire.Line(form.url, form.timeout_seconds), idempotent=form.idempotent)
        self.form = form
        self._template = read_template(form.template, form.form)
        self._headers = read_headers(form.headers)

    def one(self, message: Message) -> Outcome:
        values = {
            "to": message.address,
            "phone": national(message.address),
            "text": message.body,
            "key": message.key,
            "signature": self.form.terms.signature,
            "secret": self.form.secret,
            "time": str(int(clock.now().timestamp())),
        }
        content = filled(self._template, values)
        if self.form.form == "json":
            body, kind = json.dumps(content, ensure_ascii=False).encode(), "application/json; charset=utf-8"
        else:
            body, kind = (
                urlencode([tuple(pair) for pair in content]).encode(),
                "application/x-www-form-urlencoded; charset=utf-8",
            )
        headers = {
            "Content-Type": kind,
            "Idempotency-Key": message.key,
            **{name: filled(value, values) for name, value in self._headers.items()},
        }
        return self.verdict(self.line.call("POST", self.line.path, body, headers))

    def verdict(self, answer: wire.Answer) -> Outcome:
        """What an answer means by the settings. What it cannot say for certain stays in doubt."""
        status, form = answer.status, self.form
        said = answer.json
        words = at_path(said, form.reason_path) if form.reason_path else None
        reason = f"HTTP {status}: {words}"[:300] if words else f"HTTP {status}"
        if status in (429, 503):
            return Outcome(Status.RETRY, reason, after=answer.after, down=True)
        if status in wire.OURS_TO_MEND:
            return Outcome(Status.RETRY, reason, down=True)
        if 400 <= status < 500:
            return Outcome(Status.REJECTED, reason)
        if not 200 <= status < 300:
            return Outcome(Status.UNKNOWN, reason)
        if form.ok_path:
            found = at_path(said, form.ok_path)
            if found is None:
                return Outcome(Status.UNKNOWN, f"{reason}: no {form.ok_path} in the answer")
            if found != form.ok_value:
                return Outcome(Status.REJECTED, f"{form.ok_path}={found} {words or ''}".strip()[:300])
        provider_id = at_path(said, form.id_path) if form.id_path else None
        return Outcome(Status.ACCEPTED, provider_id=provider_id[:200] if provider_id else None)
