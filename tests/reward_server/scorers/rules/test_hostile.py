"""Hostile inputs to every rule get a score or a code in linear time, and no free reward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.growth import MOST_GROWTH, drawn_texts, growth
from tests.reward_server.scorers.rules.page import CONFIGS, ENGINES, RULES
from touchstone_rewards.reward_server.schemas import Message, Sample
from touchstone_rewards.reward_server.scorers import build_callable, build_scorer
from touchstone_rewards.reward_server.scorers.base import CallableScorer, Score
from touchstone_rewards.reward_server.scorers.returned import checked_scores
from touchstone_rewards.reward_server.scorers.rules.rule import Rule

MEGABYTE = 2**20
# A ground truth that each rule can read, where it reads one.
TRUTHS: dict[str, Any] = {
    "choice": "B",
    "numeric": "42",
    "tool_call": '{"name": "f", "arguments": {"x": 1}}',
    "ifeval": '{"instruction_id_list": ["punctuation:no_comma", "detectable_format:title"]}',
}
CONFIGS_HELD = [
    *[(rule, CONFIGS.get(rule, {})) for rule in RULES],
    ("contains", {"mode": "in_order"}),
    ("contains", {"mode": "all", "phrases": ["aaaa aaaa", "b"], "most_words": 10**9}),
    ("regex", {"pattern": "(?:a+)+$"}),
    ("regex", {"pattern": "(?:a|a)*b|(?:x?){50}y", "must": "be_all"}),
    ("json_schema", {"schema": {"type": "string", "pattern": "^(a+)+$"}}),
    ("json_schema", {"schema": {"type": "object"}, "repair": True}),
    ("tags", {"once": False, "outside": "any", "gap": "some_spaces"}),
    ("tags", {"partial": True, "prefilled": "auto", "boxed_in": "answer"}),
    ("repetition", {"of": "both"}),
    ("length", {"unit": "lines", "most": 9}),
    ("f1", {"measure": "exact_match"}),
    ("ifeval", {"mode": "loose"}),
]


def megabytes() -> Iterator[tuple[str, str]]:
    """Yield texts of about a megabyte, each long in one way."""
    pieces = {
        "letters": "a",
        "words": "aaaa ",
        "spaces": " \t\n\u00a0\u3000",
        "brackets": "[",
        "braces": '{"a":',
        "pairs": "[]",
        "stars": "*",
        "angles": "<<",
        "tags": "<think><answer>",
        "closing tags": "</think> </answer>",
        "calls": "<tool_call>",
        "quotes": "\"'",
        "backslashes": "\\",
        "boxes": "\\boxed{",
        "figures": "9",
        "numbers": "1 000,",
        "dots": ". ",
        "commas": ",",
        "han": "好",
        "kana": "ネコ",
        "combining": "e\u0301\u0302\u0303",
        "surrogates": "\ud800a",
        "emoji": "👩‍👩‍👧‍👦",
        "zero bytes": "\0",
        "announcements": "The answer is B. ",
        "lines": "A\n",
        "dashes": "- \n",
        "dollars": "$x$ `a` ",
        "sections": "Section 1 ***",
    }
    for name, piece in pieces.items():
        yield name, piece * (MEGABYTE // len(piece))


TEXTS = dict(megabytes())


def built(rule: str, config: dict[str, Any]) -> CallableScorer:
    if rule in ENGINES:
        pytest.importorskip(ENGINES[rule])
    scorer = build_callable(rule, config)
    assert isinstance(scorer, Rule)
    return scorer


def judged(scorer: CallableScorer, sample: Sample) -> Score:
    """Return the score, checked as the server checks it."""
    return checked_scores(scorer, scorer.score([sample], explain=True), 1)[0]


def name(held: tuple[str, dict[str, Any]]) -> str:
    return f"{held[0]} {held[1]}"[:60]


@pytest.mark.long
@pytest.mark.parametrize("held", CONFIGS_HELD, ids=name)
def test_a_megabyte_of_anything_gets_a_verdict(held: tuple[str, dict[str, Any]]) -> None:
    rule, config = held
    scorer = built(rule, config)
    for kind, text in TEXTS.items():
        sample = Sample("1", text, text[:2000], TRUTHS.get(rule, "b"))
        score = judged(scorer, sample)
        assert score.error is None, (kind, score.error)
        assert score.value is not None
        assert math.isfinite(score.value)


@pytest.mark.long
@pytest.mark.parametrize("held", CONFIGS_HELD, ids=name)
def test_time_grows_with_the_text(held: tuple[str, dict[str, Any]]) -> None:
    rule, config = held
    scorer = built(rule, config)
    truth = TRUTHS.get(rule, "the answer 12")
    judge = lambda text: scorer.score([Sample("1", text, None, truth)])  # noqa: E731
    judge("a b c")
    pieces = [text[:3] for text in TEXTS.values()] + ["<tool_call>", "\\boxed{", "[f(x=1),"]
    builds = drawn_texts(6, 22) + [lambda size, p=piece: p * (size // len(p)) for piece in pieces]
    for build in builds:
        grew, text = growth(judge, build)
        assert grew < MOST_GROWTH, f"{grew:.0f} times: {text[:200]!r}"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("response", ["", " \n\t ", "<think>", "<think>never ends", "\u200b", "?"])
def test_nothing_said_is_never_rewarded(rule: str, response: str) -> None:
    if rule in ("length", "repetition") and response.strip():
        pytest.skip("something is there, and it is short and said once")
    scorer = built(rule, CONFIGS.get(rule, {}))
    truth = TRUTHS.get(rule, "the answer")
    if rule == "ifeval" and response in ("?", "\u200b"):
        truth = '{"instruction_id_list": ["detectable_format:title"]}'
    score = judged(scorer, Sample("1", response, None, truth))
    assert score.value == scorer.range[0]


READ_TRUTHS = sorted(
    {"exact", "contains", "f1", "choice", "numeric", "tool_call"} | {"rouge", "bleu", "chrf"}
)


@pytest.mark.parametrize("rule", READ_TRUTHS)
@pytest.mark.parametrize(
    ("truth", "code"),
    [
        (None, "missing_field"),
        ("", "bad_ground_truth"),
        ("  \n", "bad_ground_truth"),
        ([], "bad_ground_truth"),
        (["", "B"], "bad_ground_truth"),
        (math.nan, "bad_ground_truth"),
        (math.inf, "bad_ground_truth"),
        (True, "bad_ground_truth"),
        ([["B"]], "bad_ground_truth"),
        ({"a": 1, "b": 2}, "bad_ground_truth"),
    ],
    ids=repr,
)
def test_a_ground_truth_that_is_none_is_no_score(rule: str, truth: Any, code: str) -> None:
    for response in ("", "B", "42", "nan", "True"):
        score = judged(built(rule, {}), Sample("1", response, None, truth))
        assert (score.value, score.error and score.error.code) == (None, code)


@pytest.mark.parametrize(
    ("rule", "config", "truth"),
    [
        ("f1", {}, "The"),
        ("f1", {}, ["Paris", "!!"]),
        ("exact", {"ignore_punctuation": True}, "?!"),
        ("bleu", {}, "\u200b "),
        ("numeric", {}, "nan"),
        ("numeric", {}, "no number"),
        ("numeric", {}, "3 or 4"),
        ("choice", {}, "all of the above, I think"),
        ("choice", {}, "A, B"),
        ("choice", {"letters": "AB"}, "C"),
        ("tool_call", {}, "call f"),
        ("tool_call", {}, '{"name": 1}'),
        ("json_schema", {"schema_from": "ground_truth"}, "{}"),
        ("json_schema", {"schema_from": "ground_truth"}, '{"type": "objekt"}'),
        ("json_schema", {"schema_from": "ground_truth"}, '{"$ref": "http://127.0.0.1:9/s"}'),
        ("json_schema", {"schema_from": "ground_truth"}, "[" * 100_000),
        ("regex", {"pattern_from": "ground_truth"}, "(?=a)b"),
        ("regex", {"pattern_from": "ground_truth"}, "((a{1000}){1000}){1000}"),
        ("regex", {"pattern_from": "ground_truth"}, "a" * 20_000),
        ("regex", {"pattern_from": "ground_truth"}, "a*"),
        ("language", {"language_from": "ground_truth"}, "Klingon"),
        ("ifeval", {}, "punctuation:no_comma"),
        ("ifeval", {}, '{"instruction_id_list": ["no:such"]}'),
        ("ifeval", {}, '{"instruction_id_list": []}'),
        ("ifeval", {}, '{"instruction_id_list": ["keywords:existence"]}'),
        ("ifeval", {}, '{"instruction_id_list": ["count:numbers"], "kwargs": [{"N": 2.5}]}'),
        ("ifeval", {}, '{"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}'),
        ("ifeval", {}, '{"instruction_id_list": ["words:start_verb"]}'),
    ],
)
def test_what_the_rule_cannot_read_is_the_data_s_fault(
    rule: str, config: dict[str, Any], truth: Any
) -> None:
    for response in ("", "A", "{}", "Paris", "3"):
        score = judged(built(rule, config), Sample("1", response, None, truth))
        assert score.error is not None
        assert score.error.code == "bad_ground_truth"
        assert "\n" not in score.error.message[:600] == score.error.message


@pytest.mark.parametrize(
    ("rule", "config", "metadata"),
    [
        ("contains", {"phrases_from": "metadata.keys"}, {}),
        ("contains", {"phrases_from": "metadata.keys"}, {"keys": []}),
        ("regex", {"pattern_from": "metadata.pattern"}, {}),
        ("json_schema", {"schema_from": "metadata.schema"}, {"other": 1}),
        ("tool_call", {"calls_from": "metadata.calls"}, {"calls": None}),
        ("length", {"shape": "target", "target_from": "metadata.words"}, {}),
        ("language", {"language_from": "metadata.language"}, {}),
        ("language", {"language_from": "prompt"}, {}),
        ("ifeval", {}, {}),
    ],
)
def test_a_field_that_is_missing_is_named(
    rule: str, config: dict[str, Any], metadata: dict[str, Any]
) -> None:
    score = judged(built(rule, config), Sample("1", "some text", metadata=metadata))
    assert score.error is not None
    assert score.error.code == "missing_field"
    [path] = [value for key, value in config.items() if key.endswith("_from")] or ["metadata."]
    assert path in score.error.message


@pytest.mark.parametrize(
    ("rule", "config", "truth", "response"),
    [
        # stuffing
        ("contains", {}, "Paris", "Rome London Paris Berlin " * 60),
        ("f1", {}, "to be", "to " * 500 + "be " * 500),
        ("choice", {}, "C", "A B C D"),
        ("choice", {}, "C", "(A) (B) (C) (D)"),
        ("choice", {}, "D", "A\nB\nC\nD"),
        ("choice", {}, "D", r"\boxed{A}\boxed{B}\boxed{C}\boxed{D}"),
        ("choice", {}, "D", r"\boxed{A, B, C, D}"),
        ("choice", {}, "A", "The answer is A, B, C or D."),
        ("choice", {"multiple": True}, "A, B", "A, B, C, D"),
        # texts that look like numbers
        ("numeric", {"absolute": 1e300}, "5", "nan"),
        ("numeric", {"absolute": 1e300}, "5", "inf"),
        ("numeric", {"absolute": 1e300}, "5", "-inf"),
        ("numeric", {"absolute": 1e300}, "5", "1e999999999"),
        ("numeric", {"absolute": 1e9}, "5", "4 or 5"),
        ("numeric", {"absolute": 1e9}, "5", "9" * 100_000 + "^" + "9" * 1000),
        ("numeric", {}, "5", r"\frac{5}{0}"),
        # texts that look like JSON
        ("json_schema", {"schema": {"type": "object"}}, None, '{"a": 1, "a": 2}'),
        ("json_schema", {"schema": {"type": "number"}}, None, "NaN"),
        ("json_schema", {"schema": {"type": "number"}}, None, "-Infinity"),
        ("json_schema", {"schema": {"type": "array"}}, None, "[" * 100_000 + "]" * 100_000),
        ("json_schema", {"schema": {"type": "object"}}, None, '{"a":' * 9_999 + "1" + "}" * 9_999),
        ("json_schema", {"schema": {"type": "integer"}}, None, "9" * 100_000),
        ("json_schema", {"schema": {"type": "object"}}, None, "{'a': 1}"),
        ("json_schema", {"schema": {"type": "object"}, "repair": True}, None, "{" * 100_000),
        # texts that look like calls
        ("tool_call", {}, "[f(x=1)]", "[f(x=__import__('os').getpid())]"),
        ("tool_call", {}, "[f(x=1)]", "[f(x=1 if True else 2)]"),
        ("tool_call", {}, "[f(x=1)]", "[f(**{'x': 1})]"),
        ("tool_call", {}, "[f(x=1)]", "[f(x=" + "(" * 5000 + "1" + ")" * 5000 + ")]"),
        ("tool_call", {}, "[f(x=1)]", "[" + "f(x=1), " * 200 + "f(x=1)]"),
        ("tool_call", {}, "[f(x=1)]", '<tool_call>{"name": "f", "arguments": {"x": 1}}'),
        ("tool_call", {}, "[f(x=1)]", '{"name": "f", "arguments": ' + '{"x":' * 500 + "1"),
        ("tool_call", {"extra_calls": True}, "[f(x=1)]", "[g(), h()]"),
        # languages of nothing
        ("language", {"language": "en"}, None, "12345 67890 ..."),
        ("language", {"language": "en"}, None, "```python\nfor the cat in the house\n```"),
        ("language", {"language": "zh"}, None, "日本語の文章をここに書きます。"),
        ("language", {"language": "ja"}, None, "我们今天去学校学习新的知识。"),
        ("language", {"language": "en"}, None, "xx xx xx xx xx xx xx xx xx xx"),
        # tags of nothing
        ("tags", {}, None, "<think></think><answer></answer>"),
        ("tags", {}, None, "<think>a</think><answer>b</answer>" * 2),
        ("tags", {}, None, "</think>a<think></answer>b<answer>"),
        # instructions that nothing could break
        ("ifeval", {}, '{"instruction_id_list": ["format:sub-bullets"]}', "hello"),
        ("ifeval", {}, '{"instruction_id_list": ["words:alphabet"]}', "Yes."),
        ("ifeval", {}, '{"instruction_id_list": ["ratio:sentence_type"]}', "no mark at all"),
        ("ifeval", {}, '{"instruction_id_list": ["change_case:english_capital"]}', "12345"),
    ],
)  # fmt: skip
def test_a_trick_gets_nothing(rule: str, config: dict[str, Any], truth: Any, response: str) -> None:
    score = judged(built(rule, config), Sample("1", response, None, truth))
    assert score.error is None
    assert score.value == pytest.approx(0.0, abs=0.02), score.explanation


def test_words_said_again_are_counted_once_by_f1() -> None:
    [score] = built("f1", {}).score([Sample("1", "Paris " * 9 + "!", None, "Paris")])
    assert score.value == pytest.approx(2 * 1 / (9 + 1))


def test_a_prompt_of_turns_tells_its_language() -> None:
    scorer = built("language", {"language_from": "prompt"})
    turns = [
        Message("system", "Antworte immer auf Deutsch, bitte sehr."),
        Message("user", "这只猫坐在哪里？"),
    ]
    scores = [
        judged(scorer, Sample("1", response, turns)).value
        for response in ("这只猫坐在垫子上。", "Die Katze saß auf der Matte und schlief.")
    ]
    assert scores == [1.0, 0.0]


def test_no_schema_is_fetched_from_elsewhere() -> None:
    from touchstone_rewards.reward_server.errors import ConfigError

    pytest.importorskip("jsonschema_rs")
    for where in ("https://example.com/schema.json", "file:///etc/passwd"):
        with pytest.raises(ConfigError, match="not a valid schema"):
            build_scorer("json_schema", {"schema": {"$ref": where}})
