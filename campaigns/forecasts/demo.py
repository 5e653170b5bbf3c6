"""The demo shop's forecasts: a night's work on its real orders."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from kernel.db import db
from membership.products.models import Product

from . import services
from .abacus import Abacus

# Days that one piece lasts; these are bought by the dozen.
LASTING = {"21212": 4, "21080": 5}


def look_ahead(progress: Callable[[float], None]) -> None:
    """Learn how long things last, work out who is due, and fit the forecasts."""
    # What is used up at a rate that a colleague knows better than the gaps: a pack of cake cases, a set of napkins.
    for sku, days in LASTING.items():
        product_id = db.session.scalar(select(Product.id).where(Product.sku == sku))
        if product_id is not None:
            services.set_days(product_id, days)
    services.start_learning(now=True)
    while services.learn_on():
        pass
    progress(0.5)
    services.start_fitting(now=True)
    with Abacus() as abacus:
        while services.fit_on(abacus):
            pass
