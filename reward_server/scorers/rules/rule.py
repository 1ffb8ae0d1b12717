"""Base of all rules: typed config, ground truths as texts, and the judged part of a response."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleErrorCode,
    is_list,
    plain_ground_truth,
)
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.math.extraction.boxes import last_box
from touchstone_rewards.reward_server.scorers.math.extraction.thoughts import said_span
from touchstone_rewards.reward_server.scorers.returned import text_of

# The judged part of a response: all of it; the text after the thoughts; or within that text, the
# last <answer>…</answer>, the last \boxed{} or the last line that is not empty.
ResponsePart = Annotated[
    Literal["whole", "said", "answer_tag", "boxed", "last_line"],
    Field(
        description="whole response, text after the thoughts, or that text's last tag, box, line"
    ),
]
RulePlace = Literal["inline", "worker"]
METADATA = "metadata."
SHOWN_CHARS = 200
LOOKED_AT_CHARS = 64


class RuleConfig(BaseModel):
    """Config of a rule. Every key is typed; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RuleVerdict(NamedTuple):
    """A score and its explanation."""

    value: float
    told: dict[str, Any]


class Unscorable(Exception):
    """The sample cannot be scored; `code` is the error code in the answer."""

    def __init__(self, code: SampleErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: SampleErrorCode = code


ConfigT = TypeVar("ConfigT", bound=RuleConfig)


class Rule(Generic[ConfigT]):
    """Base of a scorer that judges one sample at a time. A rule defines
    `config_type` and `judge`."""

    version: ClassVar[str] = "1"
    range: tuple[float, float] = (0.0, 1.0)
    runs_in: RulePlace = "inline"
    deterministic = True
    reads: tuple[str, ...] = ("response", "ground_truth")
    config_type: ClassVar[type[Any]]

    def __init__(self, **config: Any) -> None:
        self.config: ConfigT = configured(self.config_type, config)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [self._score(sample, explain) for sample in samples]

    def _score(self, sample: Sample, explain: bool) -> Score:
        try:
            value, told = self.judge(sample)
        except Unscorable as why:
            return Score(None, sample_error(why.code, str(why)))
        return Score(value, None, told if explain else None)

    def judge(self, sample: Sample) -> RuleVerdict:
        """Return the verdict on one sample.

        Raises:
            Unscorable: the sample lacks a field, or its ground truth cannot be read.
        """
        raise NotImplementedError


def check_source(name: str, own: object, source: str | None) -> None:
    """Check that a config has either a value of its own or the name of a sample field.

    Raises:
        ValueError: it has both, or neither.
    """
    if (own is None) == (source is None):
        raise ValueError(f"set either {name} or {name}_from")


def configured(config_type: type[ConfigT], config: dict[str, Any]) -> ConfigT:
    """Return the validated config of a rule.

    Raises:
        ValueError: a key is unknown or its value invalid; the message has one line.
    """
    try:
        return config_type.model_validate(config)
    except ValidationError as error:
        fields = config_type.model_fields.items()
        known = ", ".join(field.alias or name for name, field in fields)
        raise ValueError("; ".join(_complaint(p, known) for p in error.errors())) from None


def _complaint(problem: Any, known: str) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"there is no key {place!r}; the keys are {known}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}" if place else str(problem["ctx"]["error"])
    expected = problem["msg"].replace("Input should be ", "expected ")
    return f"{place} is {str(problem['input'])[:80]!r}; {expected}"


def truths(sample: Sample) -> list[str]:
    """Return the acceptable answers of a sample as non-empty texts.

    Raises:
        Unscorable: there is no ground truth, or one of its answers is empty or of another type.
    """
    truth = sample.ground_truth
    if truth is None:
        raise Unscorable("missing_field", "ground_truth is missing: this scorer needs one")
    if not isinstance(truth, str) and not is_list(truth):
        try:
            truth = plain_ground_truth(truth)
        except ValueError as error:
            raise Unscorable("bad_ground_truth", str(error)) from None
    answers: Sequence[Any] = truth if is_list(truth) else [truth]
    if not answers:
        raise Unscorable("bad_ground_truth", "the list of acceptable answers is empty")
    return [as_text(answer) for answer in answers]


def as_text(answer: Any) -> str:
    """Return one acceptable answer as text; 46.0 becomes `46`.

    Raises:
        Unscorable: it is empty, not finite, or neither a text nor a number.
    """
    if isinstance(answer, str):
        if not _has_ink(answer):
            raise Unscorable("bad_ground_truth", f"the ground truth is {answer[:20]!r}: empty")
        return answer
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise Unscorable("bad_ground_truth", f"the ground truth is a {type(answer).__name__}")
    if isinstance(answer, float):
        if not math.isfinite(answer):
            raise Unscorable(
                "bad_ground_truth", f"the ground truth is {answer}: not a finite number"
            )
        return repr(int(answer)) if answer.is_integer() and abs(answer) < 2**53 else repr(answer)
    try:
        return str(answer)
    except ValueError:  # more digits than Python converts to text
        raise Unscorable(
            "bad_ground_truth", "the ground truth is a number with too many digits"
        ) from None


def _has_ink(text: str) -> bool:
    """Tell whether a text begins with something visible; zero-width characters do not count."""
    return any(char.isprintable() and char != " " for char in text.lstrip()[:LOOKED_AT_CHARS])


def usable(answers: Sequence[str], prepare: Callable[[str], str]) -> list[str]:
    """Return the acceptable answers prepared for comparison.

    Raises:
        Unscorable: one becomes empty, so an empty response would be right.
    """
    prepared = [prepare(answer) for answer in answers]
    if not all(prepared):
        raise Unscorable(
            "bad_ground_truth",
            f"the ground truth {answers[prepared.index('')][:80]!r} is empty after normalization",
        )
    return prepared


def field(sample: Sample, path: str) -> Any:
    """Return the value of `metadata.NAME`, or of another field of the sample.

    Raises:
        Unscorable: the field is missing.
    """
    in_metadata = path.startswith(METADATA)
    found = sample.metadata.get(path[len(METADATA) :]) if in_metadata else getattr(sample, path)
    if found is None:
        raise Unscorable("missing_field", f"{path} is missing")
    return found


def reads_of(*paths: str) -> tuple[str, ...]:
    """Return the sample fields that the paths refer to, the response first."""
    return tuple(dict.fromkeys(["response", *(path.split(".")[0] for path in paths)]))


def part_of(response: str, part: ResponsePart) -> str | None:
    """Return the judged part of a response, or None if it has no such part."""
    if part == "whole":
        return response
    start, end = said_span(response)
    said = response if end - start == len(response) else response[start:end]
    if part == "said":
        return said
    if part == "answer_tag":
        closed = said.rfind("</answer>")
        opened = said.rfind("<answer>", 0, closed) if closed >= 0 else -1
        return said[opened + len("<answer>") : closed] if opened >= 0 else None
    if part == "boxed":
        box = last_box(said)
        return box.text if box and box.closed else None
    return said.rstrip().rpartition("\n")[2] or None


def shown(text: str) -> str:
    """Return the beginning of a text, for an explanation."""
    return text_of(text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…")


def no_part(part: ResponsePart) -> RuleVerdict:
    """Return the verdict on a response without the judged part: 0."""
    return RuleVerdict(0.0, {"rule": f"the response has no {part}"})
