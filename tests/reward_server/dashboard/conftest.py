"""Pages of a server in a real headless browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.browser import Browser, Page
from touchstone_rewards.reward_server.live_server import LiveServer

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """`open_page(live, width=…)` opens the dashboard of a server in a tab that is closed
    afterwards.
    """
    pages: list[Page] = []

    def open_page(
        live: LiveServer, width: int = 1280, *, dark: bool = False, path: str = "/"
    ) -> Page:
        pages.append(browser.open_page(width, dark=dark))
        return pages[-1].go(f"{live.url}{path}")

    yield open_page
    for page in pages:
        page.close()
