"""Check I6: the OpenAPI document is true. Schemathesis reads it and tries every operation in all its phases and checks.

The ordinary tier tries few examples an operation, the long tier a hundred thousand calls; both are seeded, so that a failure comes again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from contextvars import Context
from itertools import count
from threading import Thread
from typing import Any

import pytest
import schemathesis
from flask import Flask
from jsonschema_rs import Draft202012Validator
from schemathesis.engine import Status, events, from_schema
from werkzeug.serving import WSGIRequestHandler, make_server

from kernel import api_keys, clock
from kernel.config import ROOT
from kernel.http import operation_of
from kernel.idempotency import KEY
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.members import services as members
from membership.members.models import Channel
from membership.orders import services as orders
from membership.orders.formats.drafts import Buyer, LineDraft, OrderDraft
from membership.orders.models import OrderState, Payment
from membership.products import services as products

# Rules between fields, which no schema says: a body in the right form may break one and is told so as a mistake of the input.
BETWEEN_FIELDS: dict[str, str] = {
    "members.index": "channel and identity go together; a cursor comes from the list itself",
    "members.edit": "an empty text empties a field, null does not",
    "products.write": "texts are not null",
    "orders.record": "instants follow one another and do not lie ahead; no more is refunded than was paid",
    "orders.refund": "the moment does not lie ahead",
    "orders.record_shopify": "the shop system's own document, read as it comes",
    "orders.record_woocommerce": "the shop system's own document, read as it comes",
    "orders.record_youzan": "the shop system's own document, read as it comes",
    "coupons.validate": "the lines add up to the amount",
    "coupons.reserve": "either code or codes",
    "coupons.release": "either code or codes",
    "coupons.redeem": "either code or codes; the lines add up to the amount",
    "coupons.roll_back": "either code or codes",
}


@pytest.fixture
def document(app: Flask, db: Any) -> dict[str, Any]:
    answer = app.test_client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    return answer.json


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, entry) for path, methods in document["paths"].items() for method, entry in methods.items()]


# ── The document itself ─────────────────────────────────────────────────────────────────────────────────────────────


def test_every_route_of_the_interface_is_in_the_document(app: Flask) -> None:
    undeclared = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/") and operation_of(app.view_functions[rule.endpoint]) is None
    ]
    assert undeclared == ["/api/v1/openapi.json"]


def test_operations_have_one_name_each_a_scope_and_their_refusals(document: dict[str, Any]) -> None:
    names = [entry["operationId"] for _path, _method, entry in operations(document)]
    assert len(names) == len(set(names))
    for path, method, entry in operations(document):
        [scope] = entry["security"][0]["bearer"]
        assert scope in api_keys.SCOPES, path
        assert {"401", "403", "422", "429"} <= entry["responses"].keys(), path
        assert ("{" in path) <= ("404" in entry["responses"]), path
        if method != "get":
            assert {"413", "415"} <= entry["responses"].keys(), path
        assert "Retry-After" in entry["responses"]["429"]["headers"]


def test_whatever_makes_something_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    keyless = [
        entry["operationId"]
        for _path, method, entry in operations(document)
        if method != "get"
        and "#/components/parameters/IdempotencyKey" not in {p.get("$ref") for p in entry.get("parameters", [])}
    ]
    # Weighing coupons changes nothing.
    assert keyless == ["coupons.validate"]


def test_every_schema_is_json_schema_2020_12_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    for name in set(re.findall(r"#/components/schemas/(\w+)", text)):
        assert name in document["components"]["schemas"], name
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator({**schema, "components": document["components"]})
        assert "__" not in name


def test_bodies_and_answers_are_closed(document: dict[str, Any]) -> None:
    """Check A4: a field that is not in the document is refused on its way in and never goes out."""
    # What shop systems send is theirs to shape.
    foreign = {"Problem", "ShopifyIn", "WooCommerceIn", "YouzanIn"}
    open_ = [
        name
        for name, schema in document["components"]["schemas"].items()
        if "properties" in schema and schema.get("additionalProperties") is not False and name not in foreign
    ]
    assert open_ == []


def test_the_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    seen = 0
    for _path, _method, entry in operations(document):
        media = entry.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in media:
            seen += 1
            Draft202012Validator({**media["schema"], "components": document["components"]}).validate(media["example"])
    assert seen > 5


def test_the_document_is_the_same_on_paper_and_over_http(app: Flask, document: dict[str, Any]) -> None:
    done = Context().run(app.test_cli_runner().invoke, args=["openapi"])
    assert (done.exit_code, json.loads(done.output)) == (0, document)


def test_webhooks_are_in_the_document_with_their_data(document: dict[str, Any]) -> None:
    sent = document["webhooks"]
    assert {
        "order.recorded",
        "order.refunded",
        "member.merged",
        "coupon.redeemed",
        "gift.shipped",
        "tier.changed",
    } <= sent.keys()
    body = sent["order.recorded"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["data"] == {"$ref": "#/components/schemas/OrderRecordedMessage"}


def test_the_written_pages_name_every_scope_and_every_event(document: dict[str, Any]) -> None:
    written = (ROOT / "docs" / "api.md").read_text()
    scopes = {entry["security"][0]["bearer"][0] for _path, _method, entry in operations(document)}
    assert sorted(scope for scope in scopes if f"`{scope}`" not in written) == []
    events_written = (ROOT / "docs" / "webhooks.md").read_text()
    assert (
        sorted(name for name in document["webhooks"] if f"`{name}`" not in events_written and "probe" not in name) == []
    )


def test_the_reference_page_shows_every_operation_in_both_languages(
    app: Flask, staff_client: Any, document: dict[str, Any]
) -> None:
    client = staff_client("manager")
    for locale in ("zh_Hans", "en"):
        client.set_cookie("lang", locale)
        page = client.get("/console/settings/api-reference")
        assert page.status_code == 200
        for _path, _method, entry in operations(document):
            assert f'id="{entry["operationId"]}"' in page.text
    assert staff_client("viewer").get("/console/settings/api-reference").status_code == 403


# ── Schemathesis ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shop(db: Any) -> dict[str, list[Any]]:
    """A few of everything, and the numbers by which the operations may find them."""
    now = clock.now()
    people = members.find_or_make_many(
        [
            members.Person(
                ((Channel.PHONE, f"+86126000012{n:02d}"), (Channel.SHOP, f"buyer-{n}")), f"Name {n}", f"柠{n}"
            )
            for n in range(3)
        ]
    )
    members.enrol(people[0], "shop")
    members.tag(people[:2], "regular")
    mug, _made = products.write("shop", "MUG-1", {"title": "Mug", "list_price": 6000})
    drafts = [
        OrderDraft(
            external_id=f"A-{n}",
            state=OrderState.COMPLETED,
            payment=Payment.ONLINE,
            placed_at=now,
            paid_at=now,
            shipped_at=None,
            delivered_at=None,
            completed_at=now,
            closed_at=None,
            version_at=now,
            paid_amount=12_000,
            buyer=Buyer(phone=f"+86126000012{n:02d}"),
            lines=(LineDraft("MUG-1", "Mug", 2, 6_000),),
        )
        for n in range(3)
    ]
    orders.record_many("shop", drafts)
    bowl = gifts.create(gifts.Draft(name="Bowl", kind=GiftKind.PHYSICAL, stock=5))
    card = gifts.create(gifts.Draft(name="Card", kind=GiftKind.DIGITAL))
    claims = []
    for number, gift in enumerate((bowl, bowl, card, card)):
        claim = gifts.offer_gift(gift.id, people[number % 3], benefit=f"test:{number}")
        assert claim is not None
        claims.append(claim.id)
    gifts.claim(claims[0], people[0], "Li", "12600001200", "Zhejiang, Hangzhou, West Lake Road 1")
    gifts.claim(claims[2], people[2])
    offer = coupons.create(
        coupons.Draft(name="Spring", kind=CouponKind.AMOUNT, value=2000, valid_days=14), OfferState.ACTIVE
    )
    coupon_id = coupons.grant(offer.id, people[0], "test", "test").coupon_id
    db.session.commit()
    return {
        "member_id": people,
        "product_id": [mug.id],
        "gift_id": [bowl.id, card.id],
        "claim_id": claims,
        "offer_id": [offer.id],
        "coupon_id": [coupon_id],
        "source": ["shop"],
        "order": ["A-0", "A-1", "A-2"],
    }


def refusing(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Operations that may refuse with 422 what is in the right form, as their own `code` says or as `BETWEEN_FIELDS` does."""
    usual = {"input_invalid", "idempotency_key_invalid", "idempotency_key_reused"}
    found = []
    for _path, _method, entry in operations(document):
        codes = set(re.findall(r"^- `(\w+)`", entry["responses"]["422"]["description"], re.M)) - usual
        cursor = any(p.get("name") == "cursor" for p in entry.get("parameters", []))
        if codes or cursor or entry["operationId"] in BETWEEN_FIELDS:
            accepted = ["2xx", "3xx", "401", "403", "404", "409", "410", "422", "429"]
            found.append(
                {
                    "include-operation-id": entry["operationId"],
                    "checks": {"positive_data_acceptance": {"expected-statuses": accepted}},
                }
            )
    return found


