"""If a scorer returns nonsense in the event loop, its sample fails and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.checkout import PLUGINS, run_command
from tests.reward_server.hostile_scorers import ACTS
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

CLUMSY = "tests.reward_server.hostile_scorers:Clumsy"
GOOD = ["float32", "int64", "numpy_bool", "bool", "numpy_told", "rounding"]
BAD = [
    "raise",
    "exit",
    "text",
    "bare",
    "none_in_list",
    "error_text",
    "unknown_code",
    "both",
    "int_keys",
    "explanation_text",
    "surrogate_inside",
    "surrogate_raised",
    "beyond",
    "huge_int",
    "nan",
    "inf",
    "neither",
    "unsendable",
    "deep",
]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    (tmp_path / "clumsy.yaml").write_text(f"scorers: {{clumsy: {{scorer: '{CLUMSY}'}}}}\n")
    (tmp_path / "heavy.yaml").write_text(
        f"scorers: {{one: {{scorer: '{CLUMSY}', weight: 1.0e+308}}}}\n"
    )
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), load_settings(), Metrics())
    await engine.start()
    yield engine
    await engine.stop()


async def results(engine: Engine, acts: list[str], profile: str = "clumsy") -> list[SampleResult]:
    samples = [Sample(f"{at}", "seven", ground_truth=act) for at, act in enumerate(acts)]
    answer = await engine.score(ScoreRequest(samples, profile=profile, explain=True))
    msgspec.json.encode(answer)  # what cannot be encoded is a 500
    return answer.results


async def test_nonsense_fails_its_own_sample_with_a_message_that_names_it(engine: Engine) -> None:
    acts = [act for bad in BAD for act in ("", bad)]
    found = await results(engine, acts)
    assert [result.reward for result in found[::2]] == [5.0] * len(BAD)
    for act, result in zip(BAD, found[1::2], strict=True):
        assert result.error is not None, act
        assert result.error.code == "scorer_failed"
        assert f"scorer {CLUMSY}" in result.error.message, act


async def test_numbers_of_numpy_are_scores(engine: Engine) -> None:
    found = await results(engine, GOOD)
    assert [result.reward for result in found] == [0.5, 7.0, 1.0, 1.0, 1.0, 0.0]
    assert {type(result.reward) for result in found} == {float}


async def test_a_traceback_is_logged_once_with_profile_and_request(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    await results(engine, ["raise_here", "", "raise_here"])
    await results(engine, ["raise_here"])
    assert caplog.text.count("in raise_here") == 1
    assert f"scorer {CLUMSY} failed; profile clumsy, request " in caplog.text


async def test_a_sum_beyond_all_numbers_is_an_error_not_a_null_that_is_ok(engine: Engine) -> None:
    [result] = await results(engine, [""], "heavy")
    assert (result.status, result.reward) == ("error", None)
    assert result.error is not None
    assert "weighted sum" in result.error.message


@pytest.mark.parametrize(("name", "said"), [("NoVersion", "version"), ("InAProcess", "'process'")])
def test_a_class_that_is_no_scorer_is_one_line_at_start(
    tmp_path: Path, name: str, said: str
) -> None:
    path = f"tests.reward_server.hostile_scorers:{name}"
    (tmp_path / "mine.yaml").write_text(f"scorers: {{mine: {{scorer: '{path}'}}}}\n")
    done = run_command("serve", "--port", 0, "--profiles_dir", tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert path in line
    assert said in line


def test_every_act_of_the_list_exists() -> None:
    assert {*GOOD, *BAD} <= ACTS.keys()
