"""Rows that point at nothing. An order's member and file, the order and the product of a line, and the policy by which somebody was
judged are no foreign keys (`models.Order` and `tiers.models.MemberTier` say why); every test of orders ends with this look instead,
and those of races and crashes too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

STRAYS = text(
    """
    SELECT 'line without an order', id FROM order_line l WHERE NOT EXISTS (SELECT FROM "order" o WHERE o.id = l.order_id)
    UNION ALL
    SELECT 'line without its product', id FROM order_line l
    WHERE product_id IS NOT NULL AND NOT EXISTS (SELECT FROM product p WHERE p.id = l.product_id)
    UNION ALL
    SELECT 'order without its file', id FROM "order" o
    WHERE run_id IS NOT NULL AND NOT EXISTS (SELECT FROM import_run r WHERE r.id = o.run_id)
    UNION ALL
    SELECT 'order without its member', id FROM "order" o
    WHERE member_id IS NOT NULL AND NOT EXISTS (SELECT FROM member m WHERE m.id = o.member_id)
    UNION ALL
    SELECT 'standing without its policy', member_id FROM member_tier t
    WHERE NOT EXISTS (SELECT FROM tier_policy p WHERE p.id = t.policy_id)
    UNION ALL
    SELECT 'change of tier without its policy', id FROM tier_change c
    WHERE NOT EXISTS (SELECT FROM tier_policy p WHERE p.id = c.policy_id)
    """
)


def strays(db: Any) -> list[tuple[str, int]]:
    """What points at nothing, and its id."""
    return [(what, row_id) for what, row_id in db.session.execute(STRAYS)]
