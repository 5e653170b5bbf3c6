"""Members and offers for the tests of coupons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from membership.coupons import services
from membership.coupons.models import CouponKind, Offer, OfferState
from tests.strays import strays


@pytest.fixture(autouse=True)
def no_strays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test of coupons does, no coupon is left that points at nothing."""
    found: Any = request.getfixturevalue("db") if "db" in request.fixturenames else None
    yield
    if found is not None and found.session.is_active:
        assert strays(found) == []


@pytest.fixture
def browse(browse: Callable[..., FlaskClient], clock: Any) -> Callable[..., FlaskClient]:
    """Staff at their browsers while time stands still."""
    return browse


@pytest.fixture
def make_offer(db: Any) -> Callable[..., Offer]:
    """`make_offer(stock=10, min_spend=9900)` makes a running offer of ¥20 off, 14 days from the claim."""

    def make(state: OfferState = OfferState.ACTIVE, **changes: Any) -> Offer:
        values: dict[str, Any] = {
            "name": "Spring",
            "kind": CouponKind.AMOUNT,
            "value": 2000,
            "valid_days": 14,
            **changes,
        }
        return services.create(services.Draft(**values), state)

    return make


@pytest.fixture
def tomorrow(clock: Any) -> Any:
    return clock.now() + timedelta(days=1)
