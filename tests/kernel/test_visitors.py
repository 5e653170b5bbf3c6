"""Which member a browser is bound to, and a browser whose answer was lost on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, jsonify, request
from flask.testing import FlaskClient
from sqlalchemy import func, select

from kernel import clock, visitors
from kernel.app import create_app
from kernel.auth import public
from kernel.config import Settings
from kernel.db import db as database
from kernel.visitors import VisitorSession
from tests.conftest import Client

MEMBER, OTHER = 700_001, 700_002


@pytest.fixture(scope="module")
def probe(settings: Settings) -> Flask:
    """An application of its own with a page that does with `kernel.visitors` what it is told."""
    app = create_app(settings, TESTING=True, WTF_CSRF_ENABLED=False)
    app.test_client_class = Client

    @app.post("/probe")
    @public("a test")
    def act() -> Any:
        for act in request.args.getlist("act"):
            name, _, member = act.partition(":")
            if name == "write":
                visitors.write(database.session.connection(), [(visitors.promise(), int(member))])
            elif name == "keep":
                visitors.keep_promise(int(member))
            elif name in ("bind", "identify"):
                visitors.bind(int(member), identified=name == "identify")
            else:
                getattr(visitors, name)()
        found = jsonify(bound=visitors.member_id(), identified=visitors.member_id(identified=True))
        found.status_code = int(request.args.get("status", "200"))
        return found

    return app


@pytest.fixture
def browser(probe: Flask, db: Any) -> FlaskClient:
    return probe.test_client()


def told(browser: FlaskClient, *acts: str, status: int = 200) -> tuple[int | None, int | None]:
    answer = browser.post("/probe", query_string={"act": list(acts), "status": status})
    return answer.get_json()["bound"], answer.get_json()["identified"]


def sessions(db: Any) -> int:
    return db.session.scalar(select(func.count()).select_from(VisitorSession)) or 0


def cookie(browser: FlaskClient) -> str | None:
    found = browser.get_cookie("visitor")
    return found.value if found else None


def test_binding_lasts_and_forgetting_ends_it(browser: FlaskClient, db: Any) -> None:
    assert told(browser) == (None, None)
    assert told(browser, f"bind:{MEMBER}") == (MEMBER, None)
    assert told(browser) == (MEMBER, None)
    assert told(browser, "forget") == (None, None)
    assert told(browser) == (None, None)
    assert sessions(db) == 0


def test_a_refused_request_binds_nothing(browser: FlaskClient, db: Any) -> None:
    told(browser, f"bind:{MEMBER}", status=409)
    assert told(browser) == (None, None)
    assert (sessions(db), cookie(browser)) == (0, None)


def test_a_lost_answer_is_made_up_for_by_the_next_request(browser: FlaskClient, db: Any) -> None:
    told(browser, "propose")
    # Somebody else's transaction writes the binding, and the answer with the cookie never arrives.
    told(browser, f"write:{MEMBER}")
    assert cookie(browser) is None
    assert told(browser) == (MEMBER, None)
    assert cookie(browser) is not None
    assert sessions(db) == 1


def test_a_kept_promise_is_the_binding_that_was_written(browser: FlaskClient, db: Any) -> None:
    assert told(browser, "propose", f"write:{MEMBER}", f"keep:{MEMBER}") == (MEMBER, None)
    assert told(browser) == (MEMBER, None)
    assert sessions(db) == 1


def test_whoever_is_identified_gets_a_token_that_lay_in_no_session_cookie(browser: FlaskClient, probe: Flask) -> None:
    told(browser, "propose", f"write:{MEMBER}", f"keep:{MEMBER}")
    planted = probe.test_client()
    with browser.session_transaction() as mine, planted.session_transaction() as theirs:
        theirs.update(mine)
    assert told(planted) == (MEMBER, None)
    assert told(browser, f"identify:{MEMBER}") == (MEMBER, MEMBER)
    assert told(planted) == (None, None)
    assert told(browser) == (MEMBER, MEMBER)


def test_another_member_takes_the_place_of_the_first(browser: FlaskClient, db: Any) -> None:
    told(browser, f"identify:{MEMBER}")
    assert told(browser, f"bind:{OTHER}") == (OTHER, None)
    assert sessions(db) == 1


def test_being_identified_wears_off_and_so_does_the_binding(browser: FlaskClient, clock: Any) -> None:
    told(browser, f"identify:{MEMBER}")
    clock.move(days=30)
    assert told(browser) == (MEMBER, None)
    clock.move(days=150)
    assert told(browser) == (None, None)


def test_one_binding_a_hash(browser: FlaskClient, db: Any) -> None:
    hash_ = visitors._hash("x")
    visitors.write(db.session.connection(), [(hash_, MEMBER), (hash_, OTHER)])
    visitors.write(db.session.connection(), [(hash_, OTHER)])
    assert db.session.scalars(select(VisitorSession.member_id)).all() == [MEMBER]
    lasts = db.session.scalars(select(VisitorSession.expires_at)).one() - clock.now()
    assert timedelta(days=179) < lasts <= timedelta(days=180)
