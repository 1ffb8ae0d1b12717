"""Score the length of a response in characters, words, lines or tokens."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RuleVerdict,
    Unscorable,
    field,
    no_part,
    part_of,
)
from touchstone_rewards.reward_server.scorers.rules.words import words

LengthUnit = Literal["characters", "words", "lines", "tokens"]


class LengthConfig(RuleConfig):
    """Config of `length`: the unit and the score of a length."""

    unit: LengthUnit = Field(
        default="words", description="unit of all lengths; tokens need a tokenizer"
    )
    shape: Literal["window", "target", "soft_overlong"] = Field(
        default="window",
        description="1 inside a window, 1 at a target, or DAPO's penalty from 0 to -1",
    )
    least: int = Field(default=1, ge=0, description="window: least length with score 1")
    most: int | None = Field(
        default=None,
        ge=1,
        description="window: greatest length with score 1; soft_overlong: length with score -1",
    )
    target: int | None = Field(
        default=None,
        ge=1,
        description="target: length with score 1; it falls to 0 at zero and at twice this length",
    )
    target_from: str | None = Field(
        default=None, pattern=r"^metadata\..+$", description="target: field with each sample's own"
    )
    buffer: int | None = Field(
        default=None, ge=1, description="soft_overlong: the penalty begins this much below most"
    )
    tokenizer: str | None = Field(
        default=None, description="path of a tokenizer.json, or of its folder"
    )
    part: ResponsePart = "whole"

    @model_validator(mode="after")
    def _check(self) -> LengthConfig:
        if self.shape == "window" and self.most is None and self.least <= 1:
            raise ValueError("shape window needs least or most; without them every text fits")
        if self.shape == "window" and self.most is not None and self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        if self.shape == "target" and (self.target is None) == (self.target_from is None):
            raise ValueError("shape target needs either target or target_from")
        if self.shape == "soft_overlong" and not 0 < (self.buffer or 0) <= (self.most or 0):
            raise ValueError("shape soft_overlong needs most, and a buffer no larger than most")
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise ValueError("set unit: tokens and tokenizer together, or neither")
        return self


class LengthScorer(Rule[LengthConfig]):
    """Score the length of the response.

    Source: `soft_overlong` is equation 13 of DAPO (Yu et al. 2025).
    """

    reads = ("response",)
    config_type = LengthConfig

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        config_ = self.config
        self.reads = ("response", "metadata") if config_.target_from else ("response",)
        self.range = (-1.0, 0.0) if config_.shape == "soft_overlong" else (0.0, 1.0)
        self._count = _COUNTS.get(config_.unit) or _token_count(config_.tokenizer or "")
        if config_.unit == "tokens":
            self.runs_in = "worker"

    def judge(self, sample: Sample) -> RuleVerdict:
        part = part_of(sample.response, self.config.part)
        target = self._target(sample) if self.config.shape == "target" else 0
        if part is None:
            return no_part(self.config.part)._replace(value=self.range[0])
        count = self._count(part)
        told: dict[str, Any] = {self.config.unit: count}
        if self.config.shape == "target":
            told["target"] = target
            return RuleVerdict(max(0.0, 1 - abs(count - target) / target), told)
        if self.config.shape == "window":
            fits = self.config.least <= count and count <= (self.config.most or count)
            return RuleVerdict(float(fits and count > 0), told)
        most, buffer = self.config.most or 0, self.config.buffer or 1
        return RuleVerdict(-min(1.0, max(0, count - (most - buffer)) / buffer), told)

    def _target(self, sample: Sample) -> float:
        if self.config.target_from is None:
            return self.config.target or 1
        target = field(sample, self.config.target_from)
        if isinstance(target, bool) or not isinstance(target, int | float) or not 0 < target < 1e9:
            raise Unscorable(
                "bad_ground_truth",
                f"{self.config.target_from} is {str(target)[:80]!r}; expected a number above 0",
            )
        return float(target)


def _lines(text: str) -> int:
    return sum(1 for line in text.split("\n") if line.strip())


_COUNTS: dict[LengthUnit, Callable[[str], int]] = {
    "characters": len,
    "words": lambda text: len(words(text)),
    "lines": _lines,
}


def _token_count(path: str) -> Callable[[str], int]:
    """Return a function that counts tokens with the tokenizer in `path`.

    Raises:
        ValueError: the tokenizer is missing or cannot be read.
    """
    tokenizers = import_module("tokenizers")
    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ValueError(f"tokenizer: there is no file {file}")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 -- the library raises plain exceptions
        raise ValueError(f"tokenizer: {file} cannot be read: {error}") from None

    def count(text: str) -> int:
        whole = text.encode("utf-8", "replace").decode()  # the tokenizer rejects lone surrogates
        return len(tokenizer.encode(whole, add_special_tokens=False).ids)

    return count
