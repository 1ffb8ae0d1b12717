"""Compare a response with reference texts by ROUGE, BLEU and chrF, using their usual libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.returned import text_of
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RulePlace,
    RuleVerdict,
    Unscorable,
    no_part,
    part_of,
    truths,
)

REFERENCE_CHARS = 20_000


class OverlapConfig(RuleConfig):
    """Config of `rouge`, `bleu` and `chrf`. The closest of several references counts."""

    most_chars: int = Field(
        default=20_000,
        ge=1,
        le=100_000,
        description="characters of the response to compare; the rest cannot raise the score",
    )
    part: ResponsePart = "said"


class RougeConfig(OverlapConfig):
    """Config of `rouge`."""

    kind: Literal["rouge1", "rouge2", "rougeL"] = Field(
        default="rougeL",
        description="shared words, shared word pairs, or longest common subsequence",
    )
    measure: Literal["f1", "precision", "recall"] = Field(
        default="f1", description="F1, or precision or recall alone"
    )
    stem: bool = Field(default=False, description="remove English suffixes first")
    most_words: int = Field(
        default=1_000,
        ge=1,
        le=2_000,
        description="words to compare for rougeL, which is quadratic in them",
    )


class BleuConfig(OverlapConfig):
    """Config of `bleu`."""

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = Field(
        default="13a", description="sacrebleu's tokenizer"
    )
    lowercase: bool = Field(default=False, description="compare without case")


class ChrfConfig(OverlapConfig):
    """Config of `chrf`."""

    word_order: int = Field(
        default=0, ge=0, le=2, description="longest word n-gram to count; 2 gives chrF++"
    )
    lowercase: bool = Field(default=False, description="compare without case")


OverlapT = TypeVar("OverlapT", bound=OverlapConfig)
Measure = Callable[[str, Sequence[str]], float]


class Overlap(Rule[OverlapT], Generic[OverlapT]):
    """Base of the three scorers: references from the ground truth, texts of bounded length."""

    version = "1"
    runs_in: RulePlace = "worker"

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.measure = self.made()

    def made(self) -> Measure:
        """Return a function that compares a response with references, from 0 to 1."""
        raise NotImplementedError

    def judge(self, sample: Sample) -> RuleVerdict:
        references = [text_of(text) for text in truths(sample)]
        if max(map(len, references)) > REFERENCE_CHARS:
            raise Unscorable(
                "bad_ground_truth", f"a reference has more than {REFERENCE_CHARS} characters"
            )
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        if any(self.measure(text, [text]) == 0 for text in references):
            raise Unscorable("bad_ground_truth", "a reference has nothing to compare")
        text = text_of(part[: self.config.most_chars])
        value = self.measure(text, references) if text.strip() else 0.0
        return RuleVerdict(min(1.0, max(0.0, value)), {"cut": len(part) > self.config.most_chars})


class RougeScorer(Overlap[RougeConfig]):
    """Score with Google's rouge-score."""

    config_type = RougeConfig

    def made(self) -> Measure:
        rouge = import_module("rouge_score.rouge_scorer")
        scorer = rouge.RougeScorer([self.config.kind], use_stemmer=self.config.stem)
        return partial(_rouge, scorer, self.config)


def _rouge(scorer: Any, config: RougeConfig, text: str, references: Sequence[str]) -> float:
    name = {"f1": "fmeasure"}.get(config.measure, config.measure)
    text, *references = (" ".join(one.split()[: config.most_words]) for one in (text, *references))
    scores = (scorer.score(reference, text)[config.kind] for reference in references)
    return max(float(getattr(score, name)) for score in scores)


class BleuScorer(Overlap[BleuConfig]):
    """Score with sacrebleu's sentence BLEU, with effective order and exponential smoothing."""

    config_type = BleuConfig

    def made(self) -> Measure:
        bleu = import_module("sacrebleu.metrics.bleu").BLEU(
            tokenize=self.config.tokenize, lowercase=self.config.lowercase, effective_order=True
        )
        return lambda text, references: bleu.sentence_score(text, references).score / 100


class ChrfScorer(Overlap[ChrfConfig]):
    """Score with sacrebleu's sentence chrF."""

    config_type = ChrfConfig

    def made(self) -> Measure:
        chrf = import_module("sacrebleu.metrics.chrf").CHRF(
            word_order=self.config.word_order, lowercase=self.config.lowercase
        )
        return lambda text, references: chrf.sentence_score(text, references).score / 100
