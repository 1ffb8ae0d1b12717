"""Every text and mark of the dashboard and the label page can be read, in light and dark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser import Browser, Page
from tests.checkout import live_server
from tests.contrast import too_faint
from tests.reward_server.dashboard.test_looking_closer import RIGHT, SHOWN, drift
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer

Open = Callable[..., Page]
PROFILES = {
    "math_beside": "{scorers: {math: {}}, shadow: form}",
    "form": "{scorers: {format: {}}}",
    "judged": (
        "{scorers: {judge: {config: {url: 'http://127.0.0.1:9/v1', model: nobody, timeout_s: 1}}}}"
    ),
}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server with an alarm, a shadow that disagrees, a dead endpoint and failed samples."""
    folder = tmp_path_factory.mktemp("busy")
    for name, text in PROFILES.items():
        (folder / f"{name}.yaml").write_text(text)
    live = live_server(folder / "log", "--profiles_dir", str(folder)).start()
    drift(live)
    same: list[dict[str, Any]] = [{**RIGHT, "id": str(at)} for at in range(70)]
    bad = [{**RIGHT, "response": "\\boxed{45}"}, {**RIGHT, "ground_truth": None}]
    for profile, samples in {"math_beside": same + bad, "judged": bad}.items():
        body = {"profile": profile, "samples": samples, "deadline_ms": 2000}
        httpx2.post(f"{live.url}/score", json=body, timeout=PATIENCE_S)
    httpx2.post(f"{live.url}/score", json={"samples": 1})
    yield live
    live.kill()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_dashboard_can_be_read(
    busy: LiveServer, open_page: Open, width: int, dark: bool
) -> None:
    page = open_page(busy, width, dark=dark).wait_for(SHOWN)
    for part in ("#alarms .opener", "#recent .opener", "#watch .bad", "#histogram .column"):
        page.wait_for(f"document.querySelector('{part}')")
    page.wait_for("!document.getElementById('shadow_part').hidden")
    page.wait_for("!document.getElementById('upstream_part').hidden")
    assert too_faint(page) == []
    page.click("#alarms .opener")
    page.click("#recent .opener")
    page.fill("#try_truth", "0.5")
    page.fill("#try_response", "So it is \\boxed{\\frac{1}{2}}.")
    page.click("#try_form button")
    for part in ("#alarms pre", "#recent pre", "#try_result mark"):
        page.wait_for(f"document.querySelector('{part}')")
    page.point_at("#histogram .column:last-of-type")
    assert too_faint(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_label_page_can_be_read(
    busy: LiveServer, open_page: Open, tmp_path: Path, dark: bool
) -> None:
    line = {**RIGHT, "prompt": "What is 2 * 23?", "verdicts": [1.0, 0.0], "label": None}
    file = tmp_path / "to_label.jsonl"
    file.write_text(f"{json.dumps(line)}\n{json.dumps({**line, 'id': 'b'})}\n")
    page = open_page(busy, path="/label", dark=dark)
    assert too_faint(page) == []
    page.choose_file("#file", file)
    page.wait_for("document.querySelector('#sample pre')")
    for key in ("y", "ArrowLeft", "v"):
        page.press(key)
    assert too_faint(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_form_for_a_key_can_be_read(
    start_server: Callable[..., LiveServer], open_page: Open, dark: bool
) -> None:
    page = open_page(start_server(REWARD_API_KEY="secret"), dark=dark)
    page.wait_for("!document.getElementById('key_form').hidden")
    assert too_faint(page) == []


def test_what_is_too_faint_is_found(browser: Browser) -> None:
    page = browser.open_page().go("about:blank#")
    page.run(
        'document.body.innerHTML = \'<p style="color: #777">grey</p><p style="color: #767676">'
        'seen</p><h1 style="color: #949494">large</h1><input style="border: 1px solid #ddd">\''
    )
    found = too_faint(page)
    assert [line.partition(":")[0] for line in found] == ["p", "input"]
    assert "is 4.48, not 4.5" in found[0]
    page.close()
