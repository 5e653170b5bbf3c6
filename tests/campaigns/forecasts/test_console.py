"""The pages that look ahead: they work, refuse what is wrong, and a GET changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from campaigns.audiences.models import Audience
from campaigns.forecasts import queries
from campaigns.forecasts.models import ClockRun, ForecastModel, MemberForecast, ModelState
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role

from .conftest import learn_all


@pytest.fixture
def shop(db, clock, make_member, make_product, buy):
    """A tea that lasts ten days, and somebody who needs it again in three."""
    tea, cup = make_product("TEA-1", days=10, title="龙井"), make_product("CUP-1", title="杯子")
    person = make_member("Lime")
    buy(person, tea, 7)
    buy(person, cup, 7)
    learn_all()
    return {"tea": tea, "cup": cup, "person": person}


def page(staff_client: Any, path: str, role: Role = Role.MARKETER) -> str:
    answer = staff_client(role).get(path)
    assert answer.status_code == 200, path
    return answer.text


def test_products_with_their_clocks(shop, staff_client):
    text = page(staff_client, "/console/forecasts")
    assert "龙井" in text
    assert "10 天" in text
    assert "人工设定" in text
    assert "杯子" not in page(staff_client, "/console/forecasts?basis=set")
    assert "龙井" not in page(staff_client, "/console/forecasts?basis=none")
    assert "龙井" not in page(staff_client, "/console/forecasts?q=杯")
    for sort in ("title", "-title", "days", "-days", "gaps", "-gaps", "due", "nonsense"):
        assert "龙井" in page(staff_client, f"/console/forecasts?sort={sort}")
    lines = page(staff_client, "/console/forecasts/export").splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("TEA-1,龙井,,10.0,set,10,")


def test_empty_pages_say_what_to_do(db, staff_client):
    assert "还没有" in page(staff_client, "/console/forecasts")
    assert "暂时没有人该买" in page(staff_client, "/console/forecasts/due")
    assert "还没有预测" in page(staff_client, "/console/forecasts/model")
    assert "没有" in page(staff_client, "/console/forecasts?q=nothing")
    assert "没有" in page(staff_client, "/console/forecasts/due?q=nothing")


def test_a_product_s_days_are_set_and_reset(db, shop, staff_client):
    tea = shop["tea"]
    path = f"/console/forecasts/products/{tea.id}"
    assert "Lime" in page(staff_client, path)
    browser = staff_client(Role.MARKETER)
    for wrong in ("", "0", "-3", "9999", "ten"):
        answer = browser.post(path, data={"days": wrong})
        assert answer.status_code == 422
    assert queries.find_clock(tea.id).days == 10.0
    assert browser.post(path, data={"days": "25"}).status_code == 302
    assert (queries.find_clock(tea.id).days, tea.days_of_use) == (25.0, 25)
    assert browser.post(f"{path}/reset").status_code == 302
    assert (queries.find_clock(tea.id).days, tea.days_of_use) == (None, None)
    assert browser.get("/console/forecasts/products/999999").status_code == 404


def test_many_are_reset_at_once(db, shop, staff_client):
    answer = staff_client(Role.MANAGER).post("/console/forecasts/reset", data={"ids": [shop["tea"].id, "x", 10**18]})
    assert answer.status_code in (302, 404)
    answer = staff_client(Role.MANAGER).post("/console/forecasts/reset", data={"ids": [shop["tea"].id, "x"]})
    assert answer.status_code == 302
    assert shop["tea"].days_of_use is None


def test_who_is_due(shop, staff_client):
    text = page(staff_client, "/console/forecasts/due")
    assert "Lime" in text
    assert "Lime" in page(staff_client, f"/console/forecasts/due?days=14&product={shop['tea'].id}&q=lim")
    assert "Lime" in page(staff_client, f"/console/forecasts/due?q=%23{shop['person'].id}")
    assert "Lime" not in page(staff_client, f"/console/forecasts/due?product={shop['cup'].id}")
    lines = page(staff_client, f"/console/forecasts/due/export?product={shop['tea'].id}").splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"{shop['person'].id},Lime,TEA-1,龙井,")


def test_who_is_due_is_sorted(shop, staff_client, make_member, buy):
    buy(make_member("Lily"), shop["tea"], 18, pieces=2)
    learn_all()
    browser, address = staff_client(Role.MARKETER), "/console/forecasts/due"
    for sort, first in (
        ("", "Lily"), ("due", "Lily"), ("-due", "Lime"), ("bought", "Lily"), ("-bought", "Lime"),
        ("pieces", "Lime"), ("-pieces", "Lily"), ("x", "Lily"),
    ):  # fmt: skip
        listed = browser.get(f"{address}?sort={sort}").text
        file = browser.get(f"{address}/export?sort={sort}", buffered=True).text
        for text in (listed, file):
            assert (text.index("Lily") < text.index("Lime")) == (first == "Lily"), sort


def test_an_audience_of_them(db, shop, staff_client):
    answer = staff_client(Role.MARKETER).post(
        "/console/forecasts/due/audience", data={"days": "14", "product": str(shop["tea"].id)}
    )
    saved = db.session.scalars(select(Audience)).one()
    assert answer.location.endswith(f"/console/audiences/{saved.id}")
    assert saved.definition == {"rules": [{"kind": "due", "in_days": 14, "words": "TEA-1"}]}
    assert page(staff_client, f"/console/audiences/{saved.id}")


def test_the_builder_takes_both_kinds_of_rules(db, shop, staff_client):
    browser = staff_client(Role.MARKETER)
    typed = {
        "name": "Loyal", "rules-match": "all",
        "rules-0-kind": "due", "rules-0-in_days": "14", "rules-0-words": "",
        "rules-1-kind": "forecast", "rules-1-measure": "orders", "rules-1-in_days": "180",
        "rules-1-from_hundredths": "1.5", "rules-1-to_hundredths": "",
    }  # fmt: skip
    assert browser.post("/console/audiences/new", data=typed).status_code == 302
    saved = db.session.scalars(select(Audience)).one()
    assert saved.definition["rules"][1] == {
        "kind": "forecast", "measure": "orders", "in_days": 180, "from_hundredths": 150, "to_hundredths": None,
    }  # fmt: skip
    wrong = browser.post("/console/audiences/new", data=typed | {"rules-1-from_hundredths": "much"})
    assert wrong.status_code == 422
    assert "80 或 1.5" in wrong.text
    for days, status in (("7", 302), ("45", 302), ("730", 302), ("6", 422), ("731", 422), ("", 422)):
        assert browser.post("/console/audiences/new", data=typed | {"rules-1-in_days": days}).status_code == status


def test_the_member_s_page_says_what_they_need_and_what_is_expected(db, shop, staff_client):
    person = shop["person"]
    path = f"/console/members/{person.id}"
    text = page(staff_client, path)
    assert "可能该再买" in text
    assert "预测（估计值）" not in text
    db.session.add(
        MemberForecast(
            member_id=person.id, model_id=1, repeats=2, alive=0.734, orders_30=0.5, orders_90=1.25, orders_180=2.0,
            orders_365=3.0, order_value=8_000,
        )
    )  # fmt: skip
    db.session.flush()
    text = page(staff_client, path)
    assert "预测（估计值）" in text
    assert "73%" in text
    assert "¥100.00" in text


def fitted(db: Any, **changed: Any) -> ForecastModel:
    now = kernel_clock.now()
    values: dict[str, Any] = {
        "state": ModelState.DONE, "observed_from": kernel_clock.today(), "observed_until": kernel_clock.today(),
        "customers": 2357, "repeaters": 946, "scored": 2357, "started_at": now, "fitted_at": now, "finished_at": now,
        "fitted": {
            "buying": {"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259, "log_likelihood": -9582.43, "edge": True},
            "spending": {"p": 6.25, "q": 3.74, "gamma": 1544.0, "log_likelihood": -4055.92, "edge": False, "customers": 946},
            "calibration": {
                "split_on": "1997-09-30", "days": 273, "people": 2357, "actual": 1788.0, "expected": 1580.0,
                "naive": 1900.0, "buckets": [
                    {"repeats": 0, "people": 1411, "actual": 0.24, "expected": 0.2, "naive": 0.0},
                    {"repeats": 7, "people": 99, "actual": 4.5, "expected": 4.2, "naive": 12.0},
                ],
            },
        },
    }  # fmt: skip
    model = ForecastModel(**(values | changed))
    db.session.add(model)
    db.session.flush()
    return model


def test_the_model_card(db, staff_client):
    fitted(db)
    text = page(staff_client, "/console/forecasts/model")
    for said in ("0.2426", "4.4136", "-9582.43", "3.74", "¥15.44", "1,411", "-11.6%", "7 次及以上", "请谨慎看待"):
        assert said in text, said
    fitted(db, state=ModelState.SCORING)
    assert "正在重新拟合" in page(staff_client, "/console/forecasts/model")


def test_the_model_card_for_any_days_ahead(db, shop, staff_client):
    model = fitted(db)
    db.session.add(
        MemberForecast(
            member_id=shop["person"].id, model_id=model.id, repeats=2, alive=None, orders_7=1.0, orders_30=3.0,
            orders_90=9.0, orders_180=18.0, orders_365=36.5, orders_730=73.0, order_value=10_000,
        )
    )  # fmt: skip
    db.session.flush()
    for days, orders in ((90, 9), (60, 6), (700, 70)):
        text = page(staff_client, f"/console/forecasts/model?days={days}")
        assert f"{days} 天内预计订单" in text
        assert f"¥{orders * 100:,}.00" in text
    for wrong in ("6", "731", "abc", "-1", "１２"):
        text = page(staff_client, f"/console/forecasts/model?days={wrong}")
        assert 'role="alert"' in text
        assert "7 到 730 天" in text
    fitted(db, fitted=model.fitted | {"buying": model.fitted["buying"] | {"leaving": False, "edge": False}})
    assert "几乎看不出有人流失" in page(staff_client, "/console/forecasts/model")


def test_who_asks_for_a_fit_or_for_learning_is_written_down(db, staff_client):
    browser = staff_client(Role.MARKETER)
    assert browser.post("/console/forecasts/model/fit").status_code == 302
    assert browser.post("/console/forecasts/learn").status_code == 302
    # While one is under way nothing new is begun.
    assert browser.post("/console/forecasts/model/fit").status_code == 302
    rows = db.session.execute(select(AuditEntry.action, AuditEntry.staff_id).order_by(AuditEntry.id)).all()
    assert all(row.staff_id for row in rows if row.action.startswith("forecast."))
    assert [row.action for row in rows if row.action.startswith("forecast.")] == [
        "forecast.fit_asked", "forecast.learning_asked",
    ]  # fmt: skip


def test_the_model_card_without_enough(db, staff_client):
    fitted(db, state=ModelState.TOO_FEW, fitted={}, customers=12, repeaters=3)
    text = page(staff_client, "/console/forecasts/model")
    assert "数据不足" in text
    assert "0.2426" not in text
    fitted(db, state=ModelState.FAILED)
    assert "最近一次拟合失败" in page(staff_client, "/console/forecasts/model")


def test_a_model_without_a_trial_and_without_values(db, staff_client):
    model = fitted(db)
    model.fitted = {"buying": model.fitted["buying"], "calibration": None}
    text = page(staff_client, "/console/forecasts/model")
    assert "留不出一段来检验" in text
    assert "金额数据不足" in text


def test_work_is_begun_by_hand(db, shop, staff_client):
    browser = staff_client(Role.MARKETER)
    assert browser.post("/console/forecasts/learn").status_code == 302
    assert browser.post("/console/forecasts/model/fit").status_code == 302
    assert queries.last_clock_run().finished_at is None
    assert queries.last_model().state is ModelState.FITTING
    assert "正在统计间隔" in page(staff_client, "/console/forecasts")
    # Asked for twice it is begun once.
    runs = len(db.session.scalars(select(ClockRun)).all())
    browser.post("/console/forecasts/learn")
    assert len(db.session.scalars(select(ClockRun)).all()) == runs


@pytest.mark.parametrize("path", ["learn", "reset", "products/1", "products/1/reset", "due/audience", "model/fit"])
def test_who_may_only_look_changes_nothing(db, shop, staff_client, path):
    assert staff_client(Role.VIEWER).post(f"/console/forecasts/{path}", data={"days": "5"}).status_code == 403
    assert page(staff_client, "/console/forecasts", Role.VIEWER)


def test_a_get_writes_nothing(db, shop, staff_client):
    before = (len(db.session.scalars(select(ClockRun)).all()), len(db.session.scalars(select(ForecastModel)).all()))
    for path in ("", "/due", "/model", "/export", "/due/export", f"/products/{shop['tea'].id}"):
        page(staff_client, f"/console/forecasts{path}")
    after = (len(db.session.scalars(select(ClockRun)).all()), len(db.session.scalars(select(ForecastModel)).all()))
    assert after == before
