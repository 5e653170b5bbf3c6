"""Windows for the browser tests, and a live demo shop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.browser.screen import Screen
from tests.live import LiveServer

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture
def windows(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Screen]]:
    """`windows(site, "desktop" | "phone", "zh-CN" | "en-GB", script=True)` opens a window of its own.

    Of a test that fails there is a picture of each window under `test-results/`.
    """
    opened: list[Screen] = []

    def make(site: str, shape: str, locale: str = "zh-CN", script: bool = True) -> Screen:
        opened.append(Screen(chromium, site, shape, locale, script))
        return opened[-1]

    yield make
    for number, screen in enumerate(opened):
        if request.node.stash.get(FAILED, False):
            with suppress(Exception):  # A window that hangs must not hide why the test failed.
                screen.shot(f"failed-{request.node.name}-{number}", always=True)
        screen.close()
    assert [screen.wrong for screen in opened if screen.wrong] == []


@pytest.fixture(scope="session", autouse=True)
def demo_on_its_way(request: pytest.FixtureRequest) -> Iterator[Future[LiveServer] | None]:
    """The demo shop, being loaded while tests that do not need it run; nothing if none of them does."""
    if not any("demo_shop" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    server = LiveServer()

    def load() -> LiveServer:
        server.start()
        server.siyu("demo", "load")
        return server

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(load)
        try:
            yield coming
        finally:
            with suppress(Exception):  # Whoever asked for the shop was told already.
                coming.result()
            server.__exit__()


@pytest.fixture(scope="session")
def demo_shop(demo_on_its_way: Future[LiveServer]) -> Iterator[LiveServer]:
    """A whole demo shop with its own processes, loaded once for all tests."""
    server = demo_on_its_way.result()
    yield server
    # Whoever fell on the way says why.
    assert server.process is not None
    assert server.process.poll() is None, server.said()