def whole_numbers(value: Any) -> Any:
    """The same value with 5.0 written 5: to JSON Schema both are integers, the interface asks for the plain spelling."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole_numbers(one) for one in value]
    if isinstance(value, dict):
        return {name: whole_numbers(one) for name, one in value.items()}
    return value


def map_body(_context: Any, body: Any) -> Any:
    return whole_numbers(body)


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None: ...


def tried(
    app: Flask, document: dict[str, Any], shop: dict[str, list[Any]], examples: int, steps: int
) -> tuple[Counter[str], list[str]]:
    """Run every phase over the application; how many calls each operation got, and every failure in a sentence or two."""
    _row, token = api_keys.create("schemathesis", sorted(api_keys.SCOPES), per_minute=api_keys.MOST_PER_MINUTE)
    config = schemathesis.Config.from_dict(
        {
            "seed": 20260303,
            "headers": {"Authorization": f"Bearer {token}"},
            "generation": {"deterministic": True, "max-examples": examples, "no-shrink": True},
            "phases": {"stateful": {"max-steps": steps}},
            "dictionaries": {name: {"values": values} for name, values in shop.items()},
            "parameters": {f"path.{name}": {"dictionary": name, "probability": 0.7} for name in shop},
            "operations": refusing(document),
            "checks": {"object_level_authorization": {"enabled": False}},
        }
    )

    serial = count()

    def alone(environ: Any, start_response: Any) -> Any:
        # Each call has an application context of its own, as under a server, and an Idempotency-Key of its own: that a
        # used one is refused has its own tests.
        key = environ.get("HTTP_IDEMPOTENCY_KEY", "")
        if len(key) <= 240 and re.fullmatch(KEY, key):
            environ["HTTP_IDEMPOTENCY_KEY"] = f"{next(serial)}:{key}"
        return Context().run(app, environ, start_response)

    server = make_server("127.0.0.1", 0, alone, request_handler=Quiet)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.config.update(base_url=f"http://127.0.0.1:{server.server_port}/api/v1")
    schema.hook(map_body)
    calls: Counter[str] = Counter()
    wrong: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            for number in event.recorder.interactions:
                calls[event.recorder.cases[number].value.operation.label] += 1
            for number, checks in event.recorder.checks.items():
                for check in checks:
                    if check.status == Status.FAILURE:
                        interaction = event.recorder.interactions.get(number)
                        said = (
                            interaction.response.text[:300]
                            if interaction is not None and interaction.response is not None
                            else ""
                        )
                        sent = interaction.request if interaction is not None else None
                        text = f"{sent.method} {sent.uri} {(sent.body or b'')[:300]!r}" if sent is not None else ""
                        wrong.append(
                            f"[{event.phase.value}] {check.name}: {event.recorder.cases[number].value.operation.label}\n  {text}\n  {said}"
                        )
        elif isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(
                f"{type(event).__name__} {getattr(event, 'label', '')}: {event.info.format() if hasattr(event, 'info') else event}"
            )
    server.shutdown()
    server.server_close()
    return calls, wrong


def test_check_i6_the_document_is_true(app: Flask, document: dict[str, Any], shop: dict[str, list[Any]]) -> None:
    calls, wrong = tried(app, document, shop, examples=25, steps=4)
    assert wrong == [], "\n".join(sorted(set(wrong))[:30])
    assert len(calls) == len(operations(document))


@pytest.mark.long
def test_check_i6_the_document_is_true_a_hundred_thousand_times(
    app: Flask, document: dict[str, Any], shop: dict[str, list[Any]]
) -> None:
    calls, wrong = tried(app, document, shop, examples=2_000, steps=12)
    assert wrong == [], "\n".join(sorted(set(wrong))[:100])
    assert sum(calls.values()) >= 100_000
