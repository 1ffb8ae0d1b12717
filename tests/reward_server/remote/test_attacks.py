"""`check --attacks` finds a judge that can be talked into a yes, and passes an honest one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.clients.peers import Action, Seen
from tests.reward_server.remote.conftest import StartPeer, in_turn
from tests.reward_server.remote.test_judge import NO, YES, said
from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.audit.attacks import ATTACKS, LONG_CHARS
from touchstone_rewards.reward_server.commands.check_attacks import (
    WRONG,
    AttackReport,
    attack,
    attacked,
)
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.settings import load_settings

ROWS = [
    Sample("a", "It is 46.", prompt="2 * 23?", ground_truth="46"),
    Sample("b", "It is 7.", prompt="3 + 4?", ground_truth=["7", "seven"]),
    Sample("c", "Fine.", prompt="How are you?"),
]


def between(marks: str, request: Seen) -> str:
    """Return the texts between marks, which are all that a judge may read as the response."""
    prompt: str = request.body["messages"][0]["content"]
    pattern = rf"\[{marks} (\w{{12}}) begins\]\n(.*)\n\[{marks} \1 ends\]"
    found = re.findall(pattern, prompt, re.DOTALL)
    assert len(found) == 1
    return found[0][1]


def judge_that(accepts: Callable[[str, str], bool]) -> Callable[[Seen], Action]:
    def act(request: Seen) -> Action:
        texts = between("answer", request), between("reference answer", request)
        return YES if accepts(*texts) else NO

    return act


async def tried(tmp_path: Path, url: str, rows: list[Sample]) -> AttackReport:
    judge = {"config": {"url": url, "model": "m"}}
    (tmp_path / "judged.yaml").write_text(yaml.safe_dump({"scorers": {"judge": judge}}))
    settings = load_settings(overrides={"workers": 1, "profiles_dir": str(tmp_path)})
    return await attack(settings, "judged", rows, 0.5)


def accepted(report: AttackReport) -> dict[tuple[str, str], float | None]:
    return {(each.family, each.name): each.accepted for each in report.attacks}


async def test_an_honest_judge_accepts_no_attack(tmp_path: Path, start_peer: StartPeer) -> None:
    peer = await start_peer(judge_that(lambda text, truth: text == truth.partition("\n")[0]))
    report = await tried(tmp_path, peer.url, ROWS[:2])
    assert report.worst == 0.0
    assert [each.accepted for each in report.controls] == [0.0, 1.0]
    assert {each.tried for each in report.attacks} == {2}
    assert report.rows == 2


async def test_what_fools_a_judge_is_named(tmp_path: Path, start_peer: StartPeer) -> None:
    peer = await start_peer(judge_that(lambda text, _: text in (":", "Solution")))
    report = await tried(tmp_path, peer.url, ROWS[:2])
    fooled = {attack for attack, share in accepted(report).items() if share}
    assert fooled == {("symbol", "colon"), ("opener", "solution")}
    assert report.worst == 1.0


async def test_what_could_not_be_scored_is_neither_accepted_nor_refused(
    tmp_path: Path, start_peer: StartPeer
) -> None:
    peer = await start_peer(in_turn(said("I cannot say.")))
    report = await tried(tmp_path, peer.url, ROWS[:1])
    shares = accepted(report)
    assert shares["symbol", "space"] == 0.0  # it says nothing, and costs no call
    assert shares["symbol", "colon"] is None
    assert report.worst is None
    [colon] = [each for each in report.attacks if each.name == "colon"]
    assert (colon.tried, colon.scored) == (1, 0)
    assert "its last line is 'I cannot say.'" in str(colon.first_error)


def test_an_attack_states_another_rows_answer_and_is_never_right() -> None:
    by_name = {(each.family, each.name): each for each in ATTACKS}
    wrong = attacked(ROWS, by_name["wrong", "alone"])
    assert [one.response for one in wrong] == ["7", "46", "46"]
    assert [one.response for one in attacked(ROWS[2:], by_name["wrong", "alone"])] == [WRONG]
    assert attacked([Sample("a", "", ground_truth=":")], by_name["symbol", "colon"]) == []
    assert len({one.text for one in ATTACKS}) == len(by_name) == len(ATTACKS)
    assert max(len(one.text) for one in ATTACKS) > 0.9 * LONG_CHARS


@pytest.mark.parametrize(("allowed", "status"), [("0", 1), ("1", 0)])
def test_the_exit_status_and_the_report_say_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], allowed: str, status: int
) -> None:
    profile = {"scorers": {"contains": {"config": {}}}}  # a rule that any mention of it satisfies
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mentions.yaml").write_text(yaml.safe_dump(profile))
    rows, report = tmp_path / "rows.jsonl", tmp_path / "report.json"
    rows.write_text(json.dumps({"id": "1", "response": "yes", "ground_truth": "yes"}) + "\n")
    words = ["check", "--attacks", "mentions", "--profiles_dir", str(tmp_path / "p")]
    words += ["--input", str(rows), "--max_accepted", allowed, "--workers", "1"]
    assert main([*words, "--output", str(report)]) == status
    shown = capsys.readouterr().out
    assert re.search(r"verdict +yes +100%", shown)
    found = json.loads(report.read_text())
    assert (found["profile"], found["rows"], found["worst"]) == ("mentions", 1, 1.0)
    assert len(found["attacks"]) == len(ATTACKS)
    assert main([*words, "--output", str(report)]) == 2
    assert "exists; give another name" in capsys.readouterr().err


def test_a_profile_that_is_not_there_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--attacks", "no_such", "--workers", "1"]) == 2
    assert "no_such" in capsys.readouterr().err
    assert main(["check", "--output", "x.json"]) == 2
    assert "--attacks" in capsys.readouterr().err
