"""Fixtures for every test: the real database and queue, each test rolled back, the clock held, and a live server."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import func, select

from kernel import clock as kernel_clock
from kernel import config, embedded, visitors
from kernel.app import create_app
from kernel.auth import Role
from kernel.cli import upgrade
from kernel.db import commit
from kernel.db import db as database
from kernel.events import EventRecord
from kernel.staff import services as staff_services
from kernel.staff.models import Staff
from tests.committed import clear
from tests.live import LiveServer
from tests.loaded import lay_tables

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "correct-horse-battery"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
# They take half a minute and more: begun first, lest one core is left with them when the other has no more to do.
FIRST = {
    "test_check_d2_words_stay_words_in_every_list",
    "test_check_i6_the_document_is_true",
    "test_inv_merge_then_undo_is_as_if_nothing_had_been",
    "test_inv_p1_to_p5_over_whatever_happens",
}
# A Tuesday noon in the shop's time zone.
NOON = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)


# ── The servers and the application ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def settings() -> Iterator[config.Settings]:
    """Settings over an embedded database and queue of this test process alone, in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="siyu-test-"))
    lay_tables(folder)
    found = config.load({"SIYU_DATA": str(folder), "SITE_URL": "http://localhost"})
    running = embedded.Running(embedded.servers(found, durable=False))
    try:
        running.start()
        yield found
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def app(settings: config.Settings) -> Iterator[Flask]:
    """The application with all tables. Forms need no token here; tests of the token make their own application."""
    app = create_app(settings, TESTING=True, WTF_CSRF_ENABLED=False, GROUP_COMMIT_INLINE=True)
    app.test_client_class = Client
    if any((ROOT / "migrations" / "versions").glob("*.py")):
        upgrade(app)
    else:
        with app.app_context():
            database.create_all()
    yield app
    with app.app_context():
        database.engine.dispose()


@pytest.fixture
def db(app: Flask) -> Iterator[Any]:
    """The database in an application context; whatever the test commits, here or through views, is rolled back at its end.

    Jobs asked for after a commit are collected, see `run_jobs`.
    """
    with app.app_context():
        connection = database.engine.connect()
    outer = connection.begin()
    configure = database.session.session_factory.configure
    configure(bind=connection, join_transaction_mode="create_savepoint")
    app.extensions["collected_jobs"] = []
    try:
        with app.app_context():
            yield database
    finally:
        configure(bind=None, join_transaction_mode="conditional_savepoint")
        del app.extensions["collected_jobs"]
        outer.rollback()
        connection.close()


@pytest.fixture
def committed(app: Flask) -> Iterator[Flask]:
    """The application on rows that are really committed, all removed afterwards."""
    yield app
    clear(app)


@pytest.fixture
def queue_server(settings: config.Settings) -> Iterator[Redis]:
    """The queue server, empty before and after."""
    with Redis.from_url(settings.redis_url) as connection:
        connection.flushall()
        yield connection
        connection.flushall()


# ── Requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Client(FlaskClient):
    """Each request gets its own application context, as in production, though the test holds one open.

    What the test has added so far is committed (to the test's own transaction) before a request, and rows it holds are
    read anew after it.
    """

    def open(self, *args: Any, **kwargs: Any) -> Any:
        settle()
        # A streamed answer is read to its end within its own context.
        kwargs.setdefault("buffered", True)
        response = Context().run(super().open, *args, **kwargs)
        if database.session.registry.has():
            database.session.expire_all()
        return response


def settle() -> None:
    """Commit what the test's own session holds."""
    if database.session.registry.has():
        commit()


@pytest.fixture
def client(app: Flask, db: Any) -> FlaskClient:
    """A browser that nobody has signed in with."""
    return app.test_client()


