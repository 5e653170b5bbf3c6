"""A form that makes something, sent twice: it is made once, and a secret that was shown stays the one that counts."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import func, select

from kernel.api_keys import ApiKey
from kernel.webhooks.models import WebhookEndpoint
from membership.gifts.models import Gift


def key_of(page: str) -> str:
    found = re.search(r'name="once" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_sent_twice_makes_once(db: Any, owner_client: Any) -> None:
    forms = [
        (
            "/console/api-keys",
            "/console/api-keys",
            {"name": "Till", "scopes": ["members:read"]},
            ApiKey,
        ),
        (
            "/console/webhooks/new",
            "/console/webhooks",
            {"url": "https://hooks.example/siyu", "types": ["member.enrolled"]},
            WebhookEndpoint,
        ),
        (
            "/console/gifts/new",
            "/console/gifts/new",
            {"name": "Cup", "kind": "physical", "stock": "5", "value": "1", "claim_days": "14", "active": "y"},
            Gift,
        ),
    ]
    for shown, url, typed, table in forms:
        count = select(func.count()).select_from(table)
        before, once = db.session.scalar(count), key_of(owner_client.get(shown).text)
        # What was refused keeps its key and may be sent again.
        refused = owner_client.post(url, data=typed | {"name": "", "url": "", "once": once})
        assert refused.status_code == 422, url
        assert key_of(refused.text) == once
        assert owner_client.post(url, data=typed | {"once": once}).status_code in (200, 302), url
        again = owner_client.post(url, data=typed | {"once": once})
        assert again.status_code == 302, url
        assert db.session.scalar(count) == before + 1, url
        # The same form opened anew, and one that was gone back to and filled in otherwise, are meant.
        other = key_of(owner_client.get(shown).text)
        assert owner_client.post(url, data=typed | {"once": other}).status_code in (200, 302), url
        assert owner_client.post(url, data=typed | {"once": other, "description": "A second"}).status_code in (200, 302)
        assert db.session.scalar(count) == before + 3, url


def test_secret_that_is_shown_is_not_replaced_by_loading_its_page_anew(db: Any, owner_client: Any) -> None:
    form = {"url": "https://hooks.example/siyu", "types": ["member.enrolled"]}
    page = owner_client.post("/console/webhooks", data=form).text
    endpoint = db.session.scalars(select(WebhookEndpoint)).one()
    url, once = f"/console/webhooks/{endpoint.id}/rotate", key_of(page)
    first = endpoint.secret
    assert owner_client.post(url, data={"once": once}).status_code == 200
    db.session.expire_all()
    second = endpoint.secret
    assert owner_client.post(url, data={"once": once}).status_code == 302
    db.session.expire_all()
    assert (endpoint.secret, endpoint.previous_secret) == (second, first)
