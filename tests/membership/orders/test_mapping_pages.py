"""Pages that say which column is which, saved mappings, rates, workbooks, and the command that uses them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from sqlalchemy import select, text

from kernel.auth import Role
from membership.orders import queries
from membership.orders.models import ColumnMapping, ImportRun, RunState
from membership.orders.services import mappings
from tests.membership.orders.formats.test_shopify import FIRST, SECOND
from tests.membership.orders.formats.test_shopify import HEADING as SHOPIFY

from .files import HEADING as OWN
from .files import line, numbers
from .formats.test_mapping import HEADING, ROW
from .formats.test_xlsx import book
from .test_pages import upload

ENGLISH = {"Accept-Language": "en"}
CHOSEN = {
    "column_order_no": "单号", "column_placed_at": "下单日期", "column_paid_amount": "实付金额", "column_state": "状态",
    "column_buyer_phone": "手机", "column_title": "商品名称", "column_quantity": "数量", "state": "", "dates": "ymd", "unit": "yuan",
    "source": "stall", "name": "", "do": "use",
}  # fmt: skip


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


def content(rows, heading=HEADING) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([heading, *rows])
    return out.getvalue().encode()


ROWS = [[f"A-{n}", *ROW[1:]] for n in range(3)] + [
    ["A-3", ROW[1], "many", *ROW[3:]],
    ["A-4", *ROW[1:3], "已入库", *ROW[4:]],
]


@pytest.fixture
def waiting(owner_client, db) -> ImportRun:
    address = upload(owner_client, content(ROWS), "list.csv", "stall").headers["Location"]
    return queries.get_run(int(address.rpartition("/")[2]))


def test_unknown_heading_waits_for_somebody_to_say_what_it_is(waiting, owner_client, db):
    assert (waiting.state, waiting.format) == (RunState.WAITING, "")
    page = owner_client.get(f"/console/imports/{waiting.id}", headers=ENGLISH).text
    assert "Say which column is which" in page
    assert "单号, 下单日期" in page
    assert owner_client.post(f"/console/imports/{waiting.id}/start").status_code == 409
    assert "The columns are not known yet" in owner_client.get("/console/imports", headers=ENGLISH).text


def test_heading_that_is_nearly_known_names_what_is_missing(owner_client, db):
    heading = ["order_no", "placed_at", "state", "sku", "quantity", "title"]
    address = upload(owner_client, content([["1", "2026-01-01 10:00", "paid", "x", "1", "t"]], heading)).headers[
        "Location"
    ]
    page = owner_client.get(address, headers=ENGLISH).text
    assert "paid_amount" in page
    assert "unit_price" in page
    youzan = ["订单号", "订单创建时间", "买家昵称", "买家手机号", "交易成功时间", "订单实收金额"]
    address = upload(owner_client, content([["1"] * 6], youzan)).headers["Location"]
    page = owner_client.get(address, headers=ENGLISH).text
    assert "“Youzan order export”" in page
    assert "买家是否会员, 销售渠道, 订单来源" in page


def test_columns_are_guessed_and_the_first_lines_are_shown_as_they_would_be_taken(waiting, owner_client, db):
    page = owner_client.get(f"/console/imports/{waiting.id}/columns", headers=ENGLISH).text
    assert '<option selected value="单号">' in page
    assert "138****0000" in page
    assert "13800000000" not in page
    assert "Not an amount in yuan" in page
    assert "many" in page
    assert "The mapping does not say what this state means" in page
    assert ">已入库" in page


def test_looking_again_changes_nothing(waiting, owner_client, db):
    answer = owner_client.post(
        f"/console/imports/{waiting.id}/columns",
        data=CHOSEN | {"do": "look", "column_paid_amount": "单价", "name": "x"},
    )
    assert answer.status_code == 200
    assert "¥60.00" in answer.text
    db.session.refresh(waiting)
    assert (waiting.format, mappings.all_of_them()) == ("", [])


def test_file_is_read_by_its_mapping_and_the_next_one_by_itself(waiting, owner_client, db, run_jobs):
    answer = owner_client.post(
        f"/console/imports/{waiting.id}/columns",
        data=CHOSEN | {"name": "Market stall", "word_0": "paid"},
    )
    assert answer.status_code == 303
    db.session.refresh(waiting)
    assert (waiting.format, waiting.source, waiting.options["mapping_name"]) == ("mapped", "stall", "Market stall")
    assert "Market stall" in owner_client.get(f"/console/imports/{waiting.id}").text
    owner_client.post(f"/console/imports/{waiting.id}/start")
    run_jobs()
    db.session.refresh(waiting)
    assert (waiting.rows_in, waiting.accepted, waiting.rejected) == (5, 4, 1)
    assert numbers(db) == ["A-0", "A-1", "A-2", "A-4"]
    assert queries.find_order("stall", "A-4").state == "paid"

    turned = [HEADING[-1], *HEADING[:-1]]
    address = upload(owner_client, content([[ROW[-1], "A-9", *ROW[1:-1]]], turned), "next.csv", source="")
    # The source field may stay empty only where a mapping was chosen: nobody knows yet whose file this is.
    assert address.status_code == 422
    mapping = mappings.find_named("Market stall")
    for fields in ({"source": "stall"}, {"source": "", "format": f"mapping:{mapping.id}"}):
        where = upload(owner_client, content([[ROW[-1], "A-9", *ROW[1:-1]]], turned), "next.csv", **fields).headers[
            "Location"
        ]
        run = queries.get_run(int(where.rpartition("/")[2]))
        assert (run.format, run.source, run.options["mapping_name"]) == ("mapped", "stall", "Market stall")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"column_order_no": ""}, "Order number"),
        ({"column_state": "", "state": ""}, "State"),
        ({"source": "Own Shop"}, "small letters"),
        ({"column_order_no": "nowhere"}, "choice"),
        ({"dates": "roman"}, "choice"),
    ],
)
def test_mapping_that_lacks_something_is_not_used(waiting, owner_client, db, fields, said):
    answer = owner_client.post(f"/console/imports/{waiting.id}/columns", data=CHOSEN | fields, headers=ENGLISH)
    assert answer.status_code == 422
    assert said in answer.text
    db.session.refresh(waiting)
    assert waiting.format == ""


def test_name_of_another_mapping_is_not_taken_over(waiting, owner_client, db):
    mappings.save(
        "Other", ["a", "b"], mappings.mapped.Plan({"order_no": "a", "placed_at": "b", "paid_amount": "b"}, "paid")
    )
    answer = owner_client.post(
        f"/console/imports/{waiting.id}/columns", data=CHOSEN | {"name": "Other"}, headers=ENGLISH
    )
    assert answer.status_code == 422
    assert "There is a mapping of this name already" in answer.text
    assert mappings.find_named("Other").heading == ["a", "b"]


def test_known_file_may_be_mapped_as_well(owner_client, db):
    address = upload(owner_client, content([line()], OWN)).headers["Location"]
    page = owner_client.get(f"{address}/columns", headers=ENGLISH)
    assert page.status_code == 200
    assert '<option selected value="order_no">' in page.text


def test_file_that_was_started_is_mapped_no_more(owner_client, db):
    address = upload(owner_client, content([line()], OWN)).headers["Location"]
    owner_client.post(f"{address}/start")
    assert owner_client.get(f"{address}/columns").status_code == 409
    assert owner_client.post(f"{address}/columns", data=CHOSEN).status_code == 409


@pytest.fixture
def saved(db) -> ColumnMapping:
    plan = mappings.mapped.guessed(HEADING)
    mapping = mappings.save("Market stall", HEADING, plan)
    db.session.commit()
    return mapping


def test_mapping_is_changed_and_deleted(saved, owner_client, db):
    assert "Market stall" in owner_client.get("/console/imports/mappings").text
    address = f"/console/imports/mappings/{saved.id}"
    assert '<option selected value="手机">' in owner_client.get(address).text
    answer = owner_client.post(address, data=CHOSEN | {"name": "Stall", "unit": "fen"})
    assert answer.status_code == 303
    db.session.refresh(saved)
    assert (saved.name, saved.plan["unit"], saved.plan["source"]) == ("Stall", "fen", "stall")
    assert owner_client.post(f"{address}/delete").status_code == 303
    assert mappings.all_of_them() == []
    assert owner_client.get(address).status_code == 404
    assert db.session.scalar(text("SELECT count(*) FROM audit_entry WHERE action = 'mapping.deleted'")) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "Give the mapping a name"),
        ({"name": "Other"}, "There is a mapping of this name already"),
        ({"column_order_no": ""}, "Order number"),
        ({"source": "Own Shop"}, "small letters"),
    ],
)
def test_change_that_makes_no_sense_is_not_saved(saved, owner_client, db, fields, said):
    mappings.save(
        "Other", ["a", "b"], mappings.mapped.Plan({"order_no": "a", "placed_at": "b", "paid_amount": "b"}, "paid")
    )
    answer = owner_client.post(
        f"/console/imports/mappings/{saved.id}", data=CHOSEN | {"name": "Stall"} | fields, headers=ENGLISH
    )
    assert answer.status_code == 422
    assert said in answer.text
    db.session.refresh(saved)
    assert saved.name == "Market stall"


def test_there_is_an_end_to_mappings(saved, db, monkeypatch):
    monkeypatch.setattr(mappings, "MOST_MAPPINGS", 1)
    with pytest.raises(mappings.TooManyMappings):
        mappings.save("Second", HEADING, mappings.mapped.guessed(HEADING))
    assert mappings.save("First", HEADING, mappings.mapped.guessed(HEADING), mapping=saved) is saved


def test_deleted_mapping_leaves_its_files_readable(saved, owner_client, db, run_jobs):
    address = upload(owner_client, content(ROWS), "list.csv", "stall").headers["Location"]
    mappings.delete(saved)
    db.session.commit()
    owner_client.post(f"{address}/start")
    run_jobs()
    assert numbers(db) == ["A-0", "A-1", "A-2"]


def test_rejected_lines_of_a_mapped_file_are_corrected_by_the_same_mapping(saved, owner_client, db, run_jobs):
    address = upload(owner_client, content(ROWS), "list.csv", "stall").headers["Location"]
    owner_client.post(f"{address}/start")
    run_jobs()
    downloaded = owner_client.post(f"{address}/rejects/export").text.replace(",many,", ",5.00,").encode()
    mappings.delete(saved)
    db.session.commit()
    where = upload(owner_client, downloaded, "rejects.csv", "elsewhere").headers["Location"]
    owner_client.post(f"{where}/start")
    run_jobs()
    run = queries.get_run(int(where.rpartition("/")[2]))
    db.session.refresh(run)
    assert (run.format, run.source, run.accepted, run.rejected) == ("mapped", "stall", 1, 1)
    assert numbers(db) == ["A-0", "A-1", "A-2", "A-3"]


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_mappings_are_for_the_manager_and_the_owner(saved, waiting, staff_client, role):
    client = staff_client(role)
    for path in (
        "/console/imports/mappings",
        f"/console/imports/mappings/{saved.id}",
        f"/console/imports/{waiting.id}/columns",
    ):
        assert client.get(path).status_code == 403
    assert client.post(f"/console/imports/mappings/{saved.id}/delete").status_code == 403
    assert client.post(f"/console/imports/{waiting.id}/columns", data=CHOSEN).status_code == 403
    assert client.post(f"/console/imports/{waiting.id}/rates").status_code == 403


# ── Currencies ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def dollars(clock) -> bytes:
    from datetime import UTC, datetime

    clock.at(datetime(2026, 7, 20, 4, 0, tzinfo=UTC))
    rows = [FIRST | {"Currency": "USD"}, SECOND, FIRST | {"Name": "#1002", "Id": "2"}]
    return content([[told.get(name, "") for name in SHOPIFY] for told in rows], SHOPIFY)


def test_orders_in_another_currency_are_rejected_until_there_is_a_rate(dollars, owner_client, db, run_jobs):
    address = upload(owner_client, dollars, "orders_export.csv", "shop").headers["Location"]
    page = owner_client.get(address, headers=ENGLISH).text
    assert "Orders in another currency" in page
    assert "1 USD in yuan (one order)" in page
    assert "The order is in another currency, and no rate was given for it" in page
    wrong = owner_client.post(f"{address}/rates", data={"rate-USD": "cheap"}, headers=ENGLISH)
    assert wrong.status_code == 422
    assert "A rate is how many yuan" in wrong.text
    assert owner_client.post(f"{address}/rates", data={"rate-USD": "7.00", "rate-EUR": "8"}).status_code == 303
    run = queries.get_run(int(address.rpartition("/")[2]))
    db.session.refresh(run)
    assert run.options["rates"] == {"USD": "7.00"}
    owner_client.post(f"{address}/start")
    run_jobs()
    db.session.refresh(run)
    assert (run.accepted, run.rejected) == (3, 0)
    assert queries.find_order("shop", "4507894690001").paid_amount == 896_00
    assert owner_client.post(f"{address}/rates", data={"rate-USD": "8"}).status_code == 409


def test_without_a_rate_only_those_orders_are_rejected(dollars, owner_client, db, run_jobs):
    address = upload(owner_client, dollars, "orders_export.csv", "shop").headers["Location"]
    owner_client.post(f"{address}/start")
    run_jobs()
    run = queries.get_run(int(address.rpartition("/")[2]))
    db.session.refresh(run)
    assert (run.rows_in, run.accepted, run.rejected) == (3, 1, 2)


# ── Workbooks and the command ───────────────────────────────────────────────────────────────────────────────────────


def test_workbook_is_uploaded_like_any_file(owner_client, db, run_jobs, tmp_path):
    made = book(tmp_path / "a.xlsx", [OWN, line(), line(order_no="B2", quantity=0)], sheets=("说明", "一月"))
    address = upload(owner_client, made.read_bytes(), "a.xlsx").headers["Location"]
    page = owner_client.get(address, headers=ENGLISH).text
    assert "一月 (one other sheet was not read)" in page
    owner_client.post(f"{address}/start")
    run_jobs()
    assert numbers(db) == ["A1"]
    assert "2" in owner_client.post(f"{address}/rejects/export").text


def test_broken_workbook_is_explained(owner_client, db, tmp_path):
    made = book(tmp_path / "a.xlsx", [OWN, line()]).read_bytes()
    at = made.index(b"xl/worksheets/sheet1.xml") + 60
    broken = made[:at] + b"spoilt" + made[at + 6 :]
    page = owner_client.get(upload(owner_client, broken, "a.xlsx").headers["Location"], headers=ENGLISH).text
    assert "damaged or not a real .xlsx" in page
    assert db.session.scalars(select(ImportRun.state)).all() == [RunState.FAILED]


@pytest.fixture
def siyu(app, db):
    return lambda *arguments: app.test_cli_runner().invoke(args=["orders", "import", *arguments])


def test_command_reads_by_a_mapping_and_with_rates(siyu, saved, db, tmp_path, dollars):
    listed = tmp_path / "list.csv"
    listed.write_bytes(content(ROWS))
    answer = siyu(str(listed), "--source", "stall", "--mapping", "Market stall", "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.output)
    assert (told["format"], told["accepted"], told["rejected"]) == ("mapped", 3, 2)
    exported = tmp_path / "orders.csv"
    exported.write_bytes(dollars)
    told = json.loads(siyu(str(exported), "--source", "shop", "--rate", "USD=7", "--json").output)
    assert (told["format"], told["accepted"], told["rejected"]) == ("shopify", 3, 0)
    assert siyu(str(listed), "--source", "stall", "--mapping", "No such").exit_code == 1
    assert siyu(str(exported), "--source", "shop", "--rate", "USD").exit_code == 1
    assert siyu(str(listed), "--json").exit_code == 1
