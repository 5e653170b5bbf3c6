"""What the mail says: the first things to do, each with the address where it is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kernel import clock, links, shop, today
from kernel.i18n import day, forced_locale, ngettext
from kernel.i18n import gettext as _
from kernel.staff.models import Staff


@dataclass(frozen=True)
class Letter:
    """A brief as it is read; `due` says how many things there are to do."""

    subject: str
    body: str
    due: int


def compose(person: Staff, locale: str, stop_url: str) -> Letter:
    """The brief of somebody in whose name is being read (`kernel.auth.reading_as`), in their language."""
    with forced_locale(locale):
        found = today.brief_of(person.id).open
        count = len(found)
        words = (
            ngettext("%(num)s thing to do today", "%(num)s things to do today", count)
            if found
            else _("nothing is waiting today")
        )
        subject = _("%(shop)s, %(day)s: %(words)s", shop=shop.shop_name(), day=day(clock.today()), words=words)
        return Letter(str(subject), "\n".join(map(str, _lines(person, found, stop_url))), count)


def _lines(person: Staff, found: list[today.Task], stop_url: str) -> Iterator[str]:
    yield _("Good day, %(name)s.", name=person.name)
    yield ""
    if not found:
        yield _("Nothing is waiting for you in the shop today.")
        yield ""
    for number, task in enumerate(found[: today.MOST], 1):
        place = f" · {task.place.name}" if task.place else ""
        yield f"{number}. {task.text}{place}"
        if task.about:
            yield f"   {task.about}"
        yield "   " + _("%(action)s: %(url)s", action=task.action, url=links.absolute(task.url))
        yield ""
    rest = len(found) - today.MOST
    if rest > 0:
        yield ngettext("%(num)s more thing is in the console.", "%(num)s more things are in the console.", rest)
    yield links.absolute("/console/?all=1" if rest > 0 else "/console/")
    yield ""
    yield _("You chose to get this. Another hour: %(url)s", url=links.absolute("/console/my-brief"))
    yield _("No more of these: %(url)s", url=stop_url)
