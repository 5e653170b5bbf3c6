"""Published experiments through the report: its numbers are those that follow from the files alone."""

from __future__ import annotations

import csv
import gzip
import math
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from campaigns.pushes.models import CouponMode, Delivery, DeliveryState, Push, Run, RunState
from campaigns.results import queries, rules, services
from campaigns.results.models import Attribution, Kind
from community.groups.models import Group, GroupKind, GroupState
from community.posts.models import Post, PostKind, PostState, Reaction, ReactionKind
from kernel import clock as kernel_clock
from kernel import shop
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.coupons.rules import Basket
from membership.coupons.services import grants, offers
from membership.members.models import Member
from membership.orders.models import Order, OrderState

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
HILLSTROM = DATA / "hillstrom_first_16000.csv.gz"
JOURNEY = DATA / "cj_coupon_redemptions_2017q1.parquet"
Z95 = 1.959963984540054


def there(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"THE SHARED DATA IS NOT HERE: {path}")


def add(db: Any, table: Any, rows: list[dict[str, Any]]) -> None:
    for at in range(0, len(rows), 5_000):
        db.session.execute(insert(table), rows[at : at + 5_000])


def new_members(db: Any, count: int) -> list[int]:
    now = kernel_clock.now()
    rows = [{"created_at": now, "stage_since": now, "nickname": f"P{n}"} for n in range(count)]
    statement = insert(Member).returning(Member.id, sort_by_parameter_order=True)
    return [one for at in range(0, count, 1_000) for one in db.session.scalars(statement, rows[at : at + 1_000]).all()]


def begun(db: Any, push: Push, run: Run, at: datetime, terms: rules.Terms) -> None:
    run.state, run.started_at, run.finished_at, run.terms = RunState.COMPLETED, at, at, terms.written()
    run.scheduled_at = at
    db.session.flush()


# ── Hillstrom: an e-mail test with two wordings and a control arm ───────────────────────────────────────────────────


