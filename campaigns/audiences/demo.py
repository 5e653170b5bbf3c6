"""The demo shop's audiences: one by its rules, one with rules within rules, one that leans on another, one list."""

from __future__ import annotations

from . import rules, services


def begin() -> None:
    """Save what a shop of this kind uses from week to week."""
    high = services.save(
        "60–120 天没下单的高级会员",
        rules.Definition(rules=(rules.TierRule(ranks=[2, 3, 4]), rules.LastOrderRule(from_days=60, to_days=120))),
    )
    worth = rules.Nested(
        match="any",
        rules=(rules.SpendRule(from_fen=500_00), rules.OrdersRule(from_count=3), rules.ValueRule(from_index=60)),
    )
    services.save(
        "值得唤醒的老客",
        rules.Definition(
            rules=(rules.LastOrderRule(from_days=60), worth, rules.SavedRule(audience_id=high.id, inside=False))
        ),
    )
    services.save(
        "买过还没入会",
        rules.Definition(rules=(rules.LastOrderRule(to_days=30), rules.EnrolledRule(value=False))),
    )
    best = services.save("VIP4 名单", rules.Definition(rules=(rules.TierRule(ranks=[4]),)))
    services.freeze(best)
    services.write_down(best.id)
