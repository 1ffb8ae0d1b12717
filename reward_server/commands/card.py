"""`reward-server card`: print a reward's fingerprint, versions and audit, to be cited.

It writes Markdown to standard output, and JSON to a file with which `replay --card` compares a log.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from touchstone_rewards.reward_server.audit.card import card_of, markdown
from touchstone_rewards.reward_server.audit.report import AuditReport
from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.stored.stream import known_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="math", help="the profile to describe [math]")
    parser.add_argument("--audit", type=Path, metavar="FILE", help="audit.json of the profile")
    parser.add_argument("--data", type=Path, metavar="FILE", help="data file, to add its SHA-256")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the card as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing card")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.output and arguments.output.exists() and not arguments.overwrite:
        raise ConfigError(f"{arguments.output} exists; --overwrite replaces it")
    _, profile = known_profile(settings_from(arguments), arguments.profile)
    report = _report(arguments.audit) if arguments.audit else None
    card = card_of(profile, report, arguments.data)
    print(markdown(card), end="")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.encode(card, enc_hook=str)
        arguments.output.write_bytes(msgspec.json.format(encoded, indent=1))
    return 0


def _report(path: Path) -> AuditReport:
    try:
        return msgspec.json.decode(path.read_bytes(), type=AuditReport)
    except OSError as error:
        raise ConfigError(f"audit {path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"audit {path}: {error}; expected the audit.json of an audit") from error