def truth(rows: list[dict[str, str]], column: str) -> dict[str, tuple[int, float, float]]:
    """People, mean and variance (n − 1) of a column by arm, from the file."""
    by_arm: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_arm[row["segment"]].append(float(row[column]))
    found = {}
    for arm, values in by_arm.items():
        mean = math.fsum(values) / len(values)
        found[arm] = (len(values), mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return found


def wilson(hits: float, people: int) -> tuple[float, float]:
    """The roots of (p − share)² = z² p (1 − p) / n, solved as a quadratic."""
    share = hits / people
    a, b, c = 1 + Z95**2 / people, -(2 * share + Z95**2 / people), share**2
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def newcombe(hits: float, people: int, others: float, held: int) -> tuple[float, float, float]:
    p, q = hits / people, others / held
    (low_p, high_p), (low_q, high_q) = wilson(hits, people), wilson(others, held)
    low = p - q - math.sqrt((p - low_p) ** 2 + (high_q - q) ** 2)
    high = p - q + math.sqrt((high_p - p) ** 2 + (q - low_q) ** 2)
    return low, p - q, high


def test_the_hillstrom_experiment_comes_out_as_it_was(db: Any, make_push: Any, clock: Any) -> None:
    there(HILLSTROM)
    with gzip.open(HILLSTROM, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16_000
    arms = ("Mens E-Mail", "Womens E-Mail", "No E-Mail")
    other = {"share": 50, "subject": "Womens", "body": "b", "subject_en": None, "body_en": None}
    push, run = make_push(subject="Mens", variants=[other], control_percent=33, attribution_days=14)
    start = kernel_clock.now() - timedelta(days=20)
    # A third each, as the experiment says of itself.
    begun(db, push, run, start, rules.Terms(14, holdout=0.0, control=100 / 3, shares=(50, 50)))
    ids = new_members(db, len(rows))
    add(db, Delivery, [
        {
            "run_id": run.id, "member_id": member_id, "slice_number": int(row["segment"] != arms[2]),
            "state": DeliveryState.CONTROL if row["segment"] == arms[2] else DeliveryState.ACCEPTED,
            "reason": "control" if row["segment"] == arms[2] else None,
            "variant": None if row["segment"] == arms[2] else arms.index(row["segment"]),
            "attempts": 1, "accepted_at": None if row["segment"] == arms[2] else start,
        }
        for member_id, row in zip(ids, rows, strict=True)
    ])  # fmt: skip
    bought = start + timedelta(days=3)
    add(db, Order, [
        {
            "source": "shop", "external_id": f"H{n}", "member_id": member_id, "state": OrderState.COMPLETED,
            "placed_at": bought, "paid_at": bought, "paid_amount": round(float(row["spend"]) * 100),
            "version_at": bought, "version_mark": "", "created_at": bought,
        }
        for n, (member_id, row) in enumerate(zip(ids, rows, strict=True)) if row["conversion"] == "1"
    ])  # fmt: skip
    # A visit is a post seen: a deed that both groups can do without a message.
    group = Group(
        public_id="hillstrom",
        name="G",
        kind=GroupKind.REGULAR,
        state=GroupState.OPEN,
        created_at=start,
        join_rule={},
    )
    post = Post(kind=PostKind.TIP, state=PostState.PUBLISHED, title="P", body="b", created_at=start)
    db.session.add_all([group, post])
    db.session.flush()
    add(db, Reaction, [
        {"post_id": post.id, "group_id": group.id, "member_id": member_id, "kind": ReactionKind.SEEN, "at": bought}
        for member_id, row in zip(ids, rows, strict=True) if row["visit"] == "1"
    ])  # fmt: skip

    report = queries.report(run, push)
    conversion, visit, spend = (truth(rows, column) for column in ("conversion", "visit", "spend"))
    mens, womens, nobody = arms
    # Both wordings together against nobody.
    written = [row for row in rows if row["segment"] != nobody]
    buyers = sum(int(row["conversion"]) for row in written)
    held, held_buyers = conversion[nobody][0], round(conversion[nobody][0] * conversion[nobody][1])
    assert (report.treated.people, report.treated.buyers) == (len(written), buyers)
    assert (report.control.people, report.control.buyers) == (held, held_buyers)
    assert report.share is not None
    expected = newcombe(buyers, len(written), held_buyers, held)
    assert (report.share.low, report.share.value, report.share.high) == pytest.approx(expected, abs=1e-12)
    both = [float(row["spend"]) for row in written]
    mean = math.fsum(both) / len(both)
    variance = math.fsum((value - mean) ** 2 for value in both) / (len(both) - 1)
    lift = mean - spend[nobody][1]
    spread = Z95 * math.sqrt(variance / len(both) + spend[nobody][2] / held)
    money = rules.money_difference(report.treated, report.control)
    assert money is not None
    assert [money.low / 100, money.value / 100, money.high / 100] == pytest.approx(
        [lift - spread, lift, lift + spread], rel=1e-9
    )
    # The file's split is that of the experiment.
    assert report.split is not None
    assert not report.alarming
    # Each wording by itself.
    for number, arm in enumerate((mens, womens)):
        people, share, _ = conversion[arm]
        one = report.wordings[number].arm
        assert (one.people, one.buyers) == (people, round(people * share))
        found = rules.share_difference(one, report.control)
        assert found is not None
        expected = newcombe(round(people * share), people, held_buyers, held)
        assert (found.low, found.value, found.high) == pytest.approx(expected, abs=1e-12)
        found = rules.money_difference(one, report.control)
        assert found is not None
        gap = spend[arm][1] - spend[nobody][1]
        width = Z95 * math.sqrt(spend[arm][2] / people + spend[nobody][2] / held)
        assert [found.low / 100, found.value / 100, found.high / 100] == pytest.approx(
            [gap - width, gap, gap + width], rel=1e-9
        )
    # Visits.
    treated, control = queries.did(run, report.terms, "seen")
    visits = round(visit[mens][0] * visit[mens][1]) + round(visit[womens][0] * visit[womens][1])
    assert (treated.people, treated.buyers) == (len(written), visits)
    found = rules.share_difference(treated, control)
    assert found is not None
    expected = newcombe(visits, len(written), round(held * visit[nobody][1]), held)
    assert (found.low, found.value, found.high) == pytest.approx(expected, abs=1e-12)
    # What is known of this experiment: mail brought visits, about six points of them, beyond doubt.
    assert found.clear
    assert 0.04 < found.value < 0.08


# ── Complete Journey (simulated): coupons of campaigns that went to chosen households ───────────────────────────────


def test_every_redemption_lies_in_its_campaign(db: Any, make_push: Any, clock: Any) -> None:
    there(JOURNEY)
    parquet = pytest.importorskip("pyarrow.parquet", reason="NO PYARROW: pip install -r requirements-dev.txt")

    def table(name: str) -> list[dict[str, Any]]:
        return list(parquet.read_table(DATA / f"{name}.parquet").to_pylist())

    redeemed = sorted(table("cj_coupon_redemptions_2017q1"), key=lambda row: (_day(row["redemption_date"]), str(row)))
    assert len(redeemed) == 95
    spans = {str(row["campaign_id"]): row for row in table("cj_campaign_descriptions")}
    wanted = {str(row["campaign_id"]) for row in redeemed}
    targeted: dict[str, set[str]] = defaultdict(set)
    for row in table("cj_campaigns"):
        if str(row["campaign_id"]) in wanted:
            targeted[str(row["campaign_id"])].add(str(row["household_id"]))

    shop.put("contact.per_day", None)
    households = sorted(set().union(*targeted.values()))
    member_of = dict(zip(households, new_members(db, len(households)), strict=True))
    runs: dict[str, tuple[Push, Run]] = {}
    starts = {campaign: _day(spans[campaign]["start_date"]) for campaign in wanted}
    for campaign in sorted(wanted):
        first, last = starts[campaign], _day(spans[campaign]["end_date"])
        clock.at(_noon(min(starts.values())))
        draft = offers.Draft(
            name=f"Campaign {campaign}",
            kind=CouponKind.AMOUNT,
            value=100,
            per_member=None,
            usable_from=kernel_clock.at(first),
            usable_until=kernel_clock.at(last + timedelta(days=1)),
        )
        offer = offers.create(draft, OfferState.ACTIVE)
        push, run = make_push(
            name=f"Campaign {campaign}",
            offer_id=offer.id,
            coupon_mode=CouponMode.GRANT,
            attribution_days=(last - first).days + 1,
        )
        begun(db, push, run, kernel_clock.at(first), rules.Terms((last - first).days + 1, holdout=0.0))
        add(db, Delivery, [
            {"run_id": run.id, "member_id": member_of[household], "slice_number": 1, "attempts": 1,
             "state": DeliveryState.ACCEPTED, "accepted_at": kernel_clock.at(first)}
            for household in sorted(targeted[campaign])
        ])  # fmt: skip
        runs[campaign] = (push, run)

    truth: Counter[str] = Counter()
    for number, row in enumerate(redeemed):
        campaign, household = str(row["campaign_id"]), str(row["household_id"])
        at = _noon(_day(row["redemption_date"]))
        clock.at(at)
        push, run = runs[campaign]
        member_id = member_of[household]
        assert push.offer_id is not None
        code = grants.grant(push.offer_id, member_id, f"cj:{number}", queries.source_of(run.id)).code
        placed = {"placed_at": at, "paid_at": at, "version_at": at, "created_at": at, "version_mark": ""}
        order = Order(
            source="shop", external_id=f"R{number}", member_id=member_id, state=OrderState.COMPLETED,
            paid_amount=900, **placed,
        )  # fmt: skip
        db.session.add(order)
        db.session.flush()
        coupons.redeem(code, "shop", order.external_id, Basket(amount=1_000))
        services.credit_order(order.id)
        truth[campaign] += 1

    rows = db.session.execute(
        select(Attribution.run_id, Attribution.member_id, Order.placed_at)
        .join(Order, Order.id == Attribution.order_id)
        .where(Attribution.kind == Kind.DIRECT)
    ).all()
    assert len(rows) == len(redeemed)
    campaign_of = {run.id: campaign for campaign, (_push, run) in runs.items()}
    household_of = {member_id: household for household, member_id in member_of.items()}
    for run_id, member_id, placed_at in rows:
        campaign = campaign_of[run_id]
        day = kernel_clock.local(placed_at).date()
        assert starts[campaign] <= day <= _day(spans[campaign]["end_date"])
        assert household_of[member_id] in targeted[campaign]
    for campaign, (push, run) in runs.items():
        report = queries.report(run, push)
        assert (report.redeemed, report.direct.orders, report.coupons) == (
            truth[campaign], truth[campaign], 100 * truth[campaign],
        )  # fmt: skip
        assert report.direct.money == 900 * truth[campaign]
        assert report.treated.people == len(targeted[campaign])
        # Whoever used a coupon ordered in the window: the household is among the buyers of the push.
        users = {row["household_id"] for row in redeemed if str(row["campaign_id"]) == campaign}
        assert report.treated.buyers >= len(users)
    assert db.session.scalar(select(func.count()).select_from(Attribution)) == len(redeemed)


def _day(value: Any) -> date:
    """A day of the file, which has dates, moments or texts."""
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 4, 0, tzinfo=UTC)
