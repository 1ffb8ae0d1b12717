"""Check that a response follows its instructions: IFEval's 25 kinds and IFBench's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample, is_list, is_object
from touchstone_rewards.reward_server.scorers.rules.following import (
    ifbench_format_kinds,
    ifbench_kinds,
    ifeval_kinds,
)
from touchstone_rewards.reward_server.scorers.rules.following.given import Check, Given
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RulePlace,
    RuleVerdict,
    Unscorable,
    part_of,
)
from touchstone_rewards.reward_server.scorers.rules.strict_json import NotJson, parse_json

KINDS: Mapping[str, Check] = {
    **ifeval_kinds.KINDS,
    **ifbench_kinds.KINDS,
    **ifbench_format_kinds.KINDS,
}
MOST_INSTRUCTIONS = 64
_NAMES = ("instruction_id_list", "instruction_id")


class IfevalConfig(RuleConfig):
    """Config of `ifeval`, whose modes are those of the benchmarks."""

    mode: Literal["strict", "loose"] = Field(
        default="strict",
        description="loose also tries the response without its first line, last line or asterisks",
    )
    score: Literal["all", "share"] = Field(
        default="all",
        description="1 only if all instructions are followed, or the share of those followed",
    )
    part: ResponsePart = "said"


class Instruction(NamedTuple):
    """One instruction of a row: its kind, its check and its arguments."""

    kind: str
    check: Check
    given: Given


class IfevalScorer(Rule[IfevalConfig]):
    """Score 1 if all instructions are followed, else 0; or the share followed.

    The row has `metadata.instruction_id_list` and `metadata.kwargs` as published, or the same two
    as JSON in the ground truth. An empty response follows no instruction.
    """

    version = "1"
    runs_in: RulePlace = "worker"
    reads = ("response", "ground_truth", "metadata")
    config_type = IfevalConfig

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        for engine in ("emoji", "nltk", "punkt", "py3langid", "syllapy"):
            import_module(engine)  # report a missing extra at startup

    def judge(self, sample: Sample) -> RuleVerdict:
        instructions = instructions_of(sample)
        text = part_of(sample.response, self.config.part) or ""
        if self.config.part == "said":
            text = text.strip() if len(text) < len(sample.response) else text
        texts = looser(text) if self.config.mode == "loose" else [text]
        followed = {
            f"{at} {one.kind}": followed_by(one, texts) for at, one in enumerate(instructions)
        }
        share = sum(followed.values()) / len(followed)
        value = share if self.config.score == "share" else float(share == 1)
        return RuleVerdict(value, {"followed": followed})


def followed_by(instruction: Instruction, texts: Sequence[str]) -> bool:
    """Tell whether one of the texts follows the instruction; its
    arguments are checked in any case."""
    first = instruction.check(texts[0], instruction.given) and bool(texts[0].strip())
    return first or any(
        instruction.check(text, instruction.given) for text in texts[1:] if text.strip()
    )


def looser(text: str) -> list[str]:
    """Return the eight variants of the text that the loose mode accepts.

    Source: section 2.3 of the IFEval paper.
    """
    lines = text.split("\n")
    cut = [lines, lines[1:], lines[:-1], lines[1:-1]]
    whole = [text, *("\n".join(part).strip() for part in cut[1:])]
    return [*whole, *(one.replace("*", "") for one in whole)]


def instructions_of(sample: Sample) -> list[Instruction]:
    """Return the instructions of a sample.

    Raises:
        Unscorable: there are none, or one is of an unknown kind.
    """
    ids, kwargs = _from_metadata(sample.metadata) or _from_truth(sample.ground_truth)
    if kwargs is None:
        kwargs = [None] * len(ids)
    if len(kwargs) != len(ids) or len(ids) > MOST_INSTRUCTIONS:
        raise Unscorable(
            "bad_ground_truth", f"{len(ids)} instructions and {len(kwargs)} kwargs: they must match"
        )
    return [_instruction(kind, given) for kind, given in zip(ids, kwargs, strict=True)]


def _instruction(kind: Any, kwargs: Any) -> Instruction:
    if isinstance(kwargs, str):
        kwargs = _parsed(kwargs)
    if kwargs is not None and not is_object(kwargs):
        raise Unscorable("bad_ground_truth", f"kwargs of {kind} are {str(kwargs)[:80]!r}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Unscorable("bad_ground_truth", f"the instruction {str(kind)[:80]!r} is unknown")
    known = {name: value for name, value in (kwargs or {}).items() if value is not None}
    return Instruction(kind, KINDS[kind], Given(kind, known))


def _from_metadata(metadata: Mapping[str, Any]) -> tuple[list[Any], list[Any] | None] | None:
    name = next((name for name in _NAMES if metadata.get(name)), None)
    if name is None:
        return None
    ids, kwargs = metadata[name], metadata.get("kwargs")
    ids = _parsed(ids) if isinstance(ids, str) and ids[:1] == "[" else ids
    kwargs = _parsed(kwargs) if isinstance(kwargs, str) else kwargs
    ids = [ids] if isinstance(ids, str) else ids
    if not is_list(ids) or not (kwargs is None or is_list(kwargs)):
        raise Unscorable("bad_ground_truth", f"metadata.{name} and metadata.kwargs must be lists")
    return ids, kwargs


def _from_truth(truth: Any) -> tuple[list[Any], list[Any] | None]:
    if truth is None:
        raise Unscorable(
            "missing_field",
            "metadata.instruction_id_list is missing, and so is a ground_truth that contains it",
        )
    text = truth[0] if is_list(truth) and len(truth) == 1 else truth
    row = _parsed(text) if isinstance(text, str) else None
    row = row[0] if is_list(row) and len(row) == 1 else row
    found = _from_metadata(row) if is_object(row) else None
    if found is None:
        raise Unscorable(
            "bad_ground_truth", f"the ground truth {str(truth)[:80]!r} names no instruction"
        )
    return found


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except NotJson as error:
        raise Unscorable("bad_ground_truth", f"{text[:80]!r} is no JSON: {error}") from None
