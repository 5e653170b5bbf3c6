"""Rejected lines: downloaded, corrected in the file or on the page, and what is left of them."""

from __future__ import annotations

import csv
import io
import re

import pytest
from sqlalchemy import text

from kernel.auth import Role
from membership.orders import queries
from membership.orders.models import ImportReject, ImportRun
from membership.orders.services import by_hand, corrections

from .files import HEADING, line, numbers, text_of
from .test_pages import upload

BAD = [
    line(),
    line(order_no="B2", quantity="two"),
    line(order_no="B2", sku="TRAY", quantity="1"),
    line(order_no="C3", buyer_phone="1.38E+10"),
    line(order_no="D4", paid_amount="-5.00", buyer_nickname="+86 姐"),
]


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


@pytest.fixture
def taken(owner_client, db, run_jobs):
    def take(content: bytes, name: str = "orders.csv", address: str = "/console/imports", **fields) -> ImportRun:
        if address == "/console/imports":
            answer = upload(owner_client, content, name, **fields)
        else:
            answer = owner_client.post(address, data={"file": (io.BytesIO(content), name)})
        assert answer.status_code == 303, answer.text
        where = answer.headers["Location"]
        assert owner_client.post(f"{where}/start").status_code == 303
        run_jobs()
        run = queries.get_run(int(where.rpartition("/")[2]))
        db.session.refresh(run)
        assert run.rows_in == run.accepted + run.duplicate + run.rejected == run.rows_total
        return run

    return take


@pytest.fixture
def first(taken):
    return taken(text_of(BAD).encode())


def downloaded(client, run: ImportRun) -> list[list[str]]:
    answer = client.post(f"/console/imports/{run.id}/rejects/export", headers={"Accept-Language": "en"})
    return list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))))


