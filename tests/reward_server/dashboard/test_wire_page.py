"""`GET /docs`: Swagger UI from the server alone, with a key and without."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2

from tests.browser import Browser
from touchstone_rewards.reward_server.dashboard.live import LOOKS
from touchstone_rewards.reward_server.live_server import LiveServer


def test_the_page_and_its_files_are_open_and_name_no_other_host(
    start_server: Callable[..., LiveServer],
) -> None:
    live = start_server(REWARD_API_KEY="secret")
    page = httpx2.get(f"{live.url}/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded == ["data:,", "docs/swagger-ui.css", "docs/swagger-ui-bundle.js"]
    assert "//" not in page.text
    for path in loaded[1:]:
        file = httpx2.get(f"{live.url}/{path}")
        assert (file.status_code, file.headers["x-content-type-options"]) == (200, "nosniff")
        assert len(file.content) > 100_000
    assert httpx2.get(f"{live.url}/docs/LICENSE").status_code == 401
    assert httpx2.get(f"{live.url}/redoc").status_code == 401


def test_a_browser_shows_every_operation_and_asks_the_server_alone(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    live = start_server()
    paths = httpx2.get(f"{live.url}/openapi.json").json()["paths"]
    browser = Browser(tmp_path)
    try:
        page = browser.open_page().go(f"{live.url}/docs")
        page.wait_for(f"document.querySelectorAll('.opblock').length >= {len(paths)}")
        assert "Score samples" in page.text("#wire")
        assert [url for url in page.asked if not url.startswith((live.url, "data:"))] == []
        assert page.problems == []
    finally:
        browser.close()


def test_looking_at_the_wire_is_no_request_of_a_trainer(
    start_server: Callable[..., LiveServer],
) -> None:
    live = start_server()
    paths = {"/docs", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/openapi.json"}
    for path in paths:
        httpx2.get(f"{live.url}{path}").raise_for_status()
    counted = httpx2.get(f"{live.url}/metrics").text
    routes = set(re.findall(r'reward_requests_total{route="([^"]+)"', counted))
    assert paths <= routes
    assert routes <= LOOKS
