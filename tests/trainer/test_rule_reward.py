"""Rewards by rule give the server's verdicts without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import write_rows
from touchstone_rewards.clients import RemoteRewardClient, Sample
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.rule_reward import (
    RuleBasedRewardModel,
    UnknownSampleId,
    read_ground_truths,
)

TRUTHS = [
    {"id": "half", "answer": "1/2"},
    {"id": "seven", "answer": "7"},
    {"id": "bad", "answer": ""},
]


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("truths") / "truths.jsonl", TRUTHS)


@pytest.fixture(scope="module")
def model(truths: Path) -> Iterator[RuleBasedRewardModel]:
    rules = RuleBasedRewardModel(truths)
    yield rules
    rules.close()


def test_right_and_wrong_get_the_rewards_that_were_chosen(model: RuleBasedRewardModel) -> None:
    ids = ["half", "seven", "half"]
    responses = [r"it is \boxed{0.5}", "the answer is 8", "I do not know"]
    assert model.get_rewards(ids, responses) == [1.0, -1.0, -1.0]


def test_other_rewards_can_be_chosen(truths: Path) -> None:
    rules = RuleBasedRewardModel(truths, reward_correct=2.0, reward_incorrect=0.5)
    assert rules.get_rewards(["seven", "seven"], [r"\boxed{7}", r"\boxed{6}"]) == [2.0, 0.5]
    rules.close()


def test_reasoning_before_the_box_costs_nothing(model: RuleBasedRewardModel) -> None:
    """In the original code, only a response that consisted of the box alone got the full reward."""
    response = "First 3 + 4, which makes 7.\nSo \\boxed{7}."
    assert model.get_rewards(["seven"], [response]) == [1.0]


def test_an_unknown_id_is_an_error_and_never_incorrect(model: RuleBasedRewardModel) -> None:
    with pytest.raises(UnknownSampleId, match="'other'"):
        model.get_rewards(["seven", "other"], ["7", "7"])


def test_a_ground_truth_that_cannot_be_read_gives_no_reward(model: RuleBasedRewardModel) -> None:
    assert model.get_rewards(["bad", "seven"], [r"\boxed{7}", r"\boxed{7}"]) == [None, 1.0]


def test_without_normalizing_only_the_same_letters_are_right(truths: Path) -> None:
    rules = RuleBasedRewardModel(truths, math_equal_normalize=False)
    responses = [r"\boxed{1/2}", r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", "nothing"]
    assert rules.get_rewards(["half"] * 4, responses) == [1.0, -1.0, -1.0, -1.0]
    rules.close()


def test_without_normalizing_the_answer_of_a_worked_solution_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"id": "gsm8k", "answer": "6 + 40 = <<6+40=46>>46 apples.\n#### 46"},
        {"id": "box", "answer": "We add, and get \\boxed{\\frac{1}{2}}."},
        {"id": "two", "answer": "7"},
    ]
    path = write_rows(tmp_path / "truths.jsonl", rows)
    rules = RuleBasedRewardModel(path, math_equal_normalize=False)
    ids = ["gsm8k", "gsm8k", "gsm8k", "box", "box", "two"]
    responses = ["#### 46", r"\boxed{46.0}", r"\boxed{45}"]
    responses += [r"\boxed{\frac{1}{2}}", r"\boxed{0.5}", r"\boxed{7}"]
    assert rules.get_rewards(ids, responses) == [1.0, -1.0, -1.0, 1.0, -1.0, 1.0]
    rules.close()
    assert "too long to be answers" not in caplog.text


def test_without_normalizing_ground_truths_that_are_no_answers_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"id": "a", "answer": "First six.\nThen forty."}, {"id": "b", "answer": "46"}]
    RuleBasedRewardModel(write_rows(tmp_path / "t.jsonl", rows), math_equal_normalize=False)
    assert "1 of 2 ground truths are too long to be answers, such as that of id a" in caplog.text
    with pytest.raises(InputError, match="profile 'dummy' has no scorer math"):
        RuleBasedRewardModel(tmp_path / "t.jsonl", profile="dummy", math_equal_normalize=False)


@pytest.mark.parametrize("column", ["ground_truth", "answer", "solution", "target", "completion"])
@pytest.mark.parametrize("name", ["id", "sample_id", "example_id", "question_id"])
def test_ground_truths_stand_under_the_names_that_data_sets_use(
    tmp_path: Path, column: str, name: str
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{name: 3, column: "x"}, {name: 4, column: "y"}])
    assert read_ground_truths(path) == {"3": "x", "4": "y"}


def test_a_file_without_answers_or_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"id": 1, "text": "x"}])
    with pytest.raises(InputError, match="no column ground_truth, answer"):
        RuleBasedRewardModel(path)
    path = write_rows(tmp_path / "good.jsonl", TRUTHS)
    with pytest.raises(InputError, match="no profile 'maths'; built-in profiles are"):
        RuleBasedRewardModel(path, profile="maths")


def cases(folder: Path) -> list[tuple[Any, str]]:
    """Ground truths and answers, real ones and hostile ones, each bare and in a box."""
    found = []
    for name in ("math_cases.jsonl", "math_hostile.jsonl"):
        with (folder / name).open(encoding="utf-8") as file:
            for case in map(json.loads, file):
                parts = case.get("pred_parts") or [[str(case["pred"]), 1]]
                answer = "".join(text * times for text, times in parts)
                found += [(str(case["ground_truth"]), text) for text in (answer, _boxed(answer))]
    return found


def _boxed(answer: str) -> str:
    return f"So it is \\boxed{{{answer}}}."


@pytest.mark.long
def test_rules_and_server_agree_on_every_sample(
    server: LiveServer, shared_data: Path, tmp_path: Path
) -> None:
    pairs = cases(shared_data)
    truths = {f"c{n}": truth for n, (truth, _) in enumerate(pairs)}
    responses = [response for _, response in pairs]
    path = write_rows(
        tmp_path / "truths.jsonl", [{"id": key, "answer": truth} for key, truth in truths.items()]
    )
    rules = RuleBasedRewardModel(path, reward_correct=1.0, reward_incorrect=0.0)
    samples = [
        Sample(id=name, response=response, ground_truth=truth)
        for (name, truth), response in zip(truths.items(), responses, strict=True)
    ]
    with RemoteRewardClient(server.url, timeout_s=200.0) as client:
        theirs = client.score(samples, "math")
    mine = rules.score(samples)
    assert len(mine) == len(theirs) > 1000
    for ours, other in zip(mine, theirs, strict=True):
        assert (ours.id, ours.reward, ours.status) == (other.id, other.reward, other.status)
        assert ours.scores == other.scores
        assert (ours.error and ours.error.code) == (other.error and other.error.code)
        assert ours.fingerprint == other.fingerprint
    assert rules.get_rewards(list(truths), responses) == [result.reward for result in theirs]
    rules.close()
    assert {result.reward for result in theirs} >= {0.0, 1.0}
