"""Write a card for a profile that a paper or run can cite and `replay --card` can verify.

It holds the same facts as JSON and as Markdown, with the results of an audit if there is one.
"""

from __future__ import annotations

from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import msgspec
from msgspec import Struct

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.audit.report import AuditReport, AuditShare
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import Profile

# Packages whose version may change a score.
LIBRARIES = ("python-flint", "torch", "transformers", "jsonschema-rs", "google-re2", "sacrebleu")
SHOWN_STRATEGIES = 3


class CardScorer(Struct):
    """One scorer of the profile."""

    scorer: str
    version: str
    weight: float
    gate_below: float | None
    config: dict[str, Any]


class AuditSummary(Struct):
    """Results of an audit. `accepted`, `refused`: name of the worst strategy and
    rewriting, with its share."""

    rows: int
    form: str
    accepted: dict[str, AuditShare]
    refused: dict[str, AuditShare]
    false_positive: AuditShare | None
    false_negative: AuditShare | None
    limits: list[str]


class Card(Struct):
    """Facts about a profile. `data_sha256`: hash of the audited file."""

    profile: str
    description: str
    fingerprint: str
    scorers: dict[str, CardScorer]
    versions: dict[str, str]
    data: str | None = None
    data_sha256: str | None = None
    audit: AuditSummary | None = None


def card_of(profile: Profile, report: AuditReport | None, data: Path | None) -> Card:
    """Return the card of a profile.

    Raises:
        ConfigError: the audit belongs to another profile or fingerprint.
    """
    if report is not None and report.fingerprint != profile.fingerprint:
        raise ConfigError(
            f"the audit is of {report.profile} {report.fingerprint}, the profile is "
            f"{profile.name} {profile.fingerprint}; run the audit again"
        )
    scorers = {
        key: CardScorer(
            one.specs[key].name,
            str(one.scorers[key].version),
            entry.weight,
            entry.gate_below,
            entry.config,
        )
        for one in profile.reached()
        for key, entry in one.entries.items()
    }
    return Card(
        profile.name,
        profile.info.description,
        profile.fingerprint,
        scorers,
        _versions(),
        data.name if data else None,
        _sha256(data) if data else None,
        _summary(report) if report else None,
    )


def read_card(path: Path) -> Card:
    """Return the card in a file.

    Raises:
        ConfigError: the file is missing or is not a card.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except OSError as error:
        raise ConfigError(f"card {path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"card {path}: {error}; expected a file written by `reward-server card --output`"
        ) from error


def _versions() -> dict[str, str]:
    found = {"touchstone": __version__, "python": python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"data {path} is not a file")
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _summary(report: AuditReport) -> AuditSummary:
    of_all = [each for each in report.error_rates if (each.scorer, each.among) == ("reward", "all")]
    refused = sorted(report.rewritings, key=lambda each: -each.refused.share)
    return AuditSummary(
        report.rows,
        report.form,
        {each.name: each.accepted for each in report.strategies[:SHOWN_STRATEGIES]},
        {each.name: each.refused for each in refused[:SHOWN_STRATEGIES]},
        of_all[0].false_positive if of_all else None,
        of_all[0].false_negative if of_all else None,
        [*report.failed, *(report.combination.warnings if report.combination else [])],
    )


def markdown(card: Card) -> str:
    """Return the card as Markdown."""
    lines = [f"# Reward `{card.profile}` · `{card.fingerprint}`", ""]
    if card.description:
        lines += [card.description, ""]
    lines += [
        "| scorer | kind | version | weight | gate below |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, each in card.scorers.items():
        gate = "" if each.gate_below is None else f"{each.gate_below:g}"
        lines.append(f"| {key} | {each.scorer} | {each.version} | {each.weight:g} | {gate} |")
    lines += ["", "Versions: " + ", ".join(f"{k} {v}" for k, v in card.versions.items()) + "."]
    if card.data_sha256:
        lines += ["", f"Data: {card.data}, SHA-256 `{card.data_sha256}`."]
    if card.audit is not None:
        lines += ["", *_audit_lines(card.audit)]
    return "\n".join(lines) + "\n"


def _audit_lines(audit: AuditSummary) -> list[str]:
    lines = [f"Audited on {audit.rows} rows; right answers earn most as: {audit.form}.", ""]
    for said, shares in (("accepted", audit.accepted), ("refused", audit.refused)):
        worst = "; ".join(f"{name} {_said(found)}" for name, found in shares.items())
        lines.append(f"- Most {said}: {worst or 'nothing tried'}.")
    for said, found in (
        ("Wrong taken for right", audit.false_positive),
        ("Right taken for wrong", audit.false_negative),
    ):
        if found is not None:
            lines.append(f"- {said}, on labeled samples: {_said(found)}.")
    return lines + [f"- Known limit: {limit}." for limit in audit.limits]


def _said(found: AuditShare) -> str:
    return f"{found.count} of {found.of} [{found.low:.1%}, {found.high:.1%}]"
