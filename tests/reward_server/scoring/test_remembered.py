"""Responses that resemble one to another prompt: what is remembered, of whom, for how long."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from touchstone_rewards.reward_server import caller
from touchstone_rewards.reward_server.caller import Caller
from touchstone_rewards.reward_server.limits import Share
from touchstone_rewards.reward_server.profiles import Profile, load_profiles
from touchstone_rewards.reward_server.schemas import Priority, Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.groups.duplicates import MIN_RUNS
from touchstone_rewards.reward_server.scorers.groups.texts import (
    SKETCH_RUNS,
    likeness,
    runs,
    sketch,
)
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.remembered import (
    INDEXED,
    MOST_ALIKE,
    MOST_MEMORIES,
    SLICE_SAMPLES,
    Remembered,
    SeenResponse,
)
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

COPIES = "{scorer: duplicates, config: {remember: 1000}}"
PROFILES = {
    "one": f"scorers: {{copies: {COPIES}}}",
    "weighted": f"scorers: {{copies: {COPIES}, form: {{scorer: format}}}}",
    "gathered": f"scorers: {{copies: {COPIES}}}\ngroups: {{size: 2, deadline_s: 600}}",
    "plain": "scorers: {copies: {scorer: duplicates}}",
}


def text(seed: object, count: int = 60) -> str:
    """A text of this many words that shares no run with that of another seed."""
    drawn = random.Random(str(seed))
    return " ".join("".join(drawn.choices("abcdefghij", k=6)) for _ in range(count))


CANNED = text("canned", 100)


def canned(name: str) -> str:
    """The canned response with a name in every twentieth word."""
    return " ".join(name if n % 20 == 7 else word for n, word in enumerate(CANNED.split()))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    made = make_engine(tmp_path)
    await made.start()
    yield made
    await made.stop()


def make_engine(folder: Path) -> Engine:
    for name, content in PROFILES.items():
        (folder / f"{name}.yaml").write_text(content)
    settings = load_settings().model_copy(update={"workers": 1})
    return create_engine(load_profiles([folder]), settings, Metrics())


def group(prompt: str, *responses: str) -> list[Sample]:
    return [
        Sample(f"{prompt}/{n}", response, prompt=f"Prompt {prompt}", group_id=prompt)
        for n, response in enumerate(responses)
    ]


async def score(
    engine: Engine, *samples: Sample, profile: str = "one", priority: Priority = "train"
) -> list[SampleResult]:
    request = ScoreRequest(list(samples), profile, priority=priority, explain=True)
    return (await engine.score(request)).results


async def rewards(engine: Engine, *samples: Sample, **how: object) -> list[float | None]:
    return [each.reward for each in await score(engine, *samples, **how)]  # pyright: ignore


async def test_a_canned_answer_with_a_name_changed_pays_from_the_second_prompt_on(
    engine: Engine,
) -> None:
    assert await rewards(engine, *group("a", canned("Ann"), text(1))) == [0.0, 0.0]
    first, other = await score(engine, *group("b", canned("Bob"), text(2)))
    assert (first.reward, other.reward) == (-0.5, 0.0)
    about = (first.explanation or {})["copies"]
    assert (about["copies"], about["resembles"], about["prompts"]) == (0, "a/0", 1)
    # The runs that have no name, of those with either name.
    one, two = runs(canned("Ann"), 5), runs(canned("Bob"), 5)
    assert about["likeness"] == pytest.approx(len(one & two) / len(one | two), abs=0.15)
    assert (other.explanation or {})["copies"] == {"copies": 0}
    third, _ = await rewards(engine, *group("c", canned("Cid"), text(3)))
    assert third == pytest.approx(-2 / 3)


async def test_the_same_prompt_asked_again_counts_nothing(engine: Engine) -> None:
    for epoch in range(3):
        samples = [Sample(f"{epoch}/{n}", CANNED, prompt="P", group_id=f"{epoch}") for n in (0,)]
        assert await rewards(engine, *samples) == [0.0]
    assert await rewards(engine, *group("again", CANNED)) == [-0.5]
    assert await rewards(engine, *group("again", CANNED)) == [-0.5]


async def test_a_request_sent_twice_gets_the_same_and_its_order_is_of_no_consequence(
    engine: Engine,
) -> None:
    samples = [one for name in "abcd" for one in group(name, canned(name), text(name))]
    first = await rewards(engine, *samples)
    assert first == [-0.75, 0.0] * 4  # each resembles those to three other prompts
    assert await rewards(engine, *samples) == first
    assert await rewards(engine, *samples[::-1]) == first[::-1]


async def test_more_samples_than_one_turn_takes_are_compared_all(engine: Engine) -> None:
    samples = [one for n in range(SLICE_SAMPLES + 9) for one in group(f"{n}", CANNED)]
    found = await rewards(engine, *samples)
    assert set(found) == {-(MOST_ALIKE - 1) / MOST_ALIKE, -MOST_ALIKE / (MOST_ALIKE + 1)}


async def test_evaluation_and_what_is_not_observed_are_compared_and_not_remembered(
    engine: Engine,
) -> None:
    await score(engine, *group("a", CANNED), priority="eval")
    await engine.score(ScoreRequest(group("b", CANNED), "one"), observed=False)
    assert await rewards(engine, *group("c", CANNED)) == [0.0]
    assert await rewards(engine, *group("d", CANNED), priority="eval") == [-0.5]
    assert len(engine.columns.groups.memories) == 1


async def test_callers_and_profiles_share_no_memory_and_their_number_is_bounded(
    engine: Engine,
) -> None:
    for name in ("ann", "bob"):
        caller.begin(Caller(name, Share(name)))
        assert await rewards(engine, *group(f"of {name}", CANNED)) == [0.0]
    assert await rewards(engine, *group("x", CANNED), profile="weighted") == [0.0]
    assert await rewards(engine, *group("y", CANNED)) == [-0.5]
    for n in range(MOST_MEMORIES + 5):
        caller.begin(Caller(f"caller {n}", Share(f"caller {n}")))
        await score(engine, *group("z", CANNED))
    assert len(engine.columns.groups.memories) == MOST_MEMORIES


async def test_a_sample_without_a_prompt_is_an_error_and_the_others_are_scored(
    engine: Engine,
) -> None:
    blank, empty, known = await score(
        engine,
        Sample("1", CANNED, group_id="g"),
        Sample("2", text(2), prompt="", group_id="g"),
        Sample("3", CANNED, prompt="P", group_id="g"),
    )
    for each in (blank, empty):
        assert each.error is not None
        assert (each.reward, each.error.code) == (None, "missing_field")
        assert "send the prompt with every sample" in each.error.message
    assert known.reward == -0.5  # one of two others is a copy


async def test_short_responses_are_alike_for_good_reasons(engine: Engine) -> None:
    short = text("short", MIN_RUNS + 3)  # one run too few
    for name in "ab":
        assert await rewards(engine, *group(name, short, "So it is 46.", "")) == [0.0] * 3
    longer = [await rewards(engine, *group(name, f"{short} more")) for name in "cd"]
    assert longer[-1] == [-0.5]


async def test_a_group_is_scored_with_its_copies_and_the_lower_score_stands(
    engine: Engine,
) -> None:
    await score(engine, *group("a", CANNED))
    assert await rewards(engine, *group("b", CANNED, CANNED, CANNED, text(1))) == [
        *[pytest.approx(-2 / 3)] * 3,
        0.0,
    ]


async def test_groups_that_are_scored_in_a_worker_are_compared_too(engine: Engine) -> None:
    long = text("long", 12_000)
    for prompt, wanted in (("a", 0.0), ("b", -0.5)):
        assert await rewards(engine, *group(prompt, long, text(prompt))) == [wanted, 0.0]


async def test_members_in_several_requests_are_compared_with_other_prompts(
    engine: Engine,
) -> None:
    for prompt, wanted in (("a", 0.0), ("b", -0.5)):
        members = group(prompt, canned(prompt), text(prompt))
        calls = [score(engine, one, profile="gathered") for one in members]
        found = [result.reward for results in await asyncio.gather(*calls) for result in results]
        assert found == [wanted, 0.0]


async def test_a_restart_forgets(tmp_path: Path) -> None:
    for _ in range(2):
        engine = make_engine(tmp_path)
        await engine.start()
        assert await rewards(engine, *group("a", CANNED)) == [0.0]
        assert await rewards(engine, *group("b", CANNED)) == [-0.5]
        await engine.stop()


def test_the_profile_says_that_its_rewards_depend_on_earlier_responses(tmp_path: Path) -> None:
    def profile(content: str) -> Profile:
        (tmp_path / "p.yaml").write_text(content)
        return load_profiles([tmp_path])["p"]

    plain, one = profile(PROFILES["plain"]), profile(PROFILES["one"])
    assert not plain.by_earlier
    assert not plain.kept_once
    assert "-" not in plain.fingerprint
    assert one.by_earlier
    assert one.kept_once
    assert one.fingerprint.endswith("-remembering")
    assert {"prompt", "group_id"} <= {*one.info.needs}
    assert "prompt" not in plain.info.reads
    both = profile(f"{PROFILES['one']}\nnormalization: running\n").fingerprint
    assert both.endswith("-remembering-running")
    (tmp_path / "q.yaml").write_text("route: {by: metadata.k, cases: {x: p, y: math}}")
    assert load_profiles([tmp_path])["q"].fingerprint.endswith("-remembering-running")


def kept(number: int, words: str, prompt: str | None = None) -> SeenResponse:
    name = prompt or f"p{number}"
    return SeenResponse(str(number), name.encode(), array("I", sketch(runs(words, 5))))


def test_what_is_remembered_is_bounded_however_much_comes() -> None:
    memory = Remembered(50, 0.3)
    for number in range(500):
        memory.add(kept(number, CANNED if number % 3 else text(number)))
    assert len(memory) == 50
    assert len(memory._places) <= 50 * INDEXED
    assert max(map(len, memory._places.values())) <= MOST_ALIKE
    assert len(memory.given_elsewhere(kept(-1, CANNED))) == MOST_ALIKE
    assert memory.given_elsewhere(kept(-1, text(0))) == []  # long forgotten
    for number in range(50):
        memory.add(kept(number, text(f"new {number}")))
    assert memory.given_elsewhere(kept(-1, CANNED)) == []
    assert set(memory._places) == {
        place for one in memory._responses.values() for place in one.sketch[:INDEXED]
    }


def test_a_phrase_that_all_use_costs_no_more_than_a_few_comparisons() -> None:
    common, memory = sketch(runs(CANNED, 5))[:INDEXED], Remembered(1000, 0.9)
    for number in range(1000):  # all in one another's way, none alike
        own = [2**31 + number * SKETCH_RUNS + n for n in range(SKETCH_RUNS - INDEXED)]
        memory.add(SeenResponse(str(number), f"p{number}".encode(), array("I", common + own)))
    assert max(map(len, memory._places.values())) == MOST_ALIKE
    assert memory.given_elsewhere(kept(-1, CANNED)) == []


async def test_long_ids_and_text_that_is_no_unicode_are_remembered_and_bounded(
    engine: Engine,
) -> None:
    strange = f"{CANNED} \ud800"
    for name in ("a" * 10_000, "b" * 10_000):
        found = await score(engine, *group(f"{name}\ud800", strange))
    assert found[0].reward == -0.5
    assert len((found[0].explanation or {})["copies"]["resembles"]) == 80


def test_copies_to_one_prompt_take_one_place() -> None:
    memory = Remembered(50, 0.3)
    memory.add(kept(0, CANNED, "other"))
    for number in range(1, 30):
        memory.add(kept(number, canned(f"name{number}"), "same"))
    assert len(memory) == 2
    [(_, found)] = memory.given_elsewhere(kept(-1, CANNED, "other"))
    assert found.id == "29"


def test_the_likeness_of_sketches_is_near_that_of_the_texts() -> None:
    base = text("base", 400).split()
    for shared in (0, 40, 120, 200, 320, 400):
        one, two = " ".join(base), " ".join([*base[:shared], *text(shared, 400).split()[shared:]])
        a, b = runs(one, 5), runs(two, 5)
        assert len(sketch(a)) == SKETCH_RUNS
        assert likeness(sketch(a), sketch(b)) == pytest.approx(len(a & b) / len(a | b), abs=0.15)
    short, longer = runs(text("s", 20), 5), runs(text("s", 30), 5)
    assert likeness(sketch(short), sketch(longer)) == len(short) / len(longer)
    assert likeness([], []) == 0.0
