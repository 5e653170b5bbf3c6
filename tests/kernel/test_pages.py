"""Lists: keyset paging over ties, broken cursors, capped counts, CSV."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.pages import (
    capped_count,
    csv_response,
    guarded_cell,
    keyset,
    once_a_request,
    order_by,
    page_address,
    url_alike,
    url_with,
)
from kernel.staff.models import Staff

ROWS = 23


@pytest.fixture
def entries(db, clock):
    """Rows with many equal values: five actors, three instants."""
    start = clock.now()
    for i in range(ROWS):
        db.session.add(
            AuditEntry(
                at=start + timedelta(days=i % 3),
                actor=f"a{i % 5}",
                action="probe",
                object_kind="probe",
                object_id=i % 4,
            )
        )
    db.session.commit()


ORDERS = {
    "newest": lambda: [AuditEntry.at.desc(), AuditEntry.id.desc()],
    "oldest": lambda: [AuditEntry.at, AuditEntry.id],
    "name up, time down": lambda: [AuditEntry.actor, AuditEntry.at.desc(), AuditEntry.id],
    "number down, name up": lambda: [AuditEntry.object_id.desc(), AuditEntry.actor, AuditEntry.id.desc()],
}


def statement(db):
    return db.select(AuditEntry).where(AuditEntry.action == "probe")


@pytest.mark.parametrize("size", [1, 2, 7, 22, 23, 50])
@pytest.mark.parametrize("name", ORDERS)
def test_paging_forth_and_back_shows_every_row_once_in_order(app, db, entries, name, size):
    order = ORDERS[name]()
    with app.test_request_context():
        wanted = [row.id for row in db.session.scalars(statement(db).order_by(*order))]
        pages, cursor = [], None
        while True:
            page = keyset(statement(db), order, cursor, size)
            pages.append([row.id for row in page.rows])
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
        assert list(chain(*pages)) == wanted
        back = [pages[-1]]
        while page.previous_cursor is not None:
            page = keyset(statement(db), order, page.previous_cursor, size)
            back.insert(0, [row.id for row in page.rows])
        assert list(chain(*back)) == wanted


def test_the_first_page_has_nothing_before_it_and_the_last_nothing_after(app, db, entries):
    order = ORDERS["newest"]()
    with app.test_request_context():
        first = keyset(statement(db), order, None, ROWS - 1)
        assert (first.previous_cursor, first.next_cursor is None) == (None, False)
        last = keyset(statement(db), order, first.next_cursor, ROWS - 1)
        assert (len(last.rows), last.next_cursor) == (1, None)
        again = keyset(statement(db), order, last.previous_cursor, ROWS - 1)
        assert (again.rows, again.previous_cursor) == (first.rows, None)


def test_a_row_that_came_in_between_moves_nothing_over(app, db, clock, entries):
    order = ORDERS["newest"]()
    with app.test_request_context():
        first = keyset(statement(db), order, None, 5)
        shown = [row.id for row in first.rows]
        db.session.add(AuditEntry(at=clock.now() + timedelta(days=9), actor="new", action="probe", object_kind="probe"))
        db.session.commit()
        second = keyset(statement(db), order, first.next_cursor, 5)
        assert not {row.id for row in second.rows} & set(shown)


def test_rows_of_several_columns_come_without_the_keys(app, db, entries):
    with app.test_request_context():
        found = db.select(AuditEntry.actor, AuditEntry.id).where(AuditEntry.action == "probe")
        page = keyset(found, [AuditEntry.id], None, 3)
        assert [row.actor for row in page.rows] == ["a0", "a1", "a2"]


def packed(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "%%%", "a" * 5_000, "é", packed([]), packed({}), packed("n"), packed(["x", "2026-03-03T04:00:00+00:00", 1]),
        packed(["n", "2026-03-03T04:00:00+00:00"]), packed(["n", "2026-03-03T04:00:00", 1]), packed(["n", 7, 1]),
        packed(["n", "2026-03-03T04:00:00+00:00", "1"]), packed(["n", "2026-03-03T04:00:00+00:00", 2**80]),
        packed(["n", "2026-03-03T04:00:00+00:00", 1.5]), packed(["n", None, None]), packed(["n", [], {}]),
        packed(["n", "2026-03-03T04:00:00+00:00", True, 1]), "AAAA", "_-_-",
    ],
)  # fmt: skip
def test_a_broken_cursor_shows_the_first_page(app, db, entries, cursor):
    order = ORDERS["newest"]()
    with app.test_request_context():
        assert keyset(statement(db), order, cursor, 5).rows == keyset(statement(db), order, None, 5).rows


def test_a_list_in_the_order_of_a_few_words_has_a_second_page(app, db, browse):
    for role in (Role.VIEWER, Role.MANAGER, Role.SERVICE):
        browse(role)
    order, everybody = [Staff.role, Staff.id], db.select(Staff)
    with app.test_request_context():
        first = keyset(everybody, order, None, 2)
        second = keyset(everybody, order, first.next_cursor, 2)
        assert [*first.rows, *second.rows][:3] == list(db.session.scalars(everybody.order_by(*order).limit(3)))
        for broken in (packed(["n", 1, 1]), packed(["n", "nobody", 1]), packed(["n", None, 1])):
            assert keyset(everybody, order, broken, 2).rows == first.rows


def test_a_null_byte_in_a_cursor_shows_the_first_page(app, db, entries):
    with app.test_request_context():
        order = ORDERS["name up, time down"]()
        cursor = packed(["n", "a\x00", "2026-03-03T04:00:00+00:00", 1])
        assert keyset(statement(db), order, cursor, 5).rows == keyset(statement(db), order, None, 5).rows


@pytest.mark.parametrize(("cap", "said"), [(22, "22+"), (23, "23"), (24, "23"), (1, "1+")])
def test_a_count_stops_at_its_cap(app, db, entries, cap, said):
    with app.test_request_context(headers={"Accept-Language": "en"}):
        assert str(capped_count(statement(db), cap)) == said


def test_a_count_of_nothing_is_false(app, db):
    with app.test_request_context():
        assert not capped_count(statement(db))


def test_addresses_keep_their_filters_and_drop_the_cursor(app):
    with app.test_request_context("/list?a=1&b=%E7%BE%A4&cursor=x"):
        assert url_with(a=2) == "/list?b=%E7%BE%A4&a=2"
        assert url_with(a=None, b=None) == "/list"


def test_another_view_takes_all_that_was_chosen_and_nothing_else(app):
    said = "tier=1&tier=2&q=%E7%BE%A4&endpoint=x&_scheme=ftp&_external=1&cursor=x"
    with app.test_request_context(f"/console/members?{said}"):
        assert url_alike("members_console.export") == f"/console/members/export?{said.removesuffix('&cursor=x')}"
    with app.test_request_context("/console/members?member_id=8"):
        assert url_alike("members_console.show", member_id=7) == "/console/members/7"


@pytest.mark.parametrize(
    ("said", "ordered"),
    [
        ("name", ["Staff.name", "Staff.id"]),
        ("-name", ["staff.name DESC", "staff.id DESC"]),
        ("", ["Staff.email"]),
        ("--name", ["Staff.email"]),
    ],
)
def test_a_sort_is_made_unique_and_an_unknown_one_is_the_list_s_own(said, ordered):
    found = order_by(said, {"name": Staff.name}, [Staff.id], [Staff.email])
    assert [str(column) for column in found] == ordered


@pytest.mark.parametrize(
    ("method", "path", "page"),
    [
        ("GET", "/console/groups?kind=vip", "/console/groups?kind=vip"),
        ("POST", "/groups/abc/join", "/groups/abc"),
        ("POST", "/groups/abc/sales/x.1/claim", "/groups/abc/sales/x.1"),
        ("POST", "/console/groups/6/announcement", "/console/groups/6"),
        ("POST", "/nowhere/at/all", "/me/"),
        ("POST", "/", "/me/"),
    ],
)
def test_what_answers_a_tap_is_opened_again_at_the_page_above_it(app, method, path, page):
    with app.test_request_context(path, method=method):
        assert page_address() == page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_is_taken_for_a_formula(start):
    assert guarded_cell(f"{start}HYPERLINK(1)") == f"'{start}HYPERLINK(1)"


@pytest.mark.parametrize(
    ("value", "cell"),
    [(None, ""), (-5, -5), (1.5, 1.5), ("a=b", "a=b"), ("", ""), ("\x00=1", "'=1"), (Decimal("-1"), "-1")],
)
def test_other_cells_stay_as_they_are(value, cell):
    assert guarded_cell(value) == cell


@given(st.lists(st.lists(st.text(st.characters(blacklist_categories=("Cs",))), min_size=2, max_size=2), max_size=5))
def test_every_text_survives_the_file(app, rows):
    with app.test_request_context():
        answer = csv_response("x.csv", ["a", "b"], rows)
        text = answer.get_data(as_text=True)
    assert text.startswith("\ufeff")
    read = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))
    assert read[0] == ["a", "b"]
    assert read[1:] == [[str(guarded_cell(cell)) for cell in row] for row in rows]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in read for cell in row)


def test_a_long_file_is_streamed_whole(app):
    with app.test_request_context():
        text = csv_response("x.csv", ["n"], ([f"第{i}行"] for i in range(20_000))).get_data(as_text=True)
    assert len(text.splitlines()) == 20_001


def test_what_pieces_of_a_page_need_is_read_once_a_request(app):
    asked = []

    @once_a_request
    def read(number, of=""):
        asked.append((number, of))
        return len(asked)

    for _request in range(2):
        with app.test_request_context():
            assert read(1) == read(1) == read(2) - 1 == read(1, of="a") - 2
    assert asked == [(1, ""), (2, ""), (1, "a")] * 2
    with app.app_context():
        assert read(1) < read(1)
