"""The configs that each rule accepts, and the message for any other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reward_server.scorers.rules.page import CONFIGS, ENGINES, RULES
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import Profile, ProfileConfig
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.rules.rule import Rule


def built(rule: str, **config: Any) -> Rule[Any]:
    if rule in ENGINES:
        pytest.importorskip(ENGINES[rule])
    scorer = build_scorer(rule, config)
    assert isinstance(scorer, Rule)
    return scorer


def value(rule: Rule[Any], response: str, truth: Any = None) -> float | None:
    [score] = rule.score([Sample("1", response, None, truth)])
    return score.value


@pytest.mark.parametrize("rule", RULES)
def test_a_key_that_there_is_not_is_one_line_with_those_that_there_are(rule: str) -> None:
    if rule in ENGINES:
        pytest.importorskip(ENGINES[rule])
    with pytest.raises(ConfigError) as told:
        build_scorer(rule, {**CONFIGS.get(rule, {}), "parrt": "whole"})
    assert "\n" not in str(told.value)
    assert f"scorer {rule!r}" in str(told.value)
    assert "there is no key 'parrt'; the keys are" in str(told.value)
    assert all(key in str(told.value) for key in CONFIGS.get(rule, {}))


@pytest.mark.parametrize(
    ("rule", "config", "told"),
    [
        ("exact", {"part": "tail"}, "part is 'tail'; expected 'whole', 'said', 'answer_tag'"),
        ("exact", {"ignore_case": "yes"}, "ignore_case is 'yes'; expected a valid boolean"),
        ("contains", {"phrases": ["a", " "]}, "phrases contains an empty phrase"),
        ("contains", {"phrases": []}, "phrases"),
        ("contains", {"partial": True}, "partial needs mode all, not any"),
        ("contains", {"phrases_from": "prompt"}, "phrases_from"),
        ("choice", {"letters": "abc"}, "'abc' must consist of capital letters"),
        ("choice", {"letters": "AAB"}, "has a letter twice"),
        ("numeric", {"absolute": -1}, "absolute is '-1'; expected greater than or equal to 0"),
        ("numeric", {"relative": float("nan")}, "relative"),
        ("numeric", {"absolute": float("inf")}, "absolute"),
        ("length", {}, "shape window needs least or most"),
        ("length", {"least": 5, "most": 3}, "least 5 is above most 3"),
        ("length", {"shape": "target"}, "needs either target or target_from"),
        (
            "length",
            {"shape": "soft_overlong", "most": 5, "buffer": 6},
            "a buffer no larger than most",
        ),
        (
            "length",
            {"unit": "tokens", "most": 5},
            "set unit: tokens and tokenizer together, or neither",
        ),
        ("repetition", {"n": 0}, "n is '0'"),
        ("tags", {"tags": ["<think>"]}, "give the name without brackets"),
        ("tags", {"tags": ["a", "a"]}, "tags has a tag twice"),
        ("tags", {"boxed_in": "plan"}, "boxed_in is 'plan', which is not one of the tags"),
        ("tags", {"prefilled": "answer"}, "prefilled 'answer' is not one of none, think, auto"),
        ("tags", {"once": False, "order": "any"}, "gap and outside must be any"),
        ("regex", {}, "set either pattern or pattern_from"),
        ("regex", {"pattern": "(?=a)"}, "is not valid in RE2"),
        ("regex", {"pattern": "a", "captured": True}, "has no group"),
        ("regex", {"pattern": "a*"}, "matches an empty text"),
        ("json_schema", {"schema": {}}, "schema is empty"),
        ("json_schema", {"schema": {"type": "objekt"}}, "not a valid schema"),
        ("json_schema", {"schema": {"pattern": "(?=a)"}}, "not a valid schema"),
        ("language", {"language": "english"}, "language"),
        ("language", {"language": "zz"}, "language is 'zz'; the languages are"),
        ("rouge", {"most_words": 10_000}, "most_words"),
    ],
)
def test_a_wrong_value_is_one_line(rule: str, config: dict[str, Any], told: str) -> None:
    if rule in ENGINES:
        pytest.importorskip(ENGINES[rule])
    with pytest.raises(ConfigError) as error:
        build_scorer(rule, config)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rule", ENGINES)
def test_a_missing_engine_is_one_line_that_names_the_extra(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ENGINES[rule]
    for other in ("emoji", "nltk") if rule == "ifeval" else ():
        pytest.importorskip(other)  # which are looked for first
    for module in [name for name in sys.modules if name.split(".")[0] == engine]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, engine, None)
    from touchstone_rewards.reward_server.scorers.rules import language

    language.identifier.cache_clear()
    config = ProfileConfig.model_validate({"scorers": {rule: {"config": CONFIGS.get(rule, {})}}})
    with pytest.raises(ConfigError) as told:
        Profile("mine", config)
    assert str(told.value) == (
        f"scorer {rule!r}: {engine} is not installed: pip install '.[server,rules]' in the checkout"
    )


def test_only_the_fields_that_are_read_travel_to_a_worker() -> None:
    reads = {
        ("contains", "phrases_from"): ("response", "metadata"),
        ("tool_call", "calls_from"): ("response", "metadata"),
        ("length", "target_from"): ("response", "metadata"),
    }
    for (rule, key), fields in reads.items():
        more = {"shape": "target"} if rule == "length" else {}
        assert built(rule, **{key: "metadata.mine"}, **more).reads == fields
    assert built("contains", phrases=["a"]).reads == ("response",)
    assert built("length", most=3).reads == ("response",)
    assert built("choice").reads == ("response", "ground_truth", "metadata")


def test_tokens_are_those_of_the_tokenizer_given(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        rule = built("length", unit="tokens", most=3, tokenizer=str(path))
        assert rule.runs_in == "worker"
        assert [value(rule, text) for text in ("a b!", "a b, a", "\ud800")] == [1.0, 0.0, 1.0]
    with pytest.raises(ConfigError, match="there is no file"):
        built("length", unit="tokens", most=3, tokenizer=str(tmp_path / "none"))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read"):
        built("length", unit="tokens", most=3, tokenizer=str(tmp_path))


REFERENCE = "The cat sat on the mat, and then it slept."
RESPONSES = ["the cat slept on a mat", REFERENCE, "something else", "the the the the", "猫"]


@pytest.mark.parametrize("response", RESPONSES)
def test_bleu_and_chrf_are_those_of_sacrebleu(response: str) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    others = ["A dog barked.", REFERENCE]
    bleu = max(0.0, sacrebleu.sentence_bleu(response, others).score / 100)
    chrf = sacrebleu.sentence_chrf(response, others).score / 100
    assert value(built("bleu"), response, others) == pytest.approx(min(1.0, bleu))
    assert value(built("chrf"), response, others) == pytest.approx(min(1.0, chrf))


@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_that_of_rouge_score(response: str, kind: str) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer([kind])
    wanted = scorer.score(REFERENCE, response)[kind]
    for measure, name in (("f1", "fmeasure"), ("precision", "precision"), ("recall", "recall")):
        rule = built("rouge", kind=kind, measure=measure)
        assert value(rule, response, REFERENCE) == pytest.approx(getattr(wanted, name))


def test_of_a_long_response_only_the_beginning_is_compared() -> None:
    pytest.importorskip("sacrebleu")
    rule = built("bleu", most_chars=len(REFERENCE))
    [score] = rule.score([Sample("1", REFERENCE + " more" * 9, None, REFERENCE)], explain=True)
    assert (score.value, score.explanation) == (pytest.approx(1.0), {"cut": True})
    [score] = rule.score([Sample("1", "a", None, "a " * 20_000)])
    assert score.error is not None
    assert score.error.code == "bad_ground_truth"


def test_several_schemas_are_one_too_many() -> None:
    pytest.importorskip("jsonschema_rs")
    rule = built("json_schema", schema_from="ground_truth")
    [score] = rule.score([Sample("1", "{}", None, ['{"type": "object"}', '{"type": "array"}'])])
    assert score.error is not None
    assert score.error.message == "ground_truth: it has 2 schemas; one is expected"
