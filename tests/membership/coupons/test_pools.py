"""Codes that are typed: made, read in, entered by members and at the checkout; each gives one coupon at most."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from kernel import api_keys, visitors
from kernel.auth import Role
from kernel.errors import InputInvalid
from membership.coupons import brief, codes, jobs, queries, rules, services
from membership.coupons.models import CodePool, Coupon, OfferState, PoolCode, PoolKind
from membership.coupons.services import pools, typed
from membership.coupons.services.claims import claim_here


def filled(pool: CodePool) -> CodePool:
    while pools.fill(pool.id):
        pass
    return pool


def codes_of(db: Any, pool: CodePool) -> list[str]:
    return list(db.session.scalars(select(PoolCode.code).where(PoolCode.pool_id == pool.id).order_by(PoolCode.id)))


def test_generated_codes_are_distinct_hard_to_guess_and_clear_to_read(db: Any, make_offer: Callable) -> None:
    pool = filled(pools.generate(make_offer().id, "Cards", 5_000, "spring", 14, 4))
    made = codes_of(db, pool)
    assert (len(made), len(set(made)), pool.accepted, pool.body) == (5_000, 5_000, 5_000, None)
    assert all(re.fullmatch("SPRING[0-9A-HJKMNP-TV-Z]{14}", code) for code in made)
    # 14 characters of 32: 70 random bits without the prefix.
    assert codes.grouped(made[0], "SPRING", 4).count("-") == 4


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": " "}, "name"), ({"number": 0}, "number"), ({"number": 500_001}, "number"), ({"length": 12}, "length"),
        ({"prefix": "春天"}, "prefix"), ({"prefix": "x" * 11}, "prefix"), ({"group": 9}, "group"),
    ],
)  # fmt: skip
def test_weak_or_odd_patterns_are_refused(db: Any, make_offer: Callable, change: dict[str, Any], place: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        pools.generate(make_offer().id, **{"name": "Cards", "number": 10, **change})
    assert [where for where, _ in refused.value.errors] == [place]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_file_of_codes_is_taken_with_every_line_accounted_for(db: Any, make_offer: Callable, encoding: str) -> None:
    offer = make_offer()
    filled(pools.take_file(offer.id, "Old", b"TAKEN-001\n"))
    lines = "编号,券码,备注\n1,abc-123,x\n2, ABC123 ,同码\n3,,空\n4,带汉字的码,坏\n5,taken001,\n6,ok99\n7,x1,短\n"
    pool = filled(pools.take_file(offer.id, "Partner", lines.encode(encoding)))
    assert codes_of(db, pool) == ["ABC123", "OK99"]
    assert pool.rejects == [
        [3, "ABC123", "repeated"], [4, "", "empty"], [5, "带汉字的码", "malformed"], [6, "TAKEN001", "taken"],
        [8, "x1", "malformed"],
    ]  # fmt: skip
    # rows in = accepted + rejected.
    assert (pool.total, pool.done, pool.accepted, len(pool.rejects)) == (7, 7, 2, 5)


def test_a_code_that_is_a_coupons_code_is_not_taken(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer = make_offer()
    code = services.claim(offer.id, make_member().id).code
    pool = filled(pools.take_file(offer.id, "Odd", code.lower().encode()))
    assert pool.rejects == [[1, code, "taken"]]
    with pytest.raises(InputInvalid):
        pools.make_shared(offer.id, "Odd", code)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"code\n", b"\xff\xfe\x00\xff\xff"])
def test_a_file_without_codes_is_refused(db: Any, make_offer: Callable, content: bytes) -> None:
    with pytest.raises((InputInvalid, pools.FileUnreadable)):
        pools.take_file(make_offer().id, "Empty", content)


def test_a_run_goes_on_where_it_stood(db: Any, make_offer: Callable, run_jobs: Callable) -> None:
    pool = pools.generate(make_offer().id, "Cards", pools.SLICE * 2 + 5)
    assert pools.fill(pool.id)
    assert (pool.done, pool.finished_at) == (pools.SLICE, None)
    # The worker died: the sweep finds what is left.
    jobs.resume_coupon_work.direct()
    assert "membership.coupons.jobs.fill_pool" in run_jobs()
    assert db.session.scalar(select(func.count()).where(PoolCode.pool_id == pool.id)) == pools.SLICE * 2 + 5
    assert pools.unfinished() == []
    assert not pools.fill(pool.id)


def test_a_single_code_gives_one_coupon_to_one_person(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer, first, second = make_offer(), make_member(), make_member()
    code = codes_of(db, filled(pools.generate(offer.id, "Cards", 1)))[0]
    coupon_id, fresh = typed.enter(f" {code[:4].lower()}-{code[4:].lower()} ", first)
    assert fresh
    assert typed.enter(code, first) == (coupon_id, False)
    with pytest.raises(rules.CodeTaken):
        typed.enter(code, second)
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1
    assert db.session.get_one(Coupon, coupon_id).source.startswith("code:")


def test_the_code_of_ones_own_coupon_leads_to_it(db: Any, make_offer: Callable, make_member: Callable) -> None:
    mine, other = make_member(), make_member()
    granted = claim_here(make_offer().id, mine.id, "console")
    code = db.session.get_one(Coupon, granted.coupon_id).code
    assert typed.enter(f" {code[:4].lower()}-{code[4:]} ", mine) == (granted.coupon_id, False)
    with pytest.raises(rules.UnknownCode):
        typed.enter(code, other)


def test_a_code_whose_claim_is_refused_stays_free(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer, member = make_offer(per_member=1), make_member()
    services.claim(offer.id, member.id)
    code = codes_of(db, filled(pools.generate(offer.id, "Cards", 1)))[0]
    with pytest.raises(rules.CodeGivesNothing):
        typed.enter(code, member)
    assert typed.enter(code, make_member())[1]


def test_inv_i18_a_code_is_found_however_it_is_typed_and_is_unique_ignoring_case(
    db: Any, make_offer: Callable, make_member: Callable
) -> None:
    offer = make_offer()
    pools.make_shared(offer.id, "Poster", "Summer-20")
    for again in ("SUMMER20", "summer20", " Sum mer20 ", "ＳＵＭＭＥＲ２０"):
        with pytest.raises(InputInvalid):
            pools.make_shared(offer.id, "Poster", again)
    assert typed.enter("summer 20", make_member())[1]


def test_a_shared_code_gives_each_member_theirs(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer, first, second = make_offer(stock=2), make_member(), make_member()
    pools.make_shared(offer.id, "Poster", "SUMMER20")
    mine = typed.enter("SUMMER20", first)
    assert typed.enter("SUMMER20", first) == (mine[0], False)
    assert typed.enter("SUMMER20", second)[1]
    with pytest.raises(rules.SoldOut):
        typed.enter("SUMMER20", make_member())


def test_withdrawn_codes_give_nothing_and_take_nothing_back(
    db: Any, make_offer: Callable, make_member: Callable
) -> None:
    offer, member = make_offer(), make_member()
    pool = filled(pools.generate(offer.id, "Cards", 2))
    used, free = codes_of(db, pool)
    coupon_id, _fresh = typed.enter(used, member)
    pools.close(offer.id, pool.id)
    assert typed.enter(used, member) == (coupon_id, False)
    with pytest.raises(rules.CodeClosed):
        typed.enter(free, make_member())


def test_guessing_is_limited(db: Any, make_offer: Callable, make_member: Callable) -> None:
    member = make_member()
    for _ in range(typed.TRIES_AN_HOUR):
        with pytest.raises(rules.UnknownCode):
            typed.enter("GUESS1", member)
    with pytest.raises(typed.TooManyTries):
        typed.enter("GUESS1", member)


# ── At the checkout ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def send(client: FlaskClient, db: Any) -> Callable[..., tuple[int, dict[str, Any]]]:
    token = api_keys.create("till", ["coupons:redeem"])[1]

    def post(path: str, body: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"}
        answer = client.post(f"/api/v1/coupons/{path}", json=body, headers=headers)
        return answer.status_code, answer.get_json()

    return post


def test_a_code_typed_at_the_checkout_becomes_the_buyers_coupon_and_is_used(
    db: Any, send: Callable, make_offer: Callable
) -> None:
    offer = make_offer()
    single = codes_of(db, filled(pools.generate(offer.id, "Cards", 1)))[0]
    weighed = send("validate", {"codes": [single], "amount": 9900})[1]
    assert (weighed["best"], weighed["discount"]) == ([single], 2000)
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 0
    said = {"code": single, "source": "shop", "order": "A-1", "amount": 9900}
    assert send("redeem", said)[1]["code"] == "buyer_needed"
    buyer = {"phone": "126 0000 7777"}
    status, used = send("redeem", said | {"buyer": buyer})
    assert (status, used["discount"]) == (200, 2000)
    assert send("redeem", said | {"buyer": buyer})[1]["replayed"]
    other = send("redeem", said | {"order": "A-2", "buyer": {"phone": "126 0000 8888"}})
    assert (other[1]["code"], other[1]["order"]) == ("already_redeemed", "A-1")
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1


def test_a_shared_code_at_the_checkout_is_the_buyers_own(db: Any, send: Callable, make_offer: Callable) -> None:
    offer = make_offer()
    pools.make_shared(offer.id, "Poster", "SUMMER20")
    for number, phone in enumerate(("12600007777", "12600008888")):
        said = {"code": "summer20", "source": "shop", "order": f"A-{number}", "amount": 9900, "buyer": {"phone": phone}}
        assert send("redeem", said)[0] == 200
    again = {"code": "SUMMER20", "source": "shop", "order": "A-9", "amount": 9900, "buyer": {"phone": "12600007777"}}
    assert send("redeem", again)[1]["code"] == "already_redeemed"
    assert send("redeem", again | {"buyer": {"phone": "not a phone"}})[0] == 422


def test_a_refused_redemption_leaves_no_coupon_and_no_bound_code(db: Any, send: Callable, make_offer: Callable) -> None:
    offer = make_offer(min_spend=99_00)
    code = codes_of(db, filled(pools.generate(offer.id, "Cards", 1)))[0]
    said = {"code": code, "source": "shop", "order": "A-1", "amount": 100, "buyer": {"phone": "12600007777"}}
    assert send("redeem", said)[1]["code"] == "below_minimum"
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 0
    assert db.session.scalar(select(PoolCode.coupon_id)) is None


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def text_of(page: Any) -> str:
    return page.get_data(as_text=True)


def test_the_page_makes_reads_shares_and_withdraws(
    db: Any, staff_client: Callable, make_offer: Callable, run_jobs: Callable
) -> None:
    import io

    offer, browser = make_offer(), staff_client(Role.MARKETER)
    browser.set_cookie("lang", "en")
    base = f"/console/offers/{offer.id}/codes"
    assert "No codes yet" in text_of(browser.get(base))
    assert browser.post(f"{base}/shared", data={"shared-code": "HELLO1", "shared-name": "Poster"}).status_code == 303
    assert "in use already" in text_of(
        browser.post(f"{base}/shared", data={"shared-code": "hello-1", "shared-name": "x"})
    )
    asked = {"name": "Cards", "number": "30", "prefix": "S", "length": "13", "group": "4"}
    assert browser.post(f"{base}/generate", data=asked).status_code == 303
    file = (io.BytesIO(b"P-0001\nP-0001\n"), "partner.csv")
    assert browser.post(f"{base}/import", data={"file-name": "Partner", "file-file": file}).status_code == 303
    assert text_of(browser.get(base)).count("Under way") == 2
    run_jobs()
    page = text_of(browser.get(base))
    assert "HELLO1" in page
    assert "1 line was not taken" in page
    pool = db.session.scalars(select(CodePool).where(CodePool.name == "Partner")).one()
    assert "2,P-0001,It stands in the file twice" in text_of(browser.get(f"{base}/{pool.id}/rejects"))
    assert "P0001" in text_of(browser.post(f"{base}/{pool.id}/export"))
    assert browser.post(f"{base}/{pool.id}/close").status_code == 303
    assert "Withdrawn" in text_of(browser.get(base))
    for wrong in ({"number": "0"}, {"number": "x"}, {"name": ""}, {"prefix": "ä"}, {"length": "5"}, {"group": "99"}):
        assert browser.post(f"{base}/generate", data=asked | wrong).status_code == 422, wrong
    assert browser.post(f"{base}/import", data={"file-name": "Partner"}).status_code == 422
    viewer = staff_client(Role.VIEWER)
    assert viewer.post(f"{base}/generate", data=asked).status_code == 403
    assert viewer.post(f"{base}/{pool.id}/export").status_code == 403


def test_a_member_types_a_code_on_their_page(
    app: Any, client: FlaskClient, db: Any, make_offer: Callable, make_member: Callable, clock: Any
) -> None:
    offer, member = make_offer(), make_member()
    pools.make_shared(offer.id, "Poster", "SUMMER20")
    with app.test_request_context():
        row = visitors._fresh(member.id, "token-of-a-browser", identified=False)
        db.session.add(row)
        db.session.commit()
    client.set_cookie("visitor", "token-of-a-browser")
    client.set_cookie("lang", "en")
    assert "I have a code" in text_of(client.get("/me/coupons"))
    assert client.post("/me/coupons/codes", data={"code": ""}).status_code == 422
    for code, words in (("NOTHING1", "No such coupon"), ("summer-20", "It is yours"), ("SUMMER20", "Already yours")):
        answer = client.post("/me/coupons/codes", data={"code": code})
        assert answer.status_code == 303
        assert words in text_of(client.get(answer.location))


def test_a_pool_that_runs_low_is_on_the_brief(
    app: Any, db: Any, staff_client: Callable, make_offer: Callable, make_member: Callable
) -> None:
    offer = make_offer(name="Cards offer")
    pool = filled(pools.generate(offer.id, "Cards", 10))
    assert queries.low_pools() == []
    for code in codes_of(db, pool)[:9]:
        typed.enter(code, make_member())
    assert [(low.id, left) for low, _offer, left in queries.low_pools()] == [(pool.id, 1)]
    browser = staff_client(Role.OWNER)
    browser.set_cookie("lang", "en")
    assert "1 code is left of “Cards” (Cards offer)" in text_of(browser.get("/console/"))
    services.set_state(offer.id, OfferState.ENDED)
    assert queries.low_pools() == []
    assert brief.MANY == 10
    assert pool.kind == PoolKind.SINGLE
