"""The rules of an audience as sentences."""

from __future__ import annotations

from typing import Any

from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import short_yuan

from . import queries, rules

CHANNELS = {"inbox": _l("the inbox"), "email": _l("e-mail"), "sms": _l("SMS"), "call": _l("calls")}


def _list(words: list[str]) -> str:
    return str(_(", ")).join(words)


def _between(low: Any, high: Any | None) -> str:
    return _("%(low)s to %(high)s", low=low, high=high) if high is not None else _("%(low)s or more", low=low)


def sentence(rule: Any) -> str:
    """One rule in words."""
    match rule:
        case rules.TierRule():
            names = [f"VIP{rank}" if rank else str(_("below VIP1")) for rank in sorted(set(rule.ranks), reverse=True)]
            return _("Tier is %(names)s", names=_list(names))
        case rules.LastOrderRule() if rule.to_days is None:
            return _("Last order %(low)s or more days ago", low=rule.from_days)
        case rules.LastOrderRule():
            return _("Last order %(low)s to %(high)s days ago", low=rule.from_days, high=rule.to_days)
        case rules.BoughtRule():
            values = {"words": rule.words, "days": rule.within_days}
            if rule.ever:
                return (
                    _("Bought “%(words)s” in the last %(days)s days", **values)
                    if rule.within_days
                    else _("Has bought “%(words)s”", **values)
                )
            return (
                _("Did not buy “%(words)s” in the last %(days)s days", **values)
                if rule.within_days
                else _("Has never bought “%(words)s”", **values)
            )
        case rules.GroupRule():
            name = queries.group_name(rule.group_id) or str(_("a group that is gone"))
            return (
                _("Is in the group %(name)s", name=name)
                if rule.inside
                else _("Is not in the group %(name)s", name=name)
            )
        case rules.TagRule():
            carried = _list(queries.tag_names(rule.tag_ids) or [str(_("a tag that is gone"))])
            if rule.carried:
                return _("Carries one of the tags %(names)s", names=carried)
            return _("Carries none of the tags %(names)s", names=carried)
        case rules.SpendRule():
            high = None if rule.to_fen is None else short_yuan(rule.to_fen)
            return _("Has spent %(range)s", range=_between(short_yuan(rule.from_fen), high))
        case rules.OrdersRule():
            return _("Has ordered %(range)s times", range=_between(rule.from_count, rule.to_count))
        case rules.EnrolledRule():
            return _("Has joined as a member") if rule.value else _("Has not joined as a member yet")
        case rules.ConsentRule():
            return _("Agreed to offers by %(channel)s", channel=CHANNELS[rule.channel])
    raise rules.AudienceInvalid


def sentences(definition: rules.Definition) -> list[str]:
    """Every rule in words; one sentence for the audience that is everybody."""
    return [sentence(rule) for rule in definition.rules] or [str(_("Everybody"))]