@cache
def cheap_hash(password: str) -> str:
    """A valid hash that costs next to nothing to make and to check."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


@pytest.fixture
def make_staff(db: Any) -> Callable[..., Staff]:
    """`make_staff(Role.VIEWER, email=…, name=…)` adds somebody to the staff, with `PASSWORD`."""

    def make(role: Role = Role.VIEWER, email: str | None = None, name: str | None = None) -> Staff:
        person = Staff(
            name=name or role.value.title(),
            email=email or f"{role.value}@shop.example",
            role=role,
            password_hash=cheap_hash(PASSWORD),
            created_at=kernel_clock.now(),
        )
        db.session.add(person)
        db.session.flush()
        return person

    return make


@pytest.fixture
def staff_client(app: Flask, db: Any, make_staff: Callable[..., Staff]) -> Callable[..., FlaskClient]:
    """`staff_client(Role.VIEWER)` is a browser signed in as somebody with that role (made when nobody has it)."""

    def make(role: Role | str = Role.OWNER, person: Staff | None = None) -> FlaskClient:
        wanted = Role(role)
        person = person or staff_services.find_staff(f"{wanted.value}@shop.example") or make_staff(wanted)
        return sign_in(app.test_client(), person)

    return make


def sign_in(browser: FlaskClient, person: Staff) -> FlaskClient:
    """Sign a browser in with a session row, without the cost of hashing a password."""
    with database.session.no_autoflush:
        token = staff_services.open_session(person, "127.0.0.1")
    settle()
    with browser.session_transaction() as cookie:
        cookie["_user_id"], cookie["_fresh"] = token, True
    return browser


def bind(browser: FlaskClient, member_id: int, identified: bool = False) -> FlaskClient:
    """Bind a browser to a member with a row of its own, without a link; with `identified` they have proved who they are."""
    token = secrets.token_urlsafe(16)
    database.session.add(visitors._fresh(member_id, token, identified))
    database.session.flush()
    browser.set_cookie(visitors.cookie_name(browser.application.extensions["settings"].site_url), token)
    return browser


def english(browser: FlaskClient) -> FlaskClient:
    """Let a browser speak English whatever it asks for."""
    browser.set_cookie("lang", "en")
    return browser


@pytest.fixture
def browse(staff_client: Callable[..., FlaskClient]) -> Callable[..., FlaskClient]:
    """`browse(Role.ASSISTANT)`: a browser of staff that speaks English."""
    return lambda role=Role.OWNER: english(staff_client(role))


@pytest.fixture
def owner_client(staff_client: Callable[..., FlaskClient]) -> FlaskClient:
    """A browser signed in as the owner."""
    return staff_client(Role.OWNER)


def published(db: Any, name: str) -> list[dict[str, Any]]:
    """What was said with the events of a name, in the order in which they were published."""
    return list(
        db.session.scalars(select(EventRecord.payload).where(EventRecord.name == name).order_by(EventRecord.id))
    )


def everything(db: Any) -> dict[str, int]:
    """A count of every row of every table but sessions."""
    tables = [table for table in db.metadata.sorted_tables if table.name not in ("staff_session", "visitor_session")]
    return {table.name: db.session.scalar(select(func.count()).select_from(table)) for table in tables}


# ── A live server and a browser ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def live() -> Iterator[LiveServer]:
    """A whole empty shop with its own processes (see `tests.live`); what tests commit there stays, so use own names.

    Not together with `db` in one test: that one holds the session's transaction.
    """
    with LiveServer() as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium under playwright."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert path, "no Chromium: apt-get install chromium fonts-wqy-microhei"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """`open_page("desktop" | "phone", locale="zh-CN")` is a page in a browser context of its own.

    A script error or a refused resource fails the test at its end.
    """
    contexts: list[Any] = []
    wrong: list[str] = []

    def make(screen: str = "desktop", locale: str = "zh-CN", **options: Any) -> Any:
        shape = {
            "desktop": {"viewport": {"width": 1440, "height": 900}},
            "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
        }[screen]
        context = chromium.new_context(**shape, locale=locale, timezone_id="Asia/Shanghai", **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda said: wrong.append(f"{page.url}: {said.text}") if "Content Security" in said.text else None,
        )
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tier too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: getattr(item, "originalname", item.name) not in FIRST)
    missing = not any(shutil.which(name) for name in BROWSERS)
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="the long tier runs with --long"))
        if item.get_closest_marker("browser") and missing and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason="NO CHROMIUM: apt-get install chromium fonts-wqy-microhei"))


# ── Time and jobs ───────────────────────────────────────────────────────────────────────────────────────────────────


class HeldClock:
    """The held clock of a test: `clock.now()`, `clock.move(days=1)`, `clock.at(instant)`."""

    def __init__(self, step: Callable[[timedelta], None]) -> None:
        self._step = step

    def now(self) -> datetime:
        return kernel_clock.now()

    def move(self, **span: float) -> datetime:
        """Go on by a span (`days=1, hours=2`); returns the new instant."""
        self._step(timedelta(**span))
        return kernel_clock.now()

    def at(self, instant: datetime) -> datetime:
        """Go to an instant."""
        self._step(instant - kernel_clock.now())
        return kernel_clock.now()


@pytest.fixture
def clock() -> Iterator[HeldClock]:
    """Time stands still at noon of 2026-03-03 in the shop's time zone, until the test moves it."""
    with kernel_clock.frozen(NOON) as step:
        yield HeldClock(step)


@pytest.fixture
def run_jobs(app: Flask, db: Any) -> Callable[[], list[str]]:
    """`run_jobs()` runs what has been queued, and what that queues, in this test's transaction; returns the jobs' names."""

    def run() -> list[str]:
        settle()
        done: list[str] = []
        waiting = app.extensions["collected_jobs"]
        while waiting:
            job, arguments = waiting.pop(0)
            Context().run(_run_job, app, job, arguments)
            done.append(job.name)
            if len(done) > 10_000:
                raise RuntimeError("these jobs queue one another without end")
        database.session.expire_all()
        return done

    return run


def _run_job(app: Flask, job: Any, arguments: dict[str, Any]) -> None:
    with app.app_context():
        job(**arguments)


@pytest.fixture
def queries(db: Any) -> Callable[[int], Any]:
    """`with queries(2): …` fails when the block sends another number of statements."""
    from sqlalchemy import event

    @contextmanager
    def exactly(expected: int) -> Iterator[list[str]]:
        seen: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if "SAVEPOINT" not in statement:
                seen.append(statement)

        event.listen(database.engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(database.engine, "before_cursor_execute", note)
        assert len(seen) == expected, "\n".join(seen)

    return exactly
