"""Windows for the browser tests, and a live demo shop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.screen import Screen
from tests.live import LiveServer


@pytest.fixture
def windows(chromium: Any) -> Iterator[Callable[..., Screen]]:
    """`windows(site, "desktop" | "phone", "zh-CN" | "en-GB", script=True)` opens a window of its own."""
    opened: list[Screen] = []

    def make(site: str, shape: str, locale: str = "zh-CN", script: bool = True) -> Screen:
        opened.append(Screen(chromium, site, shape, locale, script))
        return opened[-1]

    yield make
    for screen in opened:
        screen.close()
    assert [screen.wrong for screen in opened if screen.wrong] == []


@pytest.fixture(scope="session")
def demo_shop() -> Iterator[LiveServer]:
    """A whole demo shop with its own processes, loaded once for all tests."""
    with LiveServer() as server:
        server.siyu("demo", "load")
        yield server
        # Whoever fell on the way says why.
        assert server.process is not None
        assert server.process.poll() is None, server.said()
