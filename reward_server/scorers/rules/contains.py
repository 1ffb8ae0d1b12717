"""Check that a response contains phrases: all, any, none, or in order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.schemas import Sample, is_list
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RuleVerdict,
    Unscorable,
    as_text,
    field,
    no_part,
    part_of,
    reads_of,
    shown,
    truths,
    usable,
)
from touchstone_rewards.reward_server.scorers.rules.words import (
    composed,
    has_words,
    marked,
    one_spaced,
    words,
)

Mode = Literal["all", "any", "none", "in_order"]
# A list of all likely answers contains the right one, so longer texts score 0.
ANSWER_WORDS = 200


class ContainsConfig(RuleConfig):
    """Config of `contains`: the phrases and how they must occur."""

    phrases: list[str] | None = Field(
        default=None,
        min_length=1,
        description="phrases for every sample; null: each sample has its own",
    )
    phrases_from: str = Field(
        default="ground_truth",
        pattern=r"^(ground_truth|metadata\..+)$",
        description="field with each sample's own phrases",
    )
    mode: Mode = Field(
        default="any", description="all, at least one or none must occur; or all in their order"
    )
    part: ResponsePart = "said"
    ignore_case: bool = Field(default=True, description="compare without case")
    whole_words: bool = Field(
        default=True, description="a phrase inside a longer word does not count"
    )
    partial: bool = Field(
        default=False, description="with mode all, score the share of phrases found"
    )
    most_words: int | None = Field(
        default=None,
        ge=1,
        description="a longer text scores 0; null: 200 for phrases of the ground truth",
    )

    @model_validator(mode="after")
    def _check(self) -> ContainsConfig:
        if self.phrases and not all(map(str.strip, self.phrases)):
            raise ValueError("phrases contains an empty phrase, which occurs in every text")
        if self.partial and self.mode != "all":
            raise ValueError(f"partial needs mode all, not {self.mode}")
        return self


class ContainsScorer(Rule[ContainsConfig]):
    """Score 1 if the phrases occur as `mode` requires, else 0; with `partial`, the share found."""

    config_type = ContainsConfig

    def __init__(self, **config: object) -> None:
        super().__init__(**config)
        own = self.config.phrases
        self.reads = ("response",) if own else reads_of(self.config.phrases_from)
        self.most_words = self.config.most_words
        if not own and self.config.phrases_from == "ground_truth" and self.config.mode != "none":
            self.most_words = self.most_words or ANSWER_WORDS
        self._own = usable(own, self._prepared) if own else None

    def judge(self, sample: Sample) -> RuleVerdict:
        phrases = self._own or usable(self._phrases(sample), self._prepared)
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        most = self.most_words
        if most and len(part) > most and len(words(part)) > most:
            return RuleVerdict(0.0, {"rule": f"longer than {most} words"})
        if any(" " in phrase for phrase in phrases):
            text = self._prepared(part)
        else:  # then spaces need no normalization
            text = composed(part).casefold() if self.config.ignore_case else composed(part)
        if not text.strip():
            return RuleVerdict(0.0, {"rule": "the response is empty"})
        if self.config.mode == "in_order":
            return self._in_order(text, phrases)
        found = [self._holds(text, phrase) for phrase in phrases]
        value = self._value(found)
        missing = [shown(p) for p, there in zip(phrases, found, strict=True) if not there]
        return RuleVerdict(value, {"found": sum(found), "of": len(found), "missing": missing[:20]})

    def _value(self, found: list[bool]) -> float:
        if self.config.partial:
            return sum(found) / len(found)
        if self.config.mode == "all":
            return float(all(found))
        return float(any(found) if self.config.mode == "any" else not any(found))

    def _phrases(self, sample: Sample) -> list[str]:
        if self.config.phrases_from == "ground_truth":
            return truths(sample)
        given = field(sample, self.config.phrases_from)
        phrases = given if is_list(given) else [given]
        if not phrases:
            raise Unscorable("missing_field", f"{self.config.phrases_from} has no phrase")
        return [as_text(phrase) for phrase in phrases]

    def _prepared(self, text: str) -> str:
        text = one_spaced(composed(text))
        return text.casefold() if self.config.ignore_case else text

    def _holds(self, text: str, phrase: str) -> bool:
        return has_words(text, phrase) if self.config.whole_words else phrase in text

    def _in_order(self, text: str, phrases: list[str]) -> RuleVerdict:
        """Search for each phrase after the previous one."""
        at = 0
        if self.config.whole_words:
            text, phrases = marked(text), [marked(phrase) for phrase in phrases]
        for number, phrase in enumerate(phrases):
            found = text.find(phrase, at)
            if found < 0:
                return RuleVerdict(0.0, {"found": number, "of": len(phrases)})
            at = found + len(phrase)
        return RuleVerdict(1.0, {"found": len(phrases), "of": len(phrases)})
