"""What came of runs, in a few set-wise statements: each number is one pass over the rows that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, or_, select

from campaigns.audiences import clauses
from campaigns.channels.models import ContactClass
from campaigns.pushes import queries as pushes
from campaigns.pushes.models import NOBODY, Delivery, DeliveryState, Push, Run, Slice
from kernel import clock
from kernel.db import db
from kernel.ports import Port
from membership.coupons.models import Coupon, CouponState, Redemption
from membership.orders import queries as orders
from membership.orders.models import Order

from . import rules
from .models import Attribution, Click, Kind

# The journeys, with the pushes of their steps: a statement with the columns `id`, `name`, `push_id`.
journeys: Port[[], Any] = Port("results.journeys")
MEASURED = [kind for kind in ContactClass if kind.budgeted]
# Of a run's deliveries those whose orders are compared; whoever could not be written to is in neither group.
COMPARED = or_(Delivery.slice_number > 0, Delivery.state == DeliveryState.CONTROL)


@dataclass(frozen=True)
class Credit:
    """Orders that are credited to a run, their money net of refunds and after coupons (分), and what those coupons took off."""

    orders: int = 0
    money: int = 0
    coupons: int = 0


@dataclass(frozen=True)
class Wording:
    """What came of one wording of a push: who was to get it, who opened its link, who bought."""

    number: int
    arm: rules.Arm
    clicked: int

    @property
    def clicks(self) -> rules.Arm:
        """Those who clicked, in the place of buyers, so that the same arithmetic holds."""
        return rules.Arm(people=self.arm.people, buyers=self.clicked)


@dataclass(frozen=True)
class Report:
    """What came of one run. The three numbers are never added together."""

    terms: rules.Terms
    sent: int
    clicked: int
    claimed: int
    redeemed: int
    # What the run's own coupons took off (分).
    coupons: int
    direct: Credit
    influenced: Credit
    treated: rules.Arm
    control: rules.Arm
    since: datetime | None
    until: datetime | None
    split: rules.Split | None = None
    wordings: Sequence[Wording] = field(default_factory=tuple)
    wording_split: rules.Split | None = None
    # What the channel reported of messages that it had taken: that they arrived, or that they did not.
    delivered: int = 0
    undelivered: int = 0
    # Of a message to a whole group: how often its link was opened, and by how many members whose browser is known.
    visits: int | None = None
    visitors: int = 0
    # Whether the message holds a link by which it can be told who opened it.
    linked: bool = True

    @property
    def reported(self) -> bool:
        """Whether the channel has reported of any message."""
        return bool(self.delivered or self.undelivered)

    @property
    def complete(self) -> bool:
        """Whether the window in which orders are looked at is over."""
        return self.until is not None and self.until <= clock.now()

    @property
    def alarming(self) -> bool:
        """Whether people were not shared out as meant, so that what the groups did must not be compared."""
        return any(split is not None and split.alarming for split in (self.split, self.wording_split))

    @property
    def enough(self) -> bool:
        """Whether the comparison can carry a verdict: enough people, and those shared out as meant."""
        return rules.enough(self.treated, self.control) and not self.alarming

    @property
    def needed(self) -> int | None:
        return rules.needed_in_control(self.treated, self.control)

    @property
    def share(self) -> rules.Interval | None:
        return rules.share_difference(self.treated, self.control)

    @property
    def extra_orders(self) -> rules.Interval | None:
        """More orders in all, because of the run."""
        found = rules.orders_difference(self.treated, self.control)
        return found.times(self.treated.people) if found else None

    @property
    def extra_money(self) -> rules.Interval | None:
        """More money in all (分), because of the run: net of refunds, and after coupons as it was paid."""
        found = rules.money_difference(self.treated, self.control)
        return found.times(self.treated.people) if found else None

    @property
    def messages(self) -> int | None:
        """What the messages cost (分); None where the account has no price."""
        return rules.messages_cost(self.sent, self.terms.price)

    def profit(self, credit: Credit) -> int | None:
        """What remains of credited orders (分); None without a margin."""
        if self.terms.margin is None:
            return None
        return round(rules.profit_of(credit.money, credit.coupons, self.messages or 0, self.terms.margin))

    @property
    def extra_profit(self) -> rules.Interval | None:
        """What the run earned (分) that would not have been earned without it; None without a margin."""
        if self.extra_money is None or self.terms.margin is None:
            return None
        values = (
            rules.profit_of(money, self.coupons, self.messages or 0, self.terms.margin)
            for money in (self.extra_money.low, self.extra_money.value, self.extra_money.high)
        )
        return rules.Interval(*values)


def terms_of(run: Run, push: Push) -> rules.Terms:
    """How a run is measured."""
    return rules.Terms.read(run.terms, push.attribution_days)


def source_of(run_id: int) -> str:
    """What stands as the source on coupons that a run brought."""
    return f"push:{run_id}"


def _coupons_on(order: Any) -> Any:
    """What live coupons took off an order."""
    return (
        select(func.coalesce(func.sum(Redemption.discount), 0))
        .where(
            Redemption.source == order.source,
            Redemption.order_external_id == order.external_id,
            Redemption.rolled_back_at.is_(None),
        )
        .correlate(Order)
        .scalar_subquery()
    )


def _credits(by: Any) -> Any:
    return (
        select(
            by,
            Attribution.kind,
            func.count(),
            func.coalesce(func.sum(orders.spend()), 0),
            func.coalesce(func.sum(_coupons_on(Order)), 0),
        )
        .join(Order, Order.id == Attribution.order_id)
        .where(orders.counts())
        .group_by(by, Attribution.kind)
    )


def _credit(count: Any, money: Any, coupons: Any) -> Credit:
    return Credit(int(count), int(money), int(coupons))


def credits_of(run_ids: list[int]) -> dict[tuple[int, Kind], Credit]:
    """The credited orders of several runs by kind, in one statement."""
    rows = db.session.execute(_credits(Attribution.run_id).where(Attribution.run_id.in_(run_ids)))
    return {(run_id, kind): _credit(*sums) for run_id, kind, *sums in rows}


def arms(run: Run, days: int) -> tuple[rules.Arm, rules.Arm]:
    """Those who were to be written to and those held out, with what they ordered in the window of so many days."""
    if run.started_at is None:
        return rules.Arm(), rules.Arm()
    found = sums(_people(run, case((Delivery.slice_number > 0, 1), else_=0)), *rules.window_of(run.started_at, days))
    return found.get(1, rules.Arm()), found.get(0, rules.Arm())


def _people(run: Run, group: Any) -> Any:
    return select(Delivery.member_id, group.label("treated")).where(Delivery.run_id == run.id, COMPARED)


def compared(people: Any, since: datetime, until: datetime) -> tuple[rules.Arm, rules.Arm]:
    """Two groups, given as a statement of `member_id` and `treated` (1 or 0), with what they ordered: see `sums`."""
    found = sums(people, since, until)
    return found.get(1, rules.Arm()), found.get(0, rules.Arm())


def sums(people: Any, since: datetime, until: datetime) -> dict[int, rules.Arm]:
    """Groups of people, given as a statement of `member_id` and `treated` (the group's number), with what they ordered in
    `[since, until)`.

    A third column `since` lets somebody's orders count from a later moment on.
    """
    group = people.cte("people")
    bought: Any = (
        select(Order.member_id, func.count().label("orders"), func.sum(orders.spend()).label("money"))
        .where(Order.placed_at >= since, Order.placed_at < until, Order.member_id.is_not(None), orders.counts())
        .group_by(Order.member_id)
    )
    if "since" in group.c:
        bought = bought.join(group, group.c.member_id == Order.member_id).where(Order.placed_at >= group.c.since)
    bought = bought.subquery("bought")
    placed = func.coalesce(bought.c.orders, 0)
    spent = func.coalesce(bought.c.money, 0)
    rows = db.session.execute(
        select(
            group.c.treated,
            func.count(),
            func.count(bought.c.member_id),
            func.sum(placed),
            func.sum(placed * placed),
            func.sum(spent),
            func.sum(spent * spent),
        )
        .select_from(group.outerjoin(bought, bought.c.member_id == group.c.member_id))
        .group_by(group.c.treated)
    )
    return {row[0]: rules.Arm(*(int(v or 0) for v in row[1:])) for row in rows}


def did(run: Run, terms: rules.Terms, deed: str) -> tuple[rules.Arm, rules.Arm]:
    """Of those who were to be written to and those held out, how many did a deed (`audiences.rules.DEEDS`) in the window.

    Those who did stand in the place of buyers.
    """
    if run.started_at is None:
        return rules.Arm(), rules.Arm()
    since, until = rules.window_of(run.started_at, terms.window_days)
    acts = clauses.who_did(deed).subquery("acts")
    doers = select(acts.c.member_id).where(acts.c.at >= since, acts.c.at < until).group_by(acts.c.member_id).subquery()
    group = _people(run, case((Delivery.slice_number > 0, 1), else_=0)).subquery("people")
    rows = db.session.execute(
        select(group.c.treated, func.count(), func.count(doers.c.member_id))
        .select_from(group.outerjoin(doers, doers.c.member_id == group.c.member_id))
        .group_by(group.c.treated)
    )
    found = {row[0]: rules.Arm(people=row[1], buyers=row[2]) for row in rows}
    return found.get(1, rules.Arm()), found.get(0, rules.Arm())


@dataclass(frozen=True)
class Ends:
    """Of a run's deliveries: to be written to, held out of everything or of this push, sent, clicked, reported, to a group."""

    written_to: int
    held_out: int
    own_control: int
    sent: int
    clicked: int
    delivered: int
    undelivered: int
    shared: int


def ends_of(run: Run) -> Ends:
    """What became of a run's deliveries, in one pass."""
    control = Delivery.state == DeliveryState.CONTROL
    # Reports come for what is in doubt or failed as well; of what was sent they say how much arrived.
    sent = Delivery.state == DeliveryState.ACCEPTED
    row = db.session.execute(
        select(
            func.count().filter(Delivery.slice_number > 0),
            func.count().filter(control, Delivery.reason == "held_out"),
            func.count().filter(control, Delivery.reason == "control"),
            func.count().filter(sent),
            func.count(Delivery.clicked_at),
            func.count().filter(sent, Delivery.delivered_at.is_not(None)),
            func.count().filter(sent, Delivery.undelivered_at.is_not(None), Delivery.delivered_at.is_(None)),
            func.count().filter(Delivery.member_id == NOBODY),
        ).where(Delivery.run_id == run.id)
    ).one()
    return Ends(*row)


def visits_of(run: Run) -> tuple[int, int]:
    """How often the links of a run were opened, and by how many members whose browser is known."""
    row = db.session.execute(
        select(func.count(), func.count(Click.member_id.distinct()).filter(Click.member_id != NOBODY)).where(
            Click.run_id == run.id
        )
    ).one()
    return row[0], row[1]


def wordings_of(run: Run, terms: rules.Terms) -> list[Wording]:
    """What came of each wording that competes; empty for one wording."""
    if len(terms.shares) < 2 or run.started_at is None:
        return []
    since, until = rules.window_of(run.started_at, terms.window_days)
    written = Delivery.slice_number > 0, Delivery.variant.is_not(None)
    people = select(Delivery.member_id, Delivery.variant.label("treated")).where(Delivery.run_id == run.id, *written)
    found = sums(people, since, until)
    clicks = select(Delivery.variant, func.count(Delivery.clicked_at)).where(Delivery.run_id == run.id, *written)
    clicked = {row[0]: row[1] for row in db.session.execute(clicks.group_by(Delivery.variant))}
    return [
        Wording(number, found.get(number, rules.Arm()), clicked.get(number, 0)) for number in range(len(terms.shares))
    ]


def coupons_of(run: Run, push: Push) -> tuple[int, int, int]:
    """The coupons that a run brought: how many were taken, how many used, and what those took off (分)."""
    if push.offer_id is None:
        return 0, 0, 0
    row = db.session.execute(
        select(
            func.count(Coupon.id.distinct()),
            func.count(Coupon.id.distinct()).filter(Coupon.state == CouponState.REDEEMED),
            func.coalesce(func.sum(Redemption.discount), 0),
        )
        .select_from(Coupon)
        .outerjoin(Redemption, and_(Redemption.coupon_id == Coupon.id, Redemption.rolled_back_at.is_(None)))
        .where(Coupon.offer_id == push.offer_id, Coupon.source == source_of(run.id))
    ).one()
    return row[0], row[1], int(row[2])


def report(run: Run, push: Push) -> Report:
    """Everything about what came of a run."""
    terms = terms_of(run, push)
    ends = ends_of(run)
    visits, visitors = visits_of(run) if ends.shared else (None, 0)
    claimed, redeemed, coupons = coupons_of(run, push)
    credits = credits_of([run.id])
    # What is said to a whole group is held out from nobody, and compared with nothing.
    treated, control = (rules.Arm(), rules.Arm()) if ends.shared else arms(run, terms.window_days)
    window = rules.window_of(run.started_at, terms.window_days) if run.started_at else (None, None)
    wordings = wordings_of(run, terms)
    # Whoever waits for the winner gets it whatever the shares were, so that only a push without that is looked at.
    shared_out = push.sample_percent is None
    return Report(
        terms=terms,
        sent=ends.sent,
        clicked=ends.clicked,
        claimed=claimed,
        redeemed=redeemed,
        coupons=coupons,
        direct=credits.get((run.id, Kind.DIRECT), Credit()),
        influenced=credits.get((run.id, Kind.INFLUENCED), Credit()),
        treated=treated,
        control=control,
        since=window[0],
        until=window[1],
        split=None if ends.shared else rules.holdout_split(ends.written_to, ends.held_out, ends.own_control, terms),
        delivered=ends.delivered,
        undelivered=ends.undelivered,
        visits=visits,
        visitors=visitors,
        linked=bool(ends.shared or ends.clicked) or pushes.linked(push),
        wordings=wordings,
        wording_split=rules.wording_split([one.arm.people for one in wordings], terms.shares) if shared_out else None,
    )


_holdout = func.coalesce(Run.terms["holdout"].as_float(), 1.0)


def holdout_meant(since: datetime, until: datetime) -> float | None:
    """The percentage that the marketing of `[since, until)` was to hold out of everything; None where it was not always the same."""
    found = db.session.scalars(
        select(_holdout)
        .join(Push, and_(Push.id == Run.push_id, Push.contact_class.in_(MEASURED)))
        .where(Run.started_at >= since, Run.started_at < until, Run.terms.is_not(None), _holdout > 0)
        .distinct()
        .limit(2)
    ).all()
    return found[0] if len(found) == 1 else None


def pooled(since: datetime, until: datetime) -> tuple[rules.Arm, rules.Arm]:
    """All marketing that began in `[since, until)` and held anybody out, together: each person once, as held out or not.

    Somebody's orders count from their first run on, until the end of the interval. Who was held out of single pushes alone
    belongs to those who were not held out; who stands on both sides, because the hold-out was changed meanwhile, to neither.
    """
    held = and_(Delivery.state == DeliveryState.CONTROL, Delivery.reason == "held_out")
    treated = case((held, 0), else_=1)
    people = (
        select(
            Delivery.member_id,
            func.max(treated).label("treated"),
            func.min(Run.started_at).label("since"),
        )
        .join(Run, and_(Run.id == Delivery.run_id, Run.started_at >= since, Run.started_at < until))
        .join(Push, and_(Push.id == Run.push_id, Push.contact_class.in_(MEASURED)))
        .where(COMPARED, _holdout > 0)
        .group_by(Delivery.member_id)
        .having(func.max(treated) == func.min(treated))
    )
    return compared(people, since, until)


# ── Several pushes ──────────────────────────────────────────────────────────────────────────────────────────────────


def get_runs(run_ids: Sequence[int]) -> list[tuple[Run, Push]]:
    """Runs that have begun with their pushes, in the order asked for; unknown ones are left out."""
    rows = db.session.execute(
        select(Run, Push).join(Push, Push.id == Run.push_id).where(Run.id.in_(run_ids), Run.started_at.is_not(None))
    )
    found = {run.id: (run, push) for run, push in rows}
    return [found[run_id] for run_id in run_ids if run_id in found]


def begun(limit: int = 60) -> list[tuple[Run, Push]]:
    """The latest runs of marketers' pushes that have begun, to choose from."""
    statement = (
        select(Run, Push)
        .join(Push, Push.id == Run.push_id)
        .where(Run.started_at.is_not(None), Push.origin == "marketer")
        .order_by(Run.started_at.desc(), Run.id.desc())
        .limit(limit)
    )
    return [(run, push) for run, push in db.session.execute(statement)]


@dataclass(frozen=True)
class JourneySums:
    """What the pushes of a journey's steps brought in a period, all together."""

    id: int
    name: str
    runs: int
    sent: int
    clicked: int
    direct: Credit
    influenced: Credit
    treated: rules.Arm
    control: rules.Arm

    @property
    def enough(self) -> bool:
        return rules.enough(self.treated, self.control)

    @property
    def extra_money(self) -> rules.Interval | None:
        found = rules.money_difference(self.treated, self.control)
        return found.times(self.treated.people) if found else None


def by_journey(since: datetime, until: datetime) -> list[JourneySums]:
    """Journeys whose pushes wrote to somebody in `[since, until)`, each with the sums of its steps.

    A person counts once a journey, with their orders from their first message (or hold-out) there to the interval's end.
    """
    named = [statement for statement in journeys.call() if statement is not None]
    if not named:
        return []
    steps = named[0].cte("steps")
    runs = (
        select(steps.c.id, Run.id.label("run_id"), Run.started_at)
        .join(Run, Run.push_id == steps.c.push_id)
        .where(Run.started_at >= since, Run.started_at < until)
        .cte("runs")
    )
    sent = {
        row[0]: row[1:]
        for row in db.session.execute(
            select(runs.c.id, func.count(runs.c.run_id.distinct()), func.coalesce(func.sum(Slice.accepted), 0))
            .outerjoin(Slice, Slice.run_id == runs.c.run_id)
            .group_by(runs.c.id)
        )
    }
    clicks = (
        select(runs.c.id, func.count(Click.delivery_id.distinct()))
        .join(Click, Click.run_id == runs.c.run_id)
        .group_by(runs.c.id)
    )
    clicked = {row[0]: row[1] for row in db.session.execute(clicks)}
    credited = _credits(runs.c.id).join(runs, runs.c.run_id == Attribution.run_id)
    credits = {(row[0], row[1]): _credit(*row[2:]) for row in db.session.execute(credited)}
    held = case((Delivery.state == DeliveryState.CONTROL, 0), else_=1)
    found = []
    for number, name in db.session.execute(select(steps.c.id, steps.c.name).distinct().order_by(steps.c.id)):
        if number not in sent:
            continue
        people = (
            select(Delivery.member_id, func.max(held).label("treated"), func.min(runs.c.started_at).label("since"))
            .join(runs, and_(runs.c.run_id == Delivery.run_id, runs.c.id == number))
            .where(COMPARED)
            .group_by(Delivery.member_id)
            .having(func.max(held) == func.min(held))
        )
        treated, control = compared(people, since, until)
        found.append(
            JourneySums(
                number,
                name,
                sent[number][0],
                int(sent[number][1]),
                clicked.get(number, 0),
                credits.get((number, Kind.DIRECT), Credit()),
                credits.get((number, Kind.INFLUENCED), Credit()),
                treated,
                control,
            )
        )
    return found


def clicked_of(run_ids: list[int]) -> dict[int, int]:
    """How many members of each run opened its link, in one statement."""
    rows = db.session.execute(
        select(Click.run_id, func.count(Click.member_id.distinct()))
        .where(Click.run_id.in_(run_ids))
        .group_by(Click.run_id)
    )
    return {row[0]: row[1] for row in rows}
