"""The dashboard in a real headless browser, on real servers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from tests.browser import Page
from tests.reward_server.remote.engine_process import EngineProcess, judged_by
from touchstone_rewards.reward_server.live_server import LiveServer

RIGHT = {"id": "a", "response": "So it is \\boxed{46}.", "ground_truth": "46"}
SHOWN = "!document.getElementById('content').hidden && page.data"
Open = Callable[..., Page]


def score(live: LiveServer, samples: list[dict[str, Any]], profile: str = "math") -> None:
    body = {"profile": profile, "samples": samples}
    httpx2.post(f"{live.url}/score", json=body).raise_for_status()


def test_before_the_first_sample_the_page_says_what_to_do(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    page = open_page(live).wait_for(SHOWN)
    assert page.text("#state") == "● ready"
    assert f"Point a trainer at {live.url}/score" in page.text("#empty")
    assert "no scores yet" in page.text("#histogram")
    assert "None yet." in page.text("main")
    score(live, [RIGHT])
    page.wait_for("document.getElementById('empty').hidden")
    page.wait_for("document.querySelectorAll('#recent li').length === 1")
    assert page.problems == []


def test_ten_thousand_samples_show_live_and_leave_the_page_small(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    page = open_page(live).wait_for(SHOWN)
    full = "page.data.profiles.find((p) => p.name === 'math')?.watched?.samples === 4096"
    # The watch looks at some of each second's samples: it takes seconds to fill its window.
    for request in count():
        if request >= 20 and page.run(full):
            break
        answers = [46 if i % 4 else 45 for i in range(500)]
        samples = [
            {**RIGHT, "id": f"{request}/{i}", "response": f"Try {i}: \\boxed{{{answer}}}"}
            for i, answer in enumerate(answers)
        ]
        score(live, samples)
    page.wait_for("document.querySelectorAll('#histogram .column').length === 2")
    page.wait_for("document.querySelector('#means .line, #means .dot')")
    watch = page.text("#watch")
    assert "4,096 samples" in watch
    assert "0.75 ± 0.433" in watch
    assert "75%" in watch  # the commonest answer
    assert "▲ high" in watch
    page.point_at("#histogram .column:last-of-type")
    page.wait_for("document.getElementById('tip').textContent.includes('3,072 samples, 75%')")
    assert page.run("document.querySelectorAll('*').length") < 4000
    assert page.run("document.querySelectorAll('#recent li').length") <= 200
    assert "samples by reward" in page.text("#histogram")
    assert page.problems == []
    assert all(url.startswith((live.url, "data:")) for url in page.asked)


def test_the_form_shows_what_was_extracted_and_why(server: LiveServer, open_page: Open) -> None:
    page = open_page(server).wait_for(SHOWN)
    page.fill("#try_profile", "math")
    page.fill("#try_truth", "0.5")
    page.fill("#try_response", "𝒳 is 7, or rather \\boxed{\\frac{1}{2}}.")
    page.click("#try_form button")
    page.wait_for("document.querySelector('#try_result dl')")
    told = page.text("#try_result")
    assert "reward 1" in told
    assert "\\frac{1}{2}" in told
    assert "boxed" in told
    assert "no <think>…</think> pair" in told
    assert page.text("#try_result mark") == "\\boxed{\\frac{1}{2}}"
    page.fill("#try_truth", "")
    page.click("#try_form button")
    page.wait_for("document.querySelector('#try_result .bad')")
    assert "bad_ground_truth" in page.text("#try_result")
    assert page.problems == []


def test_the_form_has_the_fields_that_the_chosen_profile_reads(
    start_server: Callable[..., LiveServer], open_page: Open, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "mixed.yaml").write_text("route: {by: metadata.source, cases: {a: math}}")
    (profiles / "vote.yaml").write_text("scorers: {majority: {}}")
    (profiles / "turns.yaml").write_text("scorers: {format: {turns: mean}}")
    live = start_server("--profiles_dir", str(profiles))
    page = open_page(live).wait_for(SHOWN)

    def choose(profile: str) -> None:
        page.fill("#try_profile", profile)
        page.run("document.getElementById('try_profile').dispatchEvent(new Event('change'))")

    def told(after: str) -> str:
        page.click("#try_form button")
        page.wait_for(f"document.querySelector('#try_result').textContent.includes({after!r})")
        return page.text("#try_result")

    page.fill("#try_truth", "46")
    page.fill("#try_response", "So it is \\boxed{46}.")
    choose("mixed")
    assert page.run("document.getElementById('try_others_field').hidden") is True
    page.fill("#try_metadata", "{")
    assert "metadata is no JSON" in told("no JSON")
    page.fill("#try_metadata", '{"source": "a"}')
    assert "metadata.source" in told("reward 1")
    choose("vote")
    assert page.run("document.getElementById('try_metadata_field').hidden") is True
    page.fill("#try_others", "\\boxed{46.0}\n---\n\\boxed{45}")
    assert "members with this answer" in told("the majority's")
    choose("turns")
    page.fill("#try_response", '[{"role": "assistant", "content": "no tags"}]')
    assert "assistant: no tags" in told("Turns")
    assert page.problems == []


def test_a_sample_opens_with_its_explanation_and_newer_ones_wait(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    score(live, [RIGHT])
    page = open_page(live).wait_for("document.querySelector('#recent li')")
    page.click("#recent .opener")
    page.wait_for("document.querySelector('#recent dl')")
    assert "So it is \\boxed{46}." in page.text("#recent pre")
    assert page.text("#recent mark") == "\\boxed{46}"
    score(live, [{**RIGHT, "id": "b"}, {**RIGHT, "id": "c"}])
    page.wait_for("!document.getElementById('newer').hidden")
    assert page.run("document.querySelectorAll('#recent li').length") == 1
    assert page.text("#newer") == "2 newer"
    page.click("#newer")
    assert page.run("document.querySelectorAll('#recent li').length") == 3
    assert page.problems == []


def test_a_wrong_key_stays_outside_and_the_right_one_is_kept_in_the_tab(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server(REWARD_API_KEY="sesame")
    page = open_page(live).wait_for("!document.getElementById('key_form').hidden")
    assert page.problems == []  # without a key it does not even ask
    page.fill("#key", "wrong")
    page.click("#key_form button")
    page.wait_for("document.getElementById('key_note').className === 'bad'")
    assert page.text("#key_note") == "That key does not open this server."
    assert page.run("document.getElementById('content').hidden")
    page.fill("#key", "sesame")
    page.click("#key_form button")
    page.wait_for(SHOWN)
    assert page.text("#state") == "● ready"
    page.go(f"{live.url}/").wait_for(SHOWN)
    assert page.run("localStorage.length") == 0
    assert page.run("document.cookie") == ""
    assert open_page(live).wait_for("!document.getElementById('key_form').hidden")


def test_what_a_model_wrote_is_never_run(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    evil = '</pre><script>window.ran = 1</script><img src="/x" onerror="window.ran = 2">'
    sample = {"id": evil, "prompt": evil, "response": evil, "ground_truth": evil}
    score(live, [sample])
    page = open_page(live).wait_for("document.querySelector('#recent li')")
    assert evil in page.text("#recent .text")
    page.click("#recent .opener")
    page.wait_for("document.querySelector('#recent pre')")
    assert evil in page.text("#recent .detail")
    page.fill("#try_response", evil)
    page.fill("#try_truth", evil)
    page.click("#try_form button")
    page.wait_for("document.querySelector('#try_result pre')")
    assert page.run("typeof window.ran") == "undefined"
    assert page.run("document.images.length") == 0
    assert page.run("document.scripts.length") == 1
    assert not any(url.endswith("/x") for url in page.asked)
    assert page.problems == []


def test_a_shadow_shows_where_it_disagrees(
    start_server: Callable[..., LiveServer], open_page: Open, tmp_path: Path
) -> None:
    (tmp_path / "live.yaml").write_text("scorers: {math: {}}\nshadow: strict\n")
    strict = "scorers: {math: {config: {answer_from: [boxed]}}}\n"
    (tmp_path / "strict.yaml").write_text(strict)
    live = start_server("--profiles_dir", str(tmp_path))
    page = open_page(live).wait_for(SHOWN)
    assert page.run("document.getElementById('shadow_part').hidden")
    loose = [{**RIGHT, "id": f"loose-{i}", "response": "So it is 46."} for i in range(7)]
    unknown = {**RIGHT, "id": "unknown", "ground_truth": None}
    score(live, [RIGHT, *loose, {**RIGHT, "id": "x" * 900}, unknown], "live")
    page.wait_for("document.querySelectorAll('#shadows tbody tr').length === 5")
    told = page.text("#shadows")
    assert "live beside its shadow strict" in told
    assert "7 (70%)" in told
    assert "0.778" in told  # of nine that have both rewards, seven differ by 1
    rows = "Array.from(document.querySelectorAll('#shadows tbody tr'), (row) => row.innerText)"
    assert page.run(rows) == [f"loose-{i}\t1\t0" for i in (6, 5, 4, 3, 2)]
    for width in (320, 390):
        page.resize(width, 800)
        page.wait_for(f"innerWidth === {width}")
        assert page.run("document.documentElement.scrollWidth") <= width
    assert page.problems == []


def test_a_narrow_screen_never_scrolls_sideways(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    long = {"id": "x" * 300, "prompt": "p" * 900, "response": "y" * 3000, "ground_truth": "z" * 900}
    score(live, [long, RIGHT, {**RIGHT, "ground_truth": None}])
    page = open_page(live, 390).wait_for("document.querySelector('#recent li')")
    for opener in range(3):
        page.run(f"document.querySelectorAll('#recent .opener')[{opener}].click()")
    page.wait_for("document.querySelectorAll('#recent pre').length >= 5")
    page.wait_for("document.querySelector('#histogram svg') && document.querySelector('#watch td')")
    for width in (320, 390, 768):
        page.resize(width, 800)
        page.wait_for(f"innerWidth === {width}")
        assert page.run("document.documentElement.scrollWidth") <= width
    assert page.problems == []


def test_dark_is_dark_and_light_is_light(server: LiveServer, open_page: Open) -> None:
    def brightness(page: Page, what: str) -> float:
        colour = f"getComputedStyle(document.body).{what}.match(/\\d+/g).map(Number)"
        return sum(page.run(colour)[:3]) / 3

    for dark in (False, True):
        page = open_page(server, dark=dark).wait_for(SHOWN)
        page_is, ink_is = brightness(page, "backgroundColor"), brightness(page, "color")
        assert (page_is < 60 < 150 < ink_is) if dark else (ink_is < 60 < 200 < page_is)


def test_a_server_that_goes_away_is_said_to_be_and_found_again(
    start_server: Callable[..., LiveServer], open_page: Open
) -> None:
    live = start_server()
    score(live, [RIGHT, RIGHT])
    page = open_page(live).wait_for("document.querySelectorAll('#recent li').length === 2")
    live.kill()
    page.wait_for("document.getElementById('state').textContent.startsWith('unreachable')")
    live.restart()
    score(live, [{**RIGHT, "response": "after the restart \\boxed{46}"}])
    page.wait_for("document.getElementById('state').textContent === '● ready'")
    page.wait_for("document.querySelectorAll('#recent li').length === 1")
    assert "after the restart" in page.text("#recent")


def test_endpoints_and_cascades_show_what_they_cost_and_which_are_down(
    start_server: Callable[..., LiveServer], open_page: Open, tmp_path: Path
) -> None:
    engine = EngineProcess()
    engine.start()
    live = judged_by(start_server, tmp_path, engine.port)
    prose = {"id": "p", "response": "It is.", "ground_truth": "it is continuous everywhere"}
    score(live, [RIGHT, {**RIGHT, "response": "45"}, prose, {**prose, "id": "q"}], "both")
    page = open_page(live).wait_for(SHOWN)
    page.wait_for("document.querySelectorAll('#upstreams tbody tr').length === 1")
    told = page.text("#upstreams")
    assert f"http://127.0.0.1:{engine.port}/v1/chat/completions" in told
    assert "both: judge" in told
    assert "asked for 50% of 4: 2 decided, 0 undecided, 0 failed" in told
    tiles = page.text("#tiles")
    assert "1 of 1" in tiles
    assert "cost by price table" in tiles
    page.wait_for("document.querySelectorAll('#recent li').length === 4")
    page.click("#recent .opener")
    page.wait_for("document.querySelector('#recent dl')")
    assert "math: judge decided" in page.text("#recent .detail")
    engine.kill()
    for at in range(8):
        score(live, [{**prose, "id": str(at), "response": f"It is {at}."}], "both")
    page.wait_for("document.getElementById('upstreams').textContent.includes('▼ down')")
    assert "0 of 1" in page.text("#tiles")
    assert page.problems == []
