"""Labels given by keyboard in a real headless browser; `audit` reads the downloaded file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.browser import Page
from tests.waiting import wait_until
from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.live_server import LiveServer

Open = Callable[..., Page]
TO_LABEL: list[dict[str, Any]] = [
    {"id": str(at), "prompt": "What is 2 * 23?", "response": response, "ground_truth": "46",
     "verdicts": [1.0, 0.0], "label": None}
    for at, response in enumerate(
        ["It is 46.", "\\boxed{45}", "</pre><img src=x onerror=ran()>", "46?"]
    )
]  # fmt: skip


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_file_is_labelled_by_keyboard_downloaded_and_fed_back(
    server: LiveServer, open_page: Open, tmp_path: Path
) -> None:
    page = open_page(server, 390, path="/label")
    page.choose_file("#file", written(tmp_path / "to_label.jsonl", TO_LABEL))
    page.wait_for("document.querySelector('#sample pre')")
    assert "Sample 1 of 4" in page.text("#sample")
    assert "0 of 4 labelled" in page.text("#state")
    page.press("y")
    assert "Sample 2 of 4" in page.text("#sample")
    page.press("y")
    page.press("ArrowLeft")
    page.press("n")  # it was no yes
    assert "onerror=ran()" in page.text("#sample")
    page.press("u")
    assert "Verdicts" not in page.text("#sample")
    page.press("v")
    assert page.text("#sample p:last-child") == "10"
    assert "3 of 4 labelled" in page.text("#state")
    page.download_to(tmp_path / "got")
    page.click("#download")
    labelled = tmp_path / "got" / "labelled.jsonl"
    wait_until(lambda: labelled.exists() and labelled.read_text().count("\n") == 4)
    lines = [json.loads(line) for line in labelled.read_text().splitlines()]
    assert [line["label"] for line in lines] == ["yes", "no", "unclear", None]
    assert [{**line, "label": None} for line in lines] == TO_LABEL
    rows = written(tmp_path / "rows.jsonl", [{"question": "What is 2 * 23?", "answer": "46"}])
    audited = ["audit", "--input", rows, "--labelled", labelled, "--output", tmp_path / "out"]
    assert main([*map(str, audited), "--strategies", "empty", "--workers", "1"]) == 0
    [whole, *_] = json.loads((tmp_path / "out" / "audit.json").read_text())["error_rates"]
    assert (whole["false_positive"]["of"], whole["false_negative"]["of"]) == (1, 1)
    assert page.problems == []


def test_labels_survive_the_page_and_samples_do_not(
    server: LiveServer, open_page: Open, tmp_path: Path
) -> None:
    file = written(tmp_path / "to_label.jsonl", TO_LABEL)
    page = open_page(server, path="/label")
    page.choose_file("#file", file)
    page.wait_for("document.querySelector('#sample pre')")
    page.press("y")
    assert "2 * 23" not in page.run("JSON.stringify({...localStorage})")
    page.go(f"{server.url}/label")
    assert page.run("document.getElementById('content').hidden")
    page.choose_file("#file", file)
    page.wait_for("document.querySelector('#sample pre')")
    assert "Sample 2 of 4" in page.text("#sample")
    assert page.run("labelling.lines[0].label") == "yes"
    page.choose_file("#file", written(tmp_path / "others.jsonl", TO_LABEL[1:]))
    page.wait_for("document.querySelector('#sample h2').textContent === 'Sample 1 of 3'")
    assert page.problems == []


def test_the_recent_samples_of_a_server_with_a_key_are_taken_after_it_is_given(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server(REWARD_API_KEY="sesame")
    assert httpx2.get(f"{live.url}/dashboard/samples").status_code == 401
    sample = {"id": "a", "response": "\\boxed{46}", "ground_truth": "46"}
    key = {"authorization": "Bearer sesame"}
    body = {"samples": [sample, {**sample, "id": "b"}]}
    httpx2.post(f"{live.url}/score", json=body, headers=key).raise_for_status()
    page = open_page(live, path="/label")
    assert page.run("document.getElementById('key_form').hidden")
    page.click("#recent")
    page.wait_for("!document.getElementById('key_form').hidden")
    page.fill("#key", "sesame")
    page.click("#key_form button")
    page.wait_for("document.querySelector('#sample pre')")
    assert "Sample 1 of 2" in page.text("#sample")
    assert page.run("labelling.lines[0].verdicts") == [1]


def test_a_file_of_something_else_is_refused_in_one_line(
    server: LiveServer, open_page: Open, tmp_path: Path
) -> None:
    page = open_page(server, path="/label")
    page.choose_file("#file", written(tmp_path / "no.jsonl", [TO_LABEL[0], {"answer": "46"}]))
    page.wait_for("document.getElementById('said').className === 'bad'")
    assert page.text("#said").startswith("line 2 is no sample; expected ")
    for width in (320, 390, 768):
        page.resize(width, 800)
        page.wait_for(f"innerWidth === {width}")
        assert page.run("document.documentElement.scrollWidth") <= width
