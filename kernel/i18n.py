"""Two languages, one catalogue: English is the text in the code, Chinese lies beside each room as `translations/zh_Hans.po`.

The rooms' files are read once a process and merged; a law test holds them complete and free of contradictions.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from babel import dates, numbers
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Flask, g, has_request_context, request
from flask_babel import Babel, Domain
from markupsafe import Markup

from . import clock, money

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("kernel", "membership", "community", "campaigns")
LOCALES = ("zh_Hans", "en")
DEFAULT = "zh_Hans"
COOKIE = "lang"


def catalogue_files(locale: str) -> list[Path]:
    """Every room's catalogue of a locale, in a fixed order."""
    return sorted(path for floor in FLOORS for path in (ROOT / floor).rglob(f"translations/{locale}.po"))


@cache
def _translations(locale: str) -> NullTranslations:
    merged: Catalog = Catalog(locale=locale)
    for path in catalogue_files(locale):
        with path.open("rb") as file:
            for message in read_po(file, locale=locale):
                if message.id and message.string:
                    merged.add(message.id, message.string, context=message.context)
    buffer = io.BytesIO()
    write_mo(buffer, merged)
    buffer.seek(0)
    return Translations(buffer)


class _Domain(Domain):  # type: ignore[misc]
    def get_translations(self) -> NullTranslations:
        return _translations(current_locale())

    def ngettext(self, singular: str, plural: str, num: int, **variables: Any) -> str:
        """A text for a number, which it names as `%(num)s` in the reader's way: 1,058 people."""
        text: str = self.get_translations().ungettext(singular, plural, num)
        return text % ({"num": number(num)} | variables)


_domain = _Domain()
gettext = _domain.gettext
ngettext = _domain.ngettext
lazy_gettext = _domain.lazy_gettext


def _supported(tag: str | None) -> str | None:
    if not tag:
        return None
    tag = tag.replace("-", "_").lower()
    return "zh_Hans" if tag.startswith("zh") else "en" if tag.startswith("en") else None


def current_locale() -> str:
    """`zh_Hans` or `en`: forced > chosen in this browser > the browser's wish > the shop's default."""
    if forced := g.get("locale") if g else None:
        return str(forced)
    if not has_request_context():
        return DEFAULT
    # A page asks a hundred times. Kept with the request and not in `g`, which several requests of one context would share.
    environ = request.environ
    wished: str | None = environ.get(_WISHED)
    if wished is None:
        wished = environ[_WISHED] = _wished()
    return wished


_WISHED = "siyu.locale"


def _wished() -> str:
    """What this request asks for, or the shop's default."""
    chosen = _supported(request.cookies.get(COOKIE))
    if chosen is None:
        for tag, _quality in request.accept_languages:
            if (chosen := _supported(tag)) is not None:
                break
    return chosen or DEFAULT


@contextmanager
def forced_locale(locale: str) -> Iterator[None]:
    """Speak one language for a while (messages to a member, exports); needs an application context."""
    before = g.get("locale")
    g.locale = _supported(locale) or DEFAULT
    try:
        yield
    finally:
        g.locale = before


def number(value: float) -> str:
    return numbers.format_decimal(value, locale=current_locale())


def percent(part: float, whole: float, digits: int = 0) -> str:
    """A share as text; an empty whole has none."""
    return "–" if not whole else f"{100 * part / whole:.{digits}f}%"


def day(value: date | datetime | None) -> str:
    """A date in the reader's way, in the shop's time zone."""
    if value is None:
        return "–"
    if isinstance(value, datetime):
        value = clock.local(value).date()
    return dates.format_date(
        value, "y年M月d日" if current_locale() == "zh_Hans" else "d MMM y", locale=current_locale()
    )


def month(value: date | str) -> str:
    """A month of a year in the reader's way; `value` is a day in it, or `2026-11`."""
    first = date.fromisoformat(f"{value}-01") if isinstance(value, str) else value
    return dates.format_date(first, "y年M月" if current_locale() == "zh_Hans" else "MMM y", locale=current_locale())


def month_name(month: int) -> str:
    """The name of a month, 1 for January."""
    return dates.get_month_names("wide", context="stand-alone", locale=current_locale())[month]


def date_time(value: datetime | None) -> str:
    """Date and minute in the shop's time zone, in the reader's way."""
    if value is None:
        return "–"
    pattern = "y年M月d日 HH:mm" if current_locale() == "zh_Hans" else "d MMM y, HH:mm"
    return dates.format_datetime(clock.local(value), pattern, locale=current_locale())


def when(value: datetime | None) -> Markup:
    """`3 hours ago`, with the exact instant on hover and for screen readers; `just now` within the last minute, beyond
    thirty days the date itself."""
    if value is None:
        return Markup("–")
    gap = value - clock.now()
    if abs(gap) > timedelta(days=30):
        text = day(value)
    elif -timedelta(minutes=1) < gap <= timedelta():
        text = gettext("just now")
    else:
        text = dates.format_timedelta(gap, add_direction=True, locale=current_locale(), threshold=0.95)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        value.isoformat(timespec="seconds"), date_time(value), text
    )


def time_left(until: str) -> str:
    """The time until an instant (ISO 8601) as `static/js/countdown.js` writes it, `2 d 03:04:05`: what is read until it runs."""
    seconds = max(0, int((datetime.fromisoformat(until) - clock.now()).total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    text = f"{hours % 24:02}:{minutes:02}:{seconds % 60:02}"
    return f"{hours // 24} {gettext('d')} {text}" if hours >= 24 else text


def init_app(app: Flask) -> None:
    Babel(app, locale_selector=current_locale, default_locale=DEFAULT, default_timezone=str(clock.ZONE))
    app.jinja_env.globals.update(_=gettext, ngettext=ngettext, current_locale=current_locale, percent=percent)
    app.jinja_env.filters.update(
        when=when,
        day=day,
        month=month,
        datetime=date_time,
        time_left=time_left,
        number=number,
        yuan=money.yuan,
        short_yuan=money.short_yuan,
    )


__all__ = ["current_locale", "forced_locale", "gettext", "lazy_gettext", "month_name", "ngettext"]
