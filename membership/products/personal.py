"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from membership.members.services.personal import declare

from .models import Product

declare(
    Product,
    "id source sku title category list_price cost days_of_use picture created_at",
)
