"""The baselines of the proof on pretrained weights, by hand: a bag of words, the length, ties."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks import real_grpo, real_pairs, real_words
from benchmarks._real import PAGE, PLACE, compared, filled, right_by_row, write_rows
from benchmarks.real_pairs import (
    by_length,
    by_words,
    drawn_problems,
    kept,
    ranked,
    read_rows,
    rows_of,
    words_of,
)
from tests.checkout import ROOT
from touchstone_rewards.trainer.preference.pairs import extremes, pairs_of
from touchstone_rewards.trainer.running.paired import difference, estimate


def pair(name: str, chosen: str, rejected: str) -> dict[str, str]:
    return {"id": name, "chosen": chosen, "rejected": rejected}


def test_equal_scores_are_half_a_pair() -> None:
    found = ranked([("a", 1.0, 0.0), ("b", 0.0, 1.0), ("c", 0.5, 0.5)])
    assert found == {"a": 1.0, "b": 0.0, "c": 0.5}


def test_numbers_words_and_signs_are_words() -> None:
    assert words_of("The answer is 12.") == Counter(["the", "answer", "is", "12", "."])


def test_a_bag_of_words_ranks_by_words_that_it_has_seen_and_no_others() -> None:
    train = [pair(str(n), f"yes {n}", f"no {n}") for n in range(8)]
    test = [pair("a", "yes 99", "no 99"), pair("b", "no 1", "yes 1"), pair("c", "new", "words")]
    assert by_words(train, test) == {"a": 1.0, "b": 0.0, "c": 0.5}


def test_the_length_takes_the_side_that_training_prefers() -> None:
    train = [pair("1", "12", "1234"), pair("2", "1", "12"), pair("3", "123", "1")]
    test = [pair("a", "1", "12"), pair("b", "12", "1")]
    assert by_length(train, test) == {"a": 1.0, "b": 0.0}


def test_lines_of_an_evaluation_become_pairs_of_a_right_and_a_wrong_answer() -> None:
    chat = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "It is"},
    ]
    lines = [
        {"id": f"q/{n}", "group": "q", "prompt": chat, "response": f" {n}.", "scores": {}}
        | {"reward": float(n == 4), "also": {}}
        for n in (3, 4)
    ]
    [found] = pairs_of(extremes(map(kept, lines)).values(), 0.5, Counter())
    assert (found["chosen"], found["rejected"]) == ("It is 4.", "It is 3.")
    assert found["prompt"] == chat[:1]


def test_only_the_full_reward_of_the_profile_asked_for_is_right() -> None:
    lines = [
        {"id": "a", "reward": 1.0, "also": {"math": 1.0}},
        {"id": "b", "reward": 0.0, "also": {"math": 1.0}},
        {"id": "c", "reward": None, "also": {"math": 0.0}},
    ]
    assert right_by_row(lines) == {"a": 1.0, "b": 0.0}
    assert right_by_row(lines, "math") == {"a": 1.0, "b": 1.0, "c": 0.0}


def test_a_difference_that_could_be_chance_is_not_called_apart() -> None:
    rows = {str(n): 1.0 for n in range(50)}
    same = compared("nothing", estimate([rows]), estimate([rows]), difference([rows], [rows]))
    assert same["ratio"] == 1
    assert not same["apart"]
    wrong = dict.fromkeys(rows, 0.0)
    models, peers = {"pairwise": [rows] * 3}, {"length": wrong}
    first, last = rows_of(models, peers, ([rows] * 3, [wrong] * 3))
    assert (first["ours"], first["peer"], first["ratio"], first["apart"]) == (1, 0, None, True)
    assert last["what"].startswith("held-out problems right")


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "new" / "rows.jsonl", [{"id": "a"}, {"id": "b"}])
    assert read_rows(path) == [{"id": "a"}, {"id": "b"}]


def test_the_page_has_the_sizes_that_are_run() -> None:
    page = " ".join((ROOT / "docs" / "proofs.md").read_text(encoding="utf-8").split())
    words, pairs = real_words.Sizes(), real_pairs.Sizes()
    assert f"{words.sft_steps} updates of SFT" in page
    assert f"then {words.grpo_steps} of GRPO" in page
    assert f"on {words.held_out} held-out problems" in page
    assert f"each of {pairs.train} sums and products, and of {pairs.test} with" in page
    assert f"{pairs.rm_steps} updates of a value head and of DiscoRM, {pairs.dpo_steps} of" in page
    assert f"{real_grpo.Sizes().rollouts} rollouts of GRPO" in page
    assert len(words.seeds) == len(pairs.seeds) == 3


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for _, name, _ in PLACE.findall(page)] == ["real_words", "real_pairs"]
    assert filled(page) == page


def test_problems_are_drawn_once_and_none_is_in_both_parts() -> None:
    drawn, sizes = drawn_problems(), real_pairs.Sizes()
    assert len(drawn) == len({each.pair for each in drawn}) == 820 + 190
    assert sizes.train + sizes.test <= len(drawn)
    assert drawn == drawn_problems()
