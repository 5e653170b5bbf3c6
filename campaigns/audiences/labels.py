"""The rules of an audience in words: what each says of people, one sentence for all of them, and a list with levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import ngettext, number
from kernel.money import short_yuan
from membership.members import labels as members
from membership.members.models import Contact

from . import queries, rules

_CONTACTS = {
    Contact.INBOX: _l("the inbox"),
    Contact.EMAIL: _l("e-mail"),
    Contact.SMS: _l("SMS"),
    Contact.CALL: _l("calls"),
}
DEEDS: dict[str, Any] = {
    "opened": _l("opened a push"),
    "clicked": _l("clicked in a push"),
    "claimed": _l("claimed a coupon"),
    "redeemed": _l("used a coupon"),
    "seen": _l("saw a post"),
    "liked": _l("liked a post"),
    "entered": _l("followed a group's link"),
    "called": _l("were reached by a call-back"),
}
_NOT_DEEDS: dict[str, Any] = {
    "opened": _l("opened no push"),
    "clicked": _l("clicked in no push"),
    "claimed": _l("claimed no coupon"),
    "redeemed": _l("used no coupon"),
    "seen": _l("saw no post"),
    "liked": _l("liked no post"),
    "entered": _l("followed no group's link"),
    "called": _l("were reached by no call-back"),
}
MOMENTS: dict[str, Any] = {
    "first_order": _l("ordered for the first time"),
    "enrolled": _l("joined as a member"),
    "known": _l("became known to the shop"),
    "stage": _l("came to their present stage"),
}

MEASURES: dict[str, Any] = {
    "alive": _l("probability that they still buy (percent)"),
    "orders": _l("expected orders"),
    "value": _l("expected value in yuan"),
}


# The two kinds of audiences in the list.
SORTS: dict[str, Any] = {"rules": _l("follows its rules"), "list": _l("a list of people")}
# What the list of audiences can be narrowed to.
LISTED: dict[str, Any] = {**SORTS, "archived": _l("Archived")}
# Why a line of a file put nobody on the list.
MISSED: dict[str, Any] = {
    "empty": _l("This line is empty."),
    "malformed": _l("This is no phone, e-mail address or account."),
    "unknown": _l("Nobody here is known by this."),
    "repeated": _l("This person is on the list already."),
}


def contact(channel: Contact) -> str:
    """A way of reaching people, as it stands in a sentence."""
    return str(_CONTACTS.get(channel) or members.CONTACTS[channel])


def _list(words: Sequence[Any]) -> str:
    return str(_(", ")).join(str(word) for word in words)


def _either(words: Sequence[Any]) -> str:
    """ "A, B or C"."""
    *first, last = [str(word) for word in words]
    return str(_("%(these)s or %(last)s", these=_list(first), last=last)) if first else last


def _between(low: Any, high: Any | None) -> str:
    if low == high:
        return str(low)
    return str(_("%(low)s to %(high)s", low=low, high=high)) if high is not None else str(_("%(low)s or more", low=low))


def _within(words: Any, days: int | None) -> str:
    """What people did, with the window in which they did it."""
    if days is None:
        return str(words)
    return str(ngettext("%(words)s in the last day", "%(words)s in the last %(num)s days", days, words=words))


def _tiers(ranks: Sequence[int]) -> str:
    low, *_others = known = sorted(set(ranks))
    if low and len(known) > 1 and known == list(range(low, 5)):
        return str(_("VIP%(rank)s or higher", rank=low))
    return _either([f"VIP{rank}" if rank else _("below VIP1") for rank in reversed(known)])


def _ago(did: Any, low: int, high: int | None) -> str:
    if high is None:
        return (
            str(_("%(did)s %(days)s or more days ago", did=did, days=low)) if low else str(_("%(did)s ever", did=did))
        )
    if low == 0:
        return str(ngettext("%(did)s today or yesterday", "%(did)s in the last %(num)s days", high, did=did))
    return str(_("%(did)s %(days)s days ago", did=did, days=_between(low, high)))


def _orders(rule: rules.OrdersRule) -> str:
    if rule.from_count == 0 and rule.to_count == 0:
        words = str(_("placed no order"))
    elif rule.from_count == 0 and rule.to_count is None:
        words = str(_("placed any number of orders"))
    elif rule.from_count == 0:
        words = str(ngettext("placed at most one order", "placed at most %(num)s orders", rule.to_count or 0))
    elif rule.from_count == rule.to_count:
        words = str(ngettext("placed one order", "placed %(num)s orders", rule.from_count))
    else:
        words = str(_("placed %(range)s orders", range=_between(rule.from_count, rule.to_count)))
    return _within(_on(words, rule.source), rule.within_days)


def _spend(rule: rules.SpendRule) -> str:
    if rule.from_fen == 0 and rule.to_fen is not None:
        words = str(_("spent at most %(amount)s", amount=short_yuan(rule.to_fen)))
    else:
        high = None if rule.to_fen is None else short_yuan(rule.to_fen)
        words = str(_("spent %(range)s", range=_between(short_yuan(rule.from_fen), high)))
    return _within(_on(words, rule.source), rule.within_days)


def _on(words: str, source: str | None) -> str:
    if source is None:
        return words
    return str(_("%(words)s on %(channel)s", words=words, channel=members.source_label(source)))


def _bought(what: Any, ever: bool, days: int | None) -> str:
    if ever:
        return _within(_("bought %(what)s", what=what), days)
    return _within(_("bought no %(what)s", what=what), days) if days else str(_("never bought %(what)s", what=what))


def phrase(rule: Any) -> str:
    """What one rule says of people, as it goes on after "who": "last ordered 30 to 60 days ago"."""
    match rule:
        case rules.Nested():
            words = str(_("(%(words)s)", words=_joined(rule.rules, rule.match)))
            return str(_("do not fit %(words)s", words=words)) if rule.negated else words
        case rules.TierRule():
            return str(_("are %(names)s", names=_tiers(rule.ranks)))
        case rules.LastOrderRule() if rule.from_days == 0 and rule.to_days is not None:
            return _ago(_("ordered"), 0, rule.to_days)
        case rules.LastOrderRule() if rule.from_days == 0:
            return str(_("have ordered"))
        case rules.LastOrderRule():
            return _ago(_("last ordered"), rule.from_days, rule.to_days)
        case rules.DaysAgoRule():
            return _ago(MOMENTS[rule.moment], rule.from_days, rule.to_days)
        case rules.BoughtRule():
            return _bought(_("“%(words)s”", words=rule.words), rule.ever, rule.within_days)
        case rules.CategoryRule():
            named = _("something of the category “%(name)s”", name=rule.category)
            return _bought(named, True, rule.within_days) if rule.ever else _bought_none(rule)
        case rules.OrderedOnRule():
            channel = members.source_label(rule.source)
            said = _("ordered on %(channel)s", channel=channel) if rule.ever else None
            return _within(said or _("did not order on %(channel)s", channel=channel), rule.within_days)
        case rules.GroupRule():
            return _group(rule)
        case rules.TagRule():
            names = queries.tag_names(rule.tag_ids) or [str(_("a tag that is gone"))]
            if rule.carried:
                return str(
                    ngettext(
                        "carry the tag %(names)s", "carry one of the tags %(names)s", len(names), names=_list(names)
                    )
                )
            return str(
                ngettext(
                    "do not carry the tag %(names)s", "carry none of the tags %(names)s", len(names), names=_list(names)
                )
            )
        case rules.SpendRule():
            return _spend(rule)
        case rules.OrdersRule():
            return _orders(rule)
        case rules.PointsRule():
            high = None if rule.to_points is None else number(rule.to_points)
            return str(_("have %(range)s points to spend", range=_between(number(rule.from_points), high)))
        case rules.StageRule():
            return str(_("are at the stage %(names)s", names=_either([members.STAGES[one] for one in rule.stages])))
        case rules.ValueRule():
            return str(_("have a value index of %(range)s", range=_between(rule.from_index, rule.to_index)))
        case rules.TieRule():
            return str(_("are tied by %(names)s", names=_either([members.TIES[one] for one in rule.ties])))
        case rules.BirthdayRule() if rule.in_days == 0:
            return str(_("have their birthday today"))
        case rules.BirthdayRule():
            return str(
                ngettext(
                    "have their birthday today or tomorrow",
                    "have their birthday in the next %(num)s days",
                    rule.in_days,
                )
            )
        case rules.CityRule():
            cities = _either(rule.names)
            return str(
                _("live in %(names)s", names=cities) if rule.inside else _("do not live in %(names)s", names=cities)
            )
        case rules.CameFromRule():
            return str(_("came through %(names)s", names=_either([members.source_label(one) for one in rule.sources])))
        case rules.DidRule():
            if rule.ever:
                return _within(DEEDS[rule.deed], rule.within_days)
            words = _NOT_DEEDS[rule.deed]
            return _within(words, rule.within_days) if rule.within_days else str(_("%(words)s so far", words=words))
        case rules.DueRule():
            return _due(rule)
        case rules.ForecastRule():
            return _foreseen(rule)
        case rules.EnrolledRule():
            return str(_("have joined as members") if rule.value else _("have not joined as members yet"))
        case rules.ConsentRule():
            name = contact(rule.channel)
            return str(
                _("agreed to offers by %(channel)s", channel=name)
                if rule.given
                else _("did not agree to offers by %(channel)s", channel=name)
            )
        case rules.SavedRule():
            name = queries.audience_name(rule.audience_id) or str(_("an audience that is gone"))
            return str(
                _("are in the audience “%(name)s”", name=name)
                if rule.inside
                else _("are not in the audience “%(name)s”", name=name)
            )
    raise rules.AudienceInvalid


def _bought_none(rule: rules.CategoryRule) -> str:
    named = _("bought nothing of the category “%(name)s”", name=rule.category)
    return _within(named, rule.within_days) if rule.within_days else str(_("%(words)s so far", words=named))


def _due(rule: rules.DueRule) -> str:
    words = (
        _("are due to buy “%(words)s” again", words=rule.words)
        if rule.words is not None
        else _("are due to buy something again")
    )
    if rule.in_days == 0:
        return str(_("%(words)s today", words=words))
    return str(ngettext("%(words)s by tomorrow", "%(words)s within %(num)s days", rule.in_days, words=words))


def _foreseen(rule: rules.ForecastRule) -> str:
    def shown(hundredths: int) -> str:
        if rule.measure == "value":
            return short_yuan(hundredths)
        return f"{hundredths / 100:g}" + ("%" if rule.measure == "alive" else "")

    high = None if rule.to_hundredths is None else shown(rule.to_hundredths)
    words = _between(shown(rule.from_hundredths), high)
    if rule.measure == "alive":
        return str(_("still buy with a probability of %(range)s", range=words))
    if rule.measure == "orders":
        return str(_("are expected to place %(range)s orders within %(days)s days", range=words, days=rule.in_days))
    return str(_("are expected to spend %(range)s within %(days)s days", range=words, days=rule.in_days))


def _group(rule: rules.GroupRule) -> str:
    if rule.group_id is None:
        if rule.within_days is None:
            return str(_("have a seat in a group") if rule.inside else _("have no seat in any group"))
        return _within(_("joined a group") if rule.inside else _("joined no group"), rule.within_days)
    name = queries.group_name(rule.group_id) or str(_("a group that is gone"))
    if rule.within_days is None:
        words = _("have a seat in the group %(name)s", name=name) if rule.inside else None
        return str(words or _("have no seat in the group %(name)s", name=name))
    words = _("joined the group %(name)s", name=name) if rule.inside else None
    return _within(words or _("did not join the group %(name)s", name=name), rule.within_days)


def _joined(found: Sequence[Any], match: str) -> str:
    """Several rules in a row, with "and" or "or" between them."""
    words = str(_(" and ") if match == "all" else _(" or "))
    return words.join(phrase(rule) for rule in found)


def _opened(words: str) -> str:
    return words[:1].upper() + words[1:]


def sentence(rule: Any) -> str:
    """One rule in words, as a line of a list."""
    if isinstance(rule, rules.TierRule):
        return _opened(_tiers(rule.ranks))
    if isinstance(rule, rules.Nested) and not rule.negated:
        return _opened(_joined(rule.rules, rule.match))
    return _opened(phrase(rule))


def sentences(definition: rules.Definition) -> list[str]:
    """Every rule in words; one sentence for rules of which any may hold, and for the audience that is everybody."""
    if not definition.rules:
        return [str(_("Everybody"))]
    if definition.match == "any" and len(definition.rules) > 1:
        return [_opened(_joined(definition.rules, "any"))]
    return [sentence(rule) for rule in definition.rules]


def whole(definition: rules.Definition) -> str:
    """The audience in one sentence: "VIP2 or higher who last ordered 30 to 60 days ago and never bought “tea”"."""
    found = list(definition.rules)
    if not found:
        return str(_("Everybody"))
    tiers = [rule for rule in found if isinstance(rule, rules.TierRule)]
    if definition.match == "all" and len(tiers) == 1:
        found.remove(tiers[0])
        names = _tiers(tiers[0].ranks)
        if not found:
            return _opened(names)
        return _opened(str(_("%(names)s who %(what)s", names=names, what=_joined(found, "all"))))
    return str(_("People who %(what)s", what=_joined(found, definition.match)))


@dataclass(frozen=True)
class Line:
    """One rule of an audience, as deep as it lies, with how many it holds for by itself."""

    level: int
    words: str
    reach: queries.Reach | None


def lines(definition: rules.Definition) -> list[Line]:
    """Every rule on every level in the order in which it is written, each with its count."""
    counts = iter(queries.line_counts(definition))

    def spoken(found: Sequence[Any], level: int) -> Iterator[Line]:
        for rule in found:
            reach = next(counts, None)
            if isinstance(rule, rules.Nested):
                yield Line(level, str(GROUPS[rule.match, rule.negated]), reach)
                yield from spoken(rule.rules, level + 1)
            else:
                yield Line(level, sentence(rule), reach)

    return list(spoken(definition.rules, 0))


GROUPS: dict[tuple[str, bool], Any] = {
    ("all", False): _l("All of these hold"),
    ("any", False): _l("Any of these holds"),
    ("all", True): _l("Not all of these hold"),
    ("any", True): _l("None of these holds"),
}
