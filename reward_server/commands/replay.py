"""`reward-server replay`: score a log or kept samples again, and print the differences.

It reads a score log, or the samples that a trainer kept (`samples_step_*.jsonl`), from files or
folders, and prints a table of old against new verdicts and every change. It needs no server and
holds one batch at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from rich.console import Console
from rich.table import Table

from touchstone_rewards.reward_server.audit.card import Card, read_card
from touchstone_rewards.reward_server.cascades import NOT_ASKED
from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError, RunFailed
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schedules import TIME
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.scoring.routing import addressed
from touchstone_rewards.reward_server.stored.draft import Draft, MadeFrom, open_draft
from touchstone_rewards.reward_server.stored.lines import is_countable, open_lines
from touchstone_rewards.reward_server.stored.progress import progress_bar
from touchstone_rewards.reward_server.stored.read import count_lines, read_lines
from touchstone_rewards.reward_server.stored.stream import (
    BATCH_SAMPLES,
    batches,
    offline_engine,
    score_stream,
    started,
    whole_groups,
)
from touchstone_rewards.reward_server.watching.score_log import ScoreLine, log_files
from touchstone_rewards.reward_server.watching.verdicts import differ, verdict

STEP_FILE = re.compile(r"samples_step_(\d+)\.jsonl")
SHOWN_CHANGES = 20


class Old(Struct):
    """The old result of a sample; `profile` and `fingerprint` if they were kept.

    `together`: an id common to the samples of its group that were scored with it; `members`: their
    number, if it was kept."""

    sample: Sample
    reward: float | None
    code: str | None
    scores: dict[str, float | None]
    profile: str | None
    fingerprint: str | None
    together: str | None = None
    members: int | None = None
    weights: dict[str, float] | None = None


class Change(Struct):
    """One line of `--output`: the old and the new reward, or error code."""

    id: str
    old: float | str | None
    new: float | str | None
    old_fingerprint: str | None
    new_fingerprint: str
    explanation: dict[str, Any] | None


class Kept(Struct):
    """The fields that are read from a line of either kind. Others are ignored."""

    sample: msgspec.Raw | UnsetType = UNSET
    id: str = ""
    prompt: Any = None
    response: str = ""
    ground_truth: Any = None
    group: str | None = None
    signals: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    reward: float | None = None
    scores: dict[str, float | None] = {}
    error: dict[str, Any] | None = None
    fingerprint: str | None = None


class Findings:
    """Counts of old against new verdicts; changes go to `target`, or are printed without one."""

    def __init__(self, target: Draft | None, fingerprint: str) -> None:
        self.confusion: Counter[tuple[str, str]] = Counter()
        self.changed = self.foreign = 0
        self.skipped: Counter[str] = Counter()  # by the profile that scored them
        self.target = target
        self.fingerprint = fingerprint

    def add(self, old: Old, new: SampleResult) -> None:
        self.foreign += old.fingerprint not in (None, self.fingerprint)
        code = new.error.code if new.error else None
        words = verdict(old.reward, old.code), verdict(new.reward, code)
        self.confusion[words] += 1
        if words[0] == words[1] and not differ(old.reward, new.reward):
            return
        self.changed += 1
        before = old.code if old.reward is None else old.reward
        after = code if new.reward is None else new.reward
        prints = old.fingerprint, self.fingerprint
        change = Change(old.sample.id, before, after, *prints, new.explanation)
        if self.target is not None:
            self.target.append(msgspec.json.encode(change) + b"\n")
        if self.target is None or self.changed <= SHOWN_CHANGES:
            said = msgspec.json.encode(change.explanation, order="sorted").decode()
            print(f"{change.id}: {_word(before)} -> {_word(after)}  {said}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", type=Path, required=True, metavar="PATH", help="a score log, or kept samples"
    )
    parser.add_argument("--profile", default="math", help="the profile to score with")
    parser.add_argument(
        "--from_profile", metavar="NAME", help="replay samples of this profile [--profile]"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write every change, JSONL")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="exit 1 unless the profile and the log match this card",
    )
    parser.add_argument("--fail_on_change", action="store_true", help="exit 1 if a verdict changed")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    files = input_files(arguments.input)
    engine = offline_engine(settings, arguments.profile)
    profile = engine.profiles[arguments.profile]
    if arguments.card is not None:
        _hold_against(read_card(arguments.card), profile)
    with ExitStack() as stack:
        draft = _open_output(arguments, files, profile)
        if draft is not None:
            stack.callback(draft.close)
        findings = Findings(draft, profile.fingerprint)
        olds = read_old(files, arguments.from_profile or arguments.profile, findings)
        progress = stack.enter_context(progress_bar())
        task = progress.add_task(arguments.profile, total=_total(files))
        asyncio.run(_replay(engine, profile, olds, findings, partial(progress.advance, task)))
        if draft is not None:
            draft.finish()
    _report(findings, profile, arguments)
    if arguments.card is not None and findings.foreign:
        raise RunFailed(
            f"{findings.foreign} samples were scored under another fingerprint than the card's "
            f"{profile.fingerprint}"
        )
    strict = arguments.fail_on_change or arguments.card is not None
    return 1 if strict and findings.changed else 0


def _hold_against(card: Card, profile: Profile) -> None:
    if card.fingerprint != profile.fingerprint:
        raise RunFailed(
            f"the card is of {card.profile} {card.fingerprint}, but the profile is {profile.name} "
            f"{profile.fingerprint}: its rewards may differ"
        )


def _total(files: list[Path]) -> int | None:
    return sum(map(count_lines, files)) if all(map(is_countable, files)) else None


def _open_output(
    arguments: argparse.Namespace, files: list[Path], profile: Profile
) -> Draft | None:
    if arguments.output is None:
        return None
    made_from = MadeFrom(profile.name, profile.fingerprint, True, str(arguments.input))
    return open_draft(
        str(arguments.output), files, made_from, overwrite=arguments.overwrite, resumable=False
    )


def input_files(path: Path) -> list[Path]:
    """Return the files to read, oldest first.

    Raises:
        ConfigError: there are none.
    """
    if path.is_file():
        return log_files(path)
    steps = [(STEP_FILE.fullmatch(each.name), each) for each in path.glob("*.jsonl")]
    kept = sorted((int(match[1]), each) for match, each in steps if match)
    logs = sorted(each for match, each in steps if not match)
    found = [each for _, each in kept] or [file for each in logs for file in log_files(each)]
    if not found:
        raise ConfigError(f"input {path} is neither a file nor a folder with *.jsonl")
    return found


def read_old(files: list[Path], profile: str, findings: Findings) -> Iterator[Old]:
    """Yield the samples scored by `profile`, or by an unknown one. Skip an incomplete last line.

    Raises:
        ConfigError: a line is of neither kind.
    """
    for path in files:
        with ExitStack() as stack:
            lines = open_lines(path, stack)
            whole = (line for line in lines if line.endswith(b"\n"))
            for old in read_lines(whole, path, _old):
                if old.profile in (None, profile):
                    yield old
                else:
                    findings.skipped[old.profile] += 1


_decode_kept = msgspec.json.Decoder(Kept).decode
_decode_line = msgspec.json.Decoder(ScoreLine).decode


def _old(line: bytes) -> Old:
    kept = _decode_kept(line)
    if kept.sample is UNSET:
        about = {"signals": kept.signals or {}, "metadata": kept.metadata or {}}
        fields = {"group_id": kept.group, **about}
        names = ("id", "response", "prompt", "ground_truth")
        sample = msgspec.convert(fields | {n: getattr(kept, n) for n in names}, Sample)
        code = str(kept.error.get("code")) if kept.error else None
        return Old(sample, kept.reward, code, kept.scores, None, kept.fingerprint, kept.group)
    line_ = _decode_line(line)
    result = line_.result
    code = result.error.code if result.error else None
    about = line_.profile, line_.fingerprint
    weights = result.weights or None
    return Old(line_.sample, result.reward, code, result.scores, *about, *_group_of(line_), weights)


def _group_of(line: ScoreLine) -> tuple[str | None, int | None]:
    """Return an id common to the samples that were scored together, and their number if known."""
    if isinstance(line.result.group, str):
        return line.result.group, int(line.result.group.rpartition("/")[2])
    group_id = line.sample.group_id
    return (None if group_id is None else f"{line.request_id} {group_id}"), None


def by_group(olds: Iterator[Old]) -> Iterator[Old]:
    """Yield the samples reordered: those that were scored together follow each other, with a common
    `group_id`.

    Members of a group that came in several requests wait for each other; members of one request
    are in one block of lines already."""
    waiting: dict[str, list[Old]] = {}
    block: dict[str | None, list[Old]] = {}
    last = ""
    for old in olds:
        old.sample.group_id = old.together
        if old.members is not None and old.together is not None:
            group = waiting.setdefault(old.together, [])
            group.append(old)
            if len(group) >= old.members:
                yield from waiting.pop(old.together)
            continue
        request = (old.together or "").partition(" ")[0]
        if request != last:
            yield from chain.from_iterable(block.values())
            block, last = {}, request
        block.setdefault(old.together, []).append(old)
    yield from chain.from_iterable([*block.values(), *waiting.values()])


async def _replay(
    engine: Engine, profile: Profile, olds: Iterator[Old], findings: Findings, advance: Any
) -> None:
    in_work: deque[list[Old]] = deque()

    def requests() -> Iterator[ScoreRequest]:
        cut = batches(olds, BATCH_SAMPLES)
        if profile.info.groups is not None:
            cut = whole_groups(by_group(olds), BATCH_SAMPLES, lambda old: old.together)
        for batch in cut:
            in_work.append(batch)
            samples = [addressed(profile, old.sample) for old in batch]
            yield ScoreRequest(samples, profile.name, explain=True)

    await started(engine)
    try:
        async for results in score_stream(engine, requests()):
            for old, new in zip(in_work.popleft(), results, strict=True):
                findings.add(*_comparable(profile, old, new))
            advance(len(results))
    finally:
        await engine.stop()


def _comparable(profile: Profile, old: Old, new: SampleResult) -> tuple[Old, SampleResult]:
    """Return old and new results made comparable. If rewards depend on earlier ones or weights on
    the clock, compare the weighted sums of the scores, with the old weights. Scores that depend on
    earlier responses cannot be repeated: the old ones stay."""
    inner = {each.name: each for each in profile.reached()}
    scored_by = inner.get(new.routed_to or profile.name, profile)
    by_clock = any(one.by == TIME for one in scored_by.schedules.values())
    if not scored_by.by_earlier and not by_clock:
        return old, new
    for key in scored_by.remembering:
        if old.scores.get(key) is not None and new.scores.get(key) is not None:
            new.scores[key] = old.scores[key]
    weights = old.weights or new.weights or None
    for each in (old, new):
        if each.reward is not None:
            scores = {
                key: _score(scored_by, key, each.scores.get(key)) for key in scored_by.scorers
            }
            reward = scored_by.reward(scores, weights)[0]
            each.reward = None if reward is None else scored_by.clipped(reward)
    return old, new


def _score(profile: Profile, key: str, value: float | None) -> Score:
    """Return a kept score of a sample that has a reward: null means that the scorer did not run."""
    partly = profile.cascades is not None and key in profile.cascades.when
    return NOT_ASKED if partly and value is None else Score(value)


def _report(findings: Findings, profile: Profile, arguments: argparse.Namespace) -> None:
    names = sorted({name for pair in findings.confusion for name in pair})
    columns = [name for name in names if any(new == name for _, new in findings.confusion)]
    table = Table("old \\ new", *columns, box=None)
    for old in names:
        if any(pair[0] == old for pair in findings.confusion):
            table.add_row(old, *(str(findings.confusion[old, new]) for new in columns))
    console = Console(soft_wrap=True)
    console.print(table)
    total = findings.confusion.total()
    console.print(f"{total} scored again by {arguments.profile}, {findings.changed} changed")
    for key in sorted({key for each in profile.reached() for key in each.remembering}):
        console.print(
            f"scores of {key} depend on earlier responses, so the old ones were kept; whether they "
            "would be the same today is not known"
        )
    for name, count in findings.skipped.most_common():
        console.print(
            f"{count} skipped, scored by {name}: give --profile {name}, or "
            f"--from_profile {name} to score them with {arguments.profile}"
        )
    if arguments.output is not None:
        console.print(f"changes -> {arguments.output}")


def _word(value: float | str | None) -> str:
    return "no reward" if value is None else value if isinstance(value, str) else f"{value:g}"
