"""The dashboard's alarms, filters and opened samples, and its use without a mouse."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.browser import Page
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer

RIGHT = {"id": "a", "response": "So it is \\boxed{46}.", "ground_truth": "46"}
SHOWN = "!document.getElementById('content').hidden && page.data"
STEPS, PER_STEP = 40, 64
Open = Callable[..., Page]


def post(live: LiveServer, **body: Any) -> None:
    httpx2.post(f"{live.url}/score", json=body, timeout=PATIENCE_S).raise_for_status()


def drift(live: LiveServer) -> None:
    """Score a run whose responses become one answer for every prompt, which the profile rewards too
    often.
    """
    draw = random.Random(0)
    for step in range(STEPS):
        samples: list[dict[str, Any]] = []
        for at in range(PER_STEP):
            number = draw.randint(0, 99) if step < STEPS * 0.6 else 46
            truth = draw.choice(["46", str(number), "7"])
            response = f"Try {draw.random()}: \\boxed{{{number}}}"
            prompt = f"Question {at // 8}?"
            samples.append({"id": f"{step}/{at}", "prompt": prompt, "response": response,
                            "ground_truth": truth, "group_id": str(at // 8)})  # fmt: skip
        post(live, samples=samples, run="drifting", step=step)


def rows(page: Page) -> list[str]:
    """Return the ids of the recent samples on the page."""
    found = (
        "Array.from(document.querySelectorAll('#recent li:not([hidden])'), (row) => row.sample.id)"
    )
    return page.run(found)


def choose(page: Page, name: str, value: str) -> None:
    page.fill(f"#of_{name}", value)
    page.run(f"document.getElementById('of_{name}').dispatchEvent(new Event('input'))")


def test_an_alarm_stands_on_the_time_line_and_opens_with_its_samples(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    page = open_page(live, 1440).wait_for(SHOWN)
    assert page.run("document.getElementById('alarm_part').hidden")
    drift(live)
    page.wait_for("document.querySelector('#alarms .opener')")
    page.wait_for("document.querySelector('#means .mark.head title')")
    said = page.text("#alarms .opener")
    assert "drifting" in said
    assert page.run("document.querySelector('#means .mark.head title').textContent") in said
    page.click("#alarms .opener")
    page.wait_for("document.querySelector('#alarms pre')")
    assert "Try " in page.text("#alarms .detail")
    page.wait_for("document.querySelectorAll('#of_alarm option').length > 2")
    choose(page, "alarm", "in an alarm")
    listed = set(rows(page))
    raised = page.run("page.data.alarms.flatMap((alarm) => alarm.sample_ids)")
    assert listed <= set(raised)
    assert page.problems == []


def test_two_clicks_lead_from_the_top_of_the_page_to_why_a_sample_got_0(
    server: LiveServer, open_page: Open
) -> None:
    post(server, samples=[{**RIGHT, "id": "wrong", "response": "I think it is 45."}])
    page = open_page(server).wait_for("document.querySelector('#recent li')")
    page.click("header nav a[href='#recent_part']")
    page.wait_for("document.querySelector('#recent .opener').getBoundingClientRect().top < 400")
    assert "click one to see why" in page.text("#recent_part")
    page.click("#recent .opener")
    page.wait_for("document.querySelector('#recent dl')")
    told = page.text("#recent .detail")
    assert all(words in told for words in ("reward 0", "extracted\n45", "ground truth read as\n46"))


def test_recent_samples_are_filtered_by_profile_component_status_and_text(
    start_server: Callable[..., LiveServer], open_page: Open, tmp_path: Path
) -> None:
    (tmp_path / "both.yaml").write_text("scorers: {math: {}, format: {weight: 0.5}}")
    live = start_server("--profiles_dir", str(tmp_path))
    tagged = "<think>So.</think>\n<answer>45</answer>"
    post(live, samples=[RIGHT, {**RIGHT, "id": "b", "response": "\\boxed{45}"}])
    post(
        live,
        profile="both",
        samples=[{**RIGHT, "id": "c"}, {**RIGHT, "id": "d", "response": tagged}],
    )
    post(live, samples=[{**RIGHT, "id": "e", "ground_truth": None}])
    page = open_page(live).wait_for("document.querySelectorAll('#recent li').length === 5")
    page.wait_for("document.querySelectorAll('#of_component option').length === 3")
    assert rows(page) == ["e", "d", "c", "b", "a"]
    choose(page, "profile", "both")
    assert rows(page) == ["d", "c"]
    assert page.text("#matching") == "2 of 5"
    choose(page, "component", "format")
    choose(page, "status", "above 0")
    assert rows(page) == ["d"]
    choose(page, "component", "math")
    assert rows(page) == ["c"]
    choose(page, "status", "any")
    choose(page, "profile", "any")
    choose(page, "component", "reward")
    choose(page, "status", "bad_ground_truth")
    assert rows(page) == ["e"]
    choose(page, "status", "not scored")
    assert rows(page) == ["e"]
    choose(page, "status", "0 or less")
    choose(page, "text", "BOXED{45")
    assert rows(page) == ["b"]
    choose(page, "text", "nowhere")
    assert "None of the recent samples is like that." in page.text("main")
    assert page.problems == []


def test_an_opened_sample_shows_who_it_is_and_can_be_changed_and_scored(
    start_server: Callable[..., LiveServer], open_page: Open, tmp_path: Path
) -> None:
    (tmp_path / "mixed.yaml").write_text("route: {by: metadata.source, cases: {a: half}}\n")
    (tmp_path / "half.yaml").write_text("scorers: {math: {weight: 0.5}, format: {weight: 0}}")
    live = start_server("--profiles_dir", str(tmp_path))
    sample = {
        **RIGHT,
        "id": "run-7/3",
        "group_id": "g1",
        "metadata": {"source": "a"},
        "signals": {"kl": 0.5},
    }
    post(live, profile="mixed", samples=[sample])
    page = open_page(live).wait_for("document.querySelector('#recent li')")
    page.click("#recent .opener")
    page.wait_for("document.querySelector('#recent dl')")
    told = page.text("#recent .detail")
    for shown in ("run-7/3", "g1", "math × 0.5", '{"source":"a"}', '{"kl":0.5}'):
        assert shown in told
    page.click("#recent .detail button")
    assert page.run("document.getElementById('try_profile').value") == "mixed"
    assert page.run("JSON.parse(document.getElementById('try_metadata').value)") == {"source": "a"}
    page.fill("#try_truth", "45")
    page.click("#try_form button")
    page.wait_for("document.querySelector('#try_result dl')")
    assert "reward 0" in page.text("#try_result")
    assert page.problems == []


def test_headings_never_skip_a_level_and_links_skip_to_where_one_works(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    post(live, samples=[RIGHT])
    page = open_page(live).wait_for("document.querySelector('#recent li')")
    page.click("#recent .opener")
    page.wait_for("document.querySelector('#recent .detail h3')")
    levels = page.run(
        "Array.from(document.querySelectorAll('h1,h2,h3,h4,h5,h6'), (h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    for link, target in enumerate(("recent_part", "try_form")):
        page.run(f"document.querySelectorAll('.skip')[{link}].focus()")
        page.wait_for(
            f"document.querySelectorAll('.skip')[{link}].getBoundingClientRect().top >= 0"
        )
        page.run("document.activeElement.click()")
        page.wait_for(f"document.activeElement.id === {target!r}")
    assert page.problems == []


def test_labels_of_the_time_axis_never_touch(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    post(live, samples=[RIGHT])
    page = open_page(live, 390).wait_for("document.querySelector('#means svg')")
    draw = (
        "lineChart($('means'), {series: [{name: 'reward', values: Array(300).fill(0.5)}],"
        " slotSeconds: 2, from: 0, to: 1}),"
        "Array.from(document.querySelectorAll('#means .tick'))"
        ".filter((label) => label.textContent === 'now' || label.textContent.startsWith('−'))"
        ".map((label) => label.getBoundingClientRect()).map((box) => [box.left, box.right])"
        ".sort((one, other) => one[0] - other[0])"
    )
    for width in (320, 390, 768, 1440):
        page.resize(width, 800)
        page.wait_for(f"innerWidth === {width}")
        places = page.run(f"(() => ({draw}))()")
        assert len(places) >= 3
        assert all(one[1] + 4 <= other[0] for one, other in itertools.pairwise(places))


def test_looking_at_the_server_is_no_request_and_no_line_of_the_log(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    page = open_page(live).wait_for(SHOWN)
    for path in ("/docs", "/openapi.json", "/label", "/alarms", "/dashboard/samples"):
        httpx2.get(f"{live.url}{path}", timeout=PATIENCE_S).raise_for_status()
    post(live, samples=[RIGHT])
    page.wait_for("page.data.rates.requests_per_s.some((rate) => rate > 0)")
    page.wait_for("page.data.rates.requests_per_s.at(-1) === 0")
    assert page.run("page.data.rates.requests_per_s.reduce((a, b) => a + b)") == 0.5
    assert "/dashboard/data" not in live.log.read_text()