def as_file(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8-sig")


def corrected(rows: list[list[str]], **cells: tuple[str, str]) -> list[list[str]]:
    """The downloaded list with a column of one order's first line changed: `B2=("quantity", "2")`."""
    made = [list(row) for row in rows]
    place = rows[0].index("order_no")
    for number, (column, value) in cells.items():
        row = next(row for row in made[1:] if row[place] == number)
        row[rows[0].index(column)] = value
    return made


def test_list_of_rejects_names_its_run_and_has_every_line_of_the_orders(first, owner_client):
    assert (first.accepted, first.rejected) == (1, 4)
    rows = downloaded(owner_client, first)
    assert rows[0] == [f"Line #{first.id}", "Column", "Reason", "Text found", *HEADING]
    assert [row[0] for row in rows[1:]] == ["3", "4", "5", "6"]
    assert rows[1][1:4] == ["quantity", "Not a whole number", "two"]
    assert rows[2][2] == "Another line of this order is refused"
    # A cell that would be a formula is kept from being one.
    assert rows[4][4 + HEADING.index("buyer_nickname")] == "'+86 姐"


def test_numbers_that_a_shop_system_wrapped_come_back_from_the_list_as_they_were(taken, owner_client, db):
    """`="2012…"` and `'126…` are guarded on their way out: what comes back is the same order of the same person."""
    wrapped = line(order_no='="20123456789012301" ', buyer_phone="'12600008002", quantity="two")
    run = taken(text_of([line(), wrapped]).encode())
    rows = downloaded(owner_client, run)
    place = rows[0].index("order_no")
    assert rows[1][place].startswith("'=")
    rows[1][rows[0].index("quantity")] = "2"
    second = taken(as_file(rows), "rejects.csv")
    assert (second.accepted, second.rejected, corrections.left(run)) == (1, 0, 0)
    assert sorted(numbers(db)) == ["20123456789012301", "A1"]
    phones = db.session.scalars(text("SELECT phone FROM member")).all()
    assert "+8612600008002" in phones


def test_corrected_list_is_tied_to_its_file_and_shows_what_is_left(first, taken, owner_client, db):
    rows = corrected(downloaded(owner_client, first), B2=("quantity", "2"), D4=("paid_amount", "50.00"))
    second = taken(as_file(rows), "rejects.csv", source="elsewhere")
    assert (second.corrects_id, second.source, second.format) == (first.id, "shop", "siyu")
    assert (second.accepted, second.rejected) == (3, 1)
    assert numbers(db) == ["A1", "B2", "D4"]
    assert corrections.left(first) == 1
    page = owner_client.get(f"/console/imports/{first.id}", headers={"Accept-Language": "en"}).text
    assert "one line is left to correct" in page
    assert "/rejects/export" in page
    assert "1.38E+10" in page
    assert ">two<" not in page
    assert ">two<" in owner_client.get(f"/console/imports/{first.id}?rejects=all").text

    # The list of what is left, of either run, is the same line of the first file.
    assert downloaded(owner_client, first)[1][0] == downloaded(owner_client, second)[1][0] == "5"
    third = taken(as_file(corrected(downloaded(owner_client, second), C3=("buyer_phone", "13800000000"))))
    assert (third.corrects_id, third.accepted, third.rejected) == (first.id, 1, 0)
    assert (corrections.left(first), corrections.left(second)) == (0, 0)
    assert numbers(db) == ["A1", "B2", "C3", "D4"]
    assert (
        "Every rejected line has been corrected"
        in owner_client.get(f"/console/imports/{first.id}", headers={"Accept-Language": "en"}).text
    )


def test_part_of_the_list_leaves_the_rest_open(first, taken, owner_client, db):
    rows = corrected(downloaded(owner_client, first), D4=("paid_amount", "50.00"))
    taken(as_file([rows[0], rows[4]]))
    assert corrections.left(first) == 3
    # The same corrections once more are duplicates and settle nothing anew.
    again = taken(as_file([rows[0], rows[4]]))
    assert (again.duplicate, again.rejected) == (1, 0)
    assert corrections.left(first) == 3


def test_list_that_lost_its_first_column_is_tied_by_hand(first, taken, owner_client):
    rows = [row[4:] for row in corrected(downloaded(owner_client, first), C3=("buyer_phone", ""))]
    run = taken(as_file(rows), address=f"/console/imports/{first.id}/corrections")
    # Without the lines' numbers nobody knows which of them are done.
    assert (run.corrects_id, run.accepted, run.rejected) == (first.id, 1, 3)
    assert corrections.left(first) == 4


@pytest.mark.parametrize("mark", ["Line #999999", "Line #0", "Line", "#12", f"Line #{'9' * 30}"])
def test_heading_that_names_no_run_corrects_nothing(first, owner_client, taken, db, mark):
    run = taken(as_file([[mark, "Column", "Reason", "Text found", *HEADING], ["1", "", "", "", *line(order_no="Z9")]]))
    assert (run.corrects_id, run.accepted) == (None, 1)


def fix_page(client, run: ImportRun, number: str) -> tuple[str, list[ImportReject]]:
    rejects = [one for one in queries.rejects_of(run.id).rows if one.external_id == number]
    return f"/console/imports/{run.id}/rejects/{rejects[0].id}", rejects


def cells_of(rejects: list[ImportReject], **changes: str) -> dict[str, str]:
    """What the form sends; the changes are made to the first line."""
    return {
        f"cell-{one.id}-{place}": changes.get(HEADING[place], cell) if one is rejects[0] else cell
        for one in rejects
        for place, cell in enumerate(one.row)
    }


def test_line_is_corrected_on_the_page_with_the_others_of_its_order(first, owner_client, db):
    address, rejects = fix_page(owner_client, first, "B2")
    page = owner_client.get(address, headers={"Accept-Language": "en"}).text
    assert "Not a whole number" in page
    assert page.count('aria-invalid="true"') == 1
    assert 'value="TRAY"' in page
    # Columns are called as the reader calls them, with the file's own name beside.
    assert re.search(r">Pieces <code[^>]*>quantity</code>", page)
    seen = owner_client.get(f"/console/imports/{first.id}", headers={"Accept-Language": "en"}).text
    assert ">Pieces<" in seen
    assert "<code>quantity</code>" not in seen

    still = owner_client.post(address, data=cells_of(rejects, quantity="0"), headers={"Accept-Language": "en"})
    assert still.status_code == 422
    assert "The quantity is not between 1 and 1,000,000" in still.text
    assert 'value="0"' in still.text
    assert numbers(db) == ["A1"]

    assert owner_client.post(address, data=cells_of(rejects, quantity="2")).status_code == 303
    assert numbers(db) == ["A1", "B2"]
    assert corrections.left(first) == 2
    (by,) = corrections.corrections_of(first.id)
    assert (by.rows_in, by.accepted, by.rejected, by.orders_new) == (2, 2, 0, 1)
    assert queries.find_order("shop", "B2").run_id == by.id
    assert owner_client.post(address, data=cells_of(rejects, quantity="3")).status_code == 409
    assert owner_client.get(address).status_code == 409
    assert owner_client.get(f"/console/imports/{by.id}").status_code == 200
    assert f"/console/imports/{by.id}" not in owner_client.get("/console/imports").text


def test_all_that_is_corrected_on_the_page_is_one_run(first, owner_client, db):
    for number, change in (("C3", {"buyer_phone": "13800000000"}), ("D4", {"paid_amount": "50.00"})):
        address, rejects = fix_page(owner_client, first, number)
        assert owner_client.post(address, data=cells_of(rejects, **change)).status_code == 303
    (by,) = corrections.corrections_of(first.id)
    assert (by.rows_in, by.accepted, by.orders_new) == (2, 2, 2)
    events = db.session.scalars(text("SELECT payload->>'run_id' FROM event WHERE name = 'OrdersImported'")).all()
    assert events.count(str(by.id)) == 2


def test_correction_of_a_correction_settles_both(first, taken, owner_client, db):
    second = taken(as_file(downloaded(owner_client, first)))
    assert (second.rejected, corrections.left(first)) == (4, 4)
    address, rejects = fix_page(owner_client, second, "C3")
    told = {f"cell-{one.id}-{place}": cell for one in rejects for place, cell in enumerate(one.row[4:])}
    told[f"cell-{rejects[0].id}-{HEADING.index('buyer_phone')}"] = ""
    assert owner_client.post(address, data=told).status_code == 303
    assert (corrections.left(first), corrections.left(second)) == (3, 3)


def test_cells_of_the_form_are_bounded_and_foreign_lines_are_not_there(first, owner_client, db):
    address, rejects = fix_page(owner_client, first, "C3")
    told = cells_of(rejects, buyer_phone="", buyer_nickname="x" * 5_000)
    assert owner_client.post(address, data=told).status_code == 422
    other = address.replace(f"imports/{first.id}/", f"imports/{first.id + 1}/")
    assert owner_client.get(other).status_code == 404
    assert owner_client.post(f"/console/imports/{first.id}/rejects/99999999", data={}).status_code == 404


def test_order_of_many_lines_is_corrected_in_the_file(taken, owner_client):
    run = taken(text_of([line(order_no="M", quantity="x"), *[line(order_no="M")] * 25]).encode())
    address, _rejects = fix_page(owner_client, run, "M")
    answer = owner_client.get(address, headers={"Accept-Language": "en"})
    assert answer.status_code == 409
    assert "more lines than a page can hold" in answer.text


def test_texts_of_rejected_lines_are_forgotten_after_a_month(first, staff_client, clock, db):
    assert corrections.forget_rows() == 0
    clock.move(days=31)
    assert corrections.forget_rows() == 4
    # The old sign-in has run out as well.
    client = staff_client(Role.MANAGER)
    address, _rejects = fix_page(client, first, "C3")
    db.session.expire_all()
    assert client.get(address).status_code == 409
    assert len(downloaded(client, first)) == 1
    assert client.get(f"/console/imports/{first.id}").status_code == 200


def test_two_corrections_of_one_line_at_once_take_it_once(first, db):
    rejects = [one for one in queries.rejects_of(first.id).rows if one.external_id == "C3"]
    cells = {one.id: ["" if name == "buyer_phone" else cell for name, cell in zip(HEADING, one.row)] for one in rejects}
    assert by_hand.retry(first, rejects, cells) == []
    with pytest.raises(by_hand.AlreadyCorrected):
        by_hand.retry(first, rejects, cells)


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_corrections_are_for_the_manager_and_the_owner(first, staff_client, role):
    client = staff_client(role)
    address, rejects = fix_page(client, first, "C3")
    assert client.get(address).status_code == 403
    assert client.post(address, data=cells_of(rejects)).status_code == 403
    assert client.post(f"/console/imports/{first.id}/rejects/export").status_code == 403
    assert client.post(f"/console/imports/{first.id}/corrections").status_code == 403


def test_looking_changes_nothing(first, owner_client, db):
    before = db.session.execute(text("SELECT count(*), max(id) FROM import_run")).one()
    address, _rejects = fix_page(owner_client, first, "B2")
    for path in (address, f"/console/imports/{first.id}", f"/console/imports/{first.id}?rejects=all"):
        assert owner_client.get(path).status_code == 200
    assert db.session.execute(text("SELECT count(*), max(id) FROM import_run")).one() == before
    assert numbers(db) == ["A1"]


def test_corrections_without_a_file_are_asked_for_one(first, owner_client):
    answer = owner_client.post(f"/console/imports/{first.id}/corrections", headers={"Accept-Language": "en"})
    assert answer.status_code == 422
    assert "Choose a file first" in answer.text
