"""What pydantic finds wrong in a body or a query, as sentences in the caller's language."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from .i18n import gettext as _
from .i18n import lazy_gettext as _l

MOST = 100
_TEXT = _l("This has to be a text.")
_WHOLE = _l("This has to be a whole number.")
_NUMBER = _l("This has to be a number.")
_YES_OR_NO = _l("This has to be true or false.")
_LIST = _l("This has to be a list.")
_OBJECT = _l("This has to be an object.")
_ONE_OF = _l("This has to be one of %(known)s.")
_FORM = _l("This is not written in the form that is asked for.")
_EMPTY = _l("This may not be empty.")
NO_FIELD = _l("There is no such field.")
# What is said where a text does not match its pattern; see `explained`.
_PATTERNS: dict[str, Any] = {}
INSTANT = _l("An instant is written 2026-11-01T10:00:00+08:00.")
FAR = _l("An instant lies between the years 1900 and 2199.")
DAY = _l("A date is written 2026-11-01.")
# By pydantic's own names of errors, whole or as far as a `*`; their places are filled from the error's context.
_SENTENCES: dict[str, Any] = {
    "missing": _l("This is missing."),
    "string_type": _TEXT,
    "string_too_short": _l("This has to have %(min_length)s characters or more."),
    "string_too_long": _l("This may have %(max_length)s characters at most."),
    "int_*": _WHOLE,
    "float_*": _NUMBER,
    "decimal_*": _NUMBER,
    "finite_number": _NUMBER,
    "bool_*": _YES_OR_NO,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "dict_type": _OBJECT,
    "model_*": _OBJECT,
    "too_short": _l("This has to have %(min_length)s entries or more."),
    "too_long": _l("This may have %(max_length)s entries at most."),
    "greater_than": _l("This has to be above %(gt)s."),
    "greater_than_equal": _l("This has to be %(ge)s or more."),
    "less_than": _l("This has to be below %(lt)s."),
    "less_than_equal": _l("This may be %(le)s at most."),
    "enum": _ONE_OF,
    "literal_error": _ONE_OF,
    "union_tag_invalid": _ONE_OF,
    "datetime_*": INSTANT,
    "timezone_*": INSTANT,
    "date_*": DAY,
    "json_invalid": _l("This is no JSON in UTF-8."),
}


def explained(pattern: str, sentence: Any) -> str:
    """The same pattern, of which callers are told this sentence where a text does not match it."""
    _PATTERNS[pattern] = sentence
    return pattern


def mistakes_of(error: ValidationError, unknown: Any = NO_FIELD) -> list[tuple[str, str]]:
    """Each mistake as its place (`identities.0.id`) and a sentence, a hundred at most. `unknown` is said of a name that is not
    taken here."""
    found = error.errors(include_url=False, include_input=False)
    return [
        (".".join(map(str, one["loc"])) or "body", _sentence(one["type"], one.get("ctx", {}), unknown))
        for one in found[:MOST]
    ]


def _sentence(kind: str, context: dict[str, Any], unknown: Any) -> str:
    if kind == "value_error":
        # A validator of our own said it, in the caller's language.
        return str(context.get("error", _FORM))
    if kind == "extra_forbidden":
        return str(unknown)
    if kind == "string_pattern_mismatch":
        return str(_PATTERNS.get(context.get("pattern", ""), _FORM))
    if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return str(_EMPTY)
    sentence = _SENTENCES.get(kind) or _SENTENCES.get(kind.partition("_")[0] + "_*") or _FORM
    known = str(context.get("expected") or context.get("expected_tags") or "")
    names = re.findall(r"'([^']*)'", known)
    return str(sentence) % {**context, "known": _(", ").join(names) or known} if "%" in str(sentence) else str(sentence)
