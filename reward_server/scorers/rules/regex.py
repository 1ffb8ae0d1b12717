"""Match a response against a pattern with RE2, whose running time is linear."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.returned import text_of
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RulePlace,
    RuleVerdict,
    Unscorable,
    as_text,
    check_source,
    field,
    no_part,
    part_of,
    reads_of,
    shown,
    truths,
)
from touchstone_rewards.reward_server.scorers.rules.words import one_spaced

PATTERN_CHARS = 10_000
MEMORY_BYTES = 8 * 2**20  # limit for one compiled pattern


class RegexConfig(RuleConfig):
    """Config of `regex`."""

    pattern: str | None = Field(
        default=None, description="pattern for every sample, in RE2's syntax"
    )
    pattern_from: str | None = Field(
        default=None,
        pattern=r"^(ground_truth|metadata\..+)$",
        description="field with each sample's own pattern",
    )
    must: Literal["be_found", "be_all", "be_absent"] = Field(
        default="be_found", description="the pattern must occur, match the whole part, or be absent"
    )
    captured: bool = Field(
        default=False,
        description="the group `answer`, or the first one, must capture an acceptable answer",
    )
    part: ResponsePart = "said"
    ignore_case: bool = Field(default=False, description="match without case")
    dot_matches_newline: bool = Field(default=False, description="a dot also matches a line end")
    lines: bool = Field(default=False, description="^ and $ match at each line")

    @model_validator(mode="after")
    def _check(self) -> RegexConfig:
        check_source("pattern", self.pattern, self.pattern_from)
        if self.captured and (self.must == "be_absent" or self.pattern_from == "ground_truth"):
            raise ValueError("captured needs a pattern that must occur, and a ground truth")
        return self


class RegexScorer(Rule[RegexConfig]):
    """Score 1 if the pattern matches as `must` requires, else 0."""

    version = "1"
    runs_in: RulePlace = "worker"
    config_type = RegexConfig

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        own, source = self.config.pattern, self.config.pattern_from
        read = [path for path in (source, "ground_truth" if self.config.captured else None) if path]
        self.reads = reads_of(*read)
        import_module("re2")  # report a missing extra at startup
        if own is not None:
            self._compiled(own)

    def judge(self, sample: Sample) -> RuleVerdict:
        pattern = self._pattern(sample)
        accepted = [one_spaced(text) for text in truths(sample)] if self.config.captured else []
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        text = text_of(part)
        must = self.config.must
        found = pattern.fullmatch(text) if must == "be_all" else pattern.search(text)
        if must == "be_absent":
            fits = found is None and bool(text.strip())
            return RuleVerdict(float(fits), {"found": None if found is None else shown(found[0])})
        if found is None:
            return RuleVerdict(0.0, {"found": None})
        if not self.config.captured:
            return RuleVerdict(1.0, {"found": shown(found[0])})
        named = "answer" if "answer" in pattern.groupindex else 1
        captured = one_spaced(found[named] or "")
        return RuleVerdict(float(captured in accepted), {"captured": shown(captured)})

    def _pattern(self, sample: Sample) -> Any:
        if self.config.pattern is not None:
            return self._compiled(self.config.pattern)
        source = self.config.pattern_from or ""
        if source == "ground_truth":
            given = truths(sample)
            text = given[0] if len(given) == 1 else ""
        else:
            text = as_text(field(sample, source))
        if not text:
            raise Unscorable("bad_ground_truth", f"{source} has several patterns; one is expected")
        try:
            return self._compiled(text)
        except ValueError as error:
            raise Unscorable("bad_ground_truth", str(error)) from None

    def _compiled(self, pattern: str) -> Any:
        config = self.config
        flags = (config.ignore_case, config.dot_matches_newline, config.lines)
        compiled = compiled_pattern(pattern, *flags)
        if config.captured and compiled.groups < 1:
            raise ValueError(f"pattern {pattern[:80]!r} has no group to capture the answer")
        if config.must != "be_absent" and compiled.fullmatch("") is not None:
            raise ValueError(f"pattern {pattern[:80]!r} matches an empty text, so everything fits")
        return compiled


@lru_cache(maxsize=256)
def compiled_pattern(pattern: str, ignore_case: bool, dot_nl: bool, lines: bool) -> Any:
    """Return the pattern compiled by RE2.

    Raises:
        ValueError: it is too long or too large, or uses look-around or back-references, which a
            linear-time engine cannot support.
    """
    re2 = import_module("re2")
    if len(pattern) > PATTERN_CHARS:
        raise ValueError(f"pattern of {len(pattern)} characters; at most {PATTERN_CHARS}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY_BYTES
    options.case_sensitive = not ignore_case
    options.dot_nl = dot_nl
    try:
        return re2.compile(f"(?m:{pattern})" if lines else pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        why: Any = next(iter(error.args), "refused")
        why = why.decode(errors="replace") if isinstance(why, bytes) else why
        raise ValueError(f"pattern {pattern[:80]!r} is not valid in RE2: {why}") from None
