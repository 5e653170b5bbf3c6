"""What the demo shop shows of pushes: festivals, a series, wordings that compete, one for the groups."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind
from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.products import services as products
from membership.products.models import Product

from . import festivals, services


def begin() -> None:
    """Write the calendar's festivals and three pushes that lie ahead; nothing of it is sent while the shop is loaded."""
    festivals.starters(clock.today())
    marketer = db.session.scalar(select(Staff.id).where(Staff.email == "marketer@shop.example"))
    inbox = channels.inbox_account().id
    monday = clock.today() + timedelta(days=7 - clock.today().weekday())
    _push, run = services.draft(
        marketer,
        name="每周一的会员早报",
        account_id=inbox,
        audience={"rules": [{"kind": "tier", "ranks": [2, 3, 4]}]},
        subject="{nickname}，本周新品到了",
        body="{shop}本周为{tier}备好了新品，进来看看。",
        subject_en="{nickname}, new this week",
        body_en="New pieces are in for {tier}. Have a look.",
        link_url="/me/",
        rrule="FREQ=WEEKLY;BYDAY=MO",
        usual_hour=True,
        contact_class="broadcast",
    )
    services.schedule(run, clock.at(monday, 10))
    _push, run = services.draft(
        marketer,
        name="老客回访：两版标题比一比",
        account_id=inbox,
        audience={"rules": [{"kind": "last_order", "from_days": 60, "to_days": 150}]},
        subject="{nickname}，上次买的用得还好吗",
        body="有任何问题都可以直接回复我们，老客专享价也在这里：{link}",
        variants=[
            {
                "share": 50,
                "subject": "{nickname}，老客专享价只留三天",
                "body": "三天内下单享老客价：{link}",
                "subject_en": None,
                "body_en": None,
            }
        ],
        sample_percent=30,
        winner_after_hours=6,
        control_percent=10,
        link_url="/me/",
        utm={"source": "siyu", "medium": "inbox", "campaign": "laoke"},
    )
    services.schedule(run, clock.at(clock.today() + timedelta(days=3), 19))
    _say_it_in_the_groups(marketer)


# A teapot and a shelf's worth of cups, with pictures of the demo shop.
_SHOWN = {"21527": "demo/tea.webp", "22139": "demo/shelf.webp"}


def _say_it_in_the_groups(marketer: int | None) -> None:
    """One message for the feed of the shop's groups, with two products below it."""
    feed = db.session.scalar(select(Account.id).where(Account.kind == ChannelKind.GROUP_POST).limit(1))
    if feed is None:
        return
    cards = []
    for product in db.session.scalars(select(Product).where(Product.sku.in_(_SHOWN)).order_by(Product.sku)):
        products.show(product, _SHOWN[product.sku])
        cards.append({"product_id": product.id, "url": f"https://shop.example/{product.sku}"})
    _push, run = services.draft(
        marketer,
        name="群里先看：秋冬茶具",
        account_id=feed,
        audience={"rules": []},
        subject="秋冬茶具上新，群友先看",
        body="天凉了，泡一壶热的。这几件刚到店，群里先看：",
        cards=cards,
        contact_class="broadcast",
        stop_when_bought=False,
    )
    services.schedule(run, clock.at(clock.today() + timedelta(days=2), 20))
