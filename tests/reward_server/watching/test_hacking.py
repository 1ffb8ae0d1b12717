"""The reward-hacking watch: its numbers by hand, its window, and its metrics."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from pathlib import Path

import httpx2
import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import load_profile, load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult
from touchstone_rewards.reward_server.watching.hacking import (
    MOST_A_SECOND,
    TAIL_CHARACTERS,
    WINDOW,
    Watch,
    final_answer,
    pearson,
)

Row = tuple[str, float | None]


def watched(rows: list[Row], watch: Watch | None = None) -> Watch:
    """Return a watch that has seen these responses with these rewards under the profile `p`; each
    call is one second by its clock.
    """
    watch = watch or Watch(clock=count().__next__)
    samples = [Sample(str(i), response) for i, (response, _) in enumerate(rows)]
    results = [
        SampleResult(str(i), "error" if reward is None else "ok", reward, {"a": reward, "b": 0.0})
        for i, (_, reward) in enumerate(rows)
    ]
    watch.observe("p", samples, results)
    return watch


def test_longer_responses_that_earn_more_correlate_with_one_and_less_with_minus_one() -> None:
    more = watched([("x" * n, float(n)) for n in range(1, 9)]).numbers("p")
    less = watched([("x" * n, float(-n)) for n in range(1, 9)]).numbers("p")
    assert more.length_correlation == pytest.approx(1.0)
    assert less.length_correlation == pytest.approx(-1.0)
    assert more.reward_mean == 4.5
    assert more.reward_std == pytest.approx(5.25**0.5)


def test_a_correlation_is_exact_where_large_values_differ_little() -> None:
    rng = random.Random(0)
    xs = [1e9 + rng.random() for _ in range(500)]
    ys = [1e9 + (x - 1e9) / 3 + rng.random() for x in xs]

    def exactly(xs: list[float], ys: list[float]) -> float:
        fx, fy = [Fraction(x) for x in xs], [Fraction(y) for y in ys]
        mx, my = sum(fx) / len(fx), sum(fy) / len(fy)
        xy = sum((x - mx) * (y - my) for x, y in zip(fx, fy, strict=True))
        xx, yy = sum((x - mx) ** 2 for x in fx), sum((y - my) ** 2 for y in fy)
        return float(xy) / (float(xx) ** 0.5 * float(yy) ** 0.5)

    assert pearson(xs, ys) == pytest.approx(exactly(xs, ys), abs=1e-6)


@pytest.mark.parametrize("rewards", [[0.1] * 7, [], [1.0]])
def test_without_variation_there_is_no_correlation_rather_than_a_number(
    rewards: list[float],
) -> None:
    watch = watched([("x" * n, reward) for n, reward in enumerate(rewards)])
    assert watch.numbers("p").length_correlation is None


def test_shares_are_counted_over_all_and_rewards_over_what_was_scored() -> None:
    rows: list[Row] = [
        ("so \\boxed{1}", 1.0),
        ("so \\boxed{1}", 0.0),
        ("thus \\boxed{1}", None),
        ("\\boxed{2} or \\boxed{3}", 0.0),
    ]
    numbers = watched(rows).numbers("p")
    assert numbers.samples == 4
    assert numbers.identical_responses == 0.25
    assert numbers.commonest_answer == 0.75
    assert numbers.several_answers == 0.25
    assert numbers.reward_mean == pytest.approx(1 / 3)


def test_only_the_last_samples_count() -> None:
    watch = watched([("old", 5.0)] * WINDOW)
    watched([(f"new {i}", 1.0) for i in range(WINDOW - 1)], watch)
    assert watch.numbers("p").reward_mean == pytest.approx(1 + 4 / WINDOW)
    watched([("newest", 1.0)], watch)
    numbers = watch.numbers("p")
    assert (numbers.samples, numbers.reward_mean) == (WINDOW, 1.0)


def test_what_comes_faster_than_the_window_can_show_is_left_out_until_the_next_second() -> None:
    now_s = 0.0
    watch = Watch(clock=lambda: now_s)
    watched([("taken", 1.0)] * MOST_A_SECOND, watch)
    watched([("too much", -1.0)], watch)
    assert watch.numbers("p").reward_mean == 1.0
    now_s = 1.0
    watched([("taken again", -1.0)] * WINDOW, watch)
    assert watch.numbers("p").reward_mean == -1.0


@pytest.mark.parametrize(
    ("response", "answer", "several"),
    [
        ("\\boxed{\\frac{1}{\\sqrt{2}}} it is", "\\frac{1}{\\sqrt{2}}", False),
        ("\\boxed{7}, so \\boxed{7}", "7", False),
        ("\\boxed{7}, or \\boxed{8}", "8", True),
        ("<think>\\boxed{7}?</think> <answer>\\boxed{8}</answer>", "8", False),
        ("<answer> 7 </answer><answer>8</answer>", "8", True),
        ("working\n#### 18", "18", False),
        ("first line\nA: 18\n", "A: 18", False),
        ("\\boxed{7}" + " " * TAIL_CHARACTERS + "\\boxed{8}", "8", False),
        ("\\boxed{never closed", "\\boxed{never closed", False),
        ("", "", False),
    ],
)
def test_the_final_answer_is_found_by_a_text_rule(
    response: str, answer: str, several: bool
) -> None:
    assert final_answer(response) == (answer, several)


def test_two_scorers_disagree_when_half_a_point_lies_between_them() -> None:
    rows: list[Row] = [("x", 1.0), ("y", 0.49), ("z", 0.0), ("not scored", None)]
    assert watched(rows).numbers("p").disagreement is None
    comparing = Watch(lambda profile: ("a", "b") if profile == "p" else None)
    assert watched(rows, comparing).numbers("p").disagreement == pytest.approx(1 / 3)


def test_a_shadows_disagreements_are_counted_over_its_own_window() -> None:
    watch = watched([("x", 1.0)])
    watch.disagreement("p", [True, False, False, False])
    assert watch.numbers("p").disagreement == 0.25
    watch.disagreement("p", [False] * WINDOW)
    assert watch.numbers("p").disagreement == 0.0


def test_scorers_that_are_named_are_compared_though_there_is_a_shadow() -> None:
    watch = Watch(lambda _: ("math", "strict"))
    agreeing = [SampleResult(str(i), "ok", 1.0, {"math": 1.0, "strict": 1.0}) for i in range(4)]
    watch.observe("p", [Sample(each.id, "x") for each in agreeing], agreeing)
    watch.disagreement("p", [True, True])
    assert watch.numbers("p").disagreement == 0.0


COMPARING = """
scorers: {{math: {{}}, strict: {{scorer: math, weight: 0, config: {{boxes: all_agree}}}}}}
{}
"""


def test_a_profile_names_the_scorers_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(COMPARING.format("watch: {compare: [math, strict]}"))
    profile = load_profile(path)
    assert profile.config.watch
    assert profile.config.watch.compare == ("math", "strict")
    path.write_text(COMPARING.format(""))
    assert load_profile(path).fingerprint == profile.fingerprint
    path.write_text(COMPARING.format("watch: {compare: [math, sympy]}"))
    with pytest.raises(ConfigError, match=r"watch.compare names 'sympy'"):
        load_profile(path)


def test_no_built_in_profile_compares_without_being_asked() -> None:
    assert all(profile.config.watch is None for profile in load_profiles().values())


def gauges(live: LiveServer) -> dict[str, float]:
    """Return the watch's gauges by name and profile, without the common prefix."""
    lines = httpx2.get(f"{live.url}/metrics").text.splitlines()
    found = [line.removeprefix("reward_watch_") for line in lines if line.startswith("reward_wa")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in found)}


def test_a_policy_that_games_its_reward_shows_on_the_metrics(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "both.yaml").write_text(COMPARING.format("watch: {compare: [math, strict]}"))
    live = start_server("--profiles_dir", str(tmp_path))
    assert gauges(live) == {}
    # It hedges: every value in a box of its own, the right one last.
    hedging = {"response": "\\boxed{1} no \\boxed{2}", "ground_truth": "2"}
    honest = {"response": "It is \\boxed{3}, after some work.", "ground_truth": "2"}
    samples = [{"id": str(i), **(honest if i == 0 else hedging)} for i in range(4)]
    body = {"profile": "both", "samples": samples}
    httpx2.post(f"{live.url}/score", json=body).raise_for_status()
    found = gauges(live)
    assert found['several_answers{profile="both"}'] == 0.75
    assert found['identical_responses{profile="both"}'] == 0.5
    assert found['commonest_answer{profile="both"}'] == 0.75
    assert found['disagreement{profile="both"}'] == 0.75
    assert found['reward_mean{profile="both"}'] == 0.75
    assert found['length_correlation{profile="both"}'] == pytest.approx(-1.0)
