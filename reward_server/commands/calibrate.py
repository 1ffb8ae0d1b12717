"""`reward-server calibrate`: fit the score ramps of an embedding model to labeled stories.

It reads a profile with the part `coherence`, and stories as JSON lines: those of
`scorers/story/data/stories.jsonl`, or the rows of `trainer data story`. It writes a ramps file for
the profile to name, and prints the measurements.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profile_config import read_config
from touchstone_rewards.reward_server.schemas import Sample, is_object

BATCH_TEXTS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--profile", required=True, help="the profile whose embedding model is measured")
    add("--stories", type=Path, required=True, metavar="FILE", help="labeled stories, JSONL")
    add("--output", type=Path, required=True, metavar="FILE", help="the ramps file to write, JSON")
    add("--stock", type=Path, metavar="FILE", help="texts that fit any story, JSONL [built-in]")
    add("--languages", nargs="+", metavar="NAME", help="use stories in these languages only [all]")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the ramps file, and print the measurements.

    Raises:
        ConfigError: no such profile, stories that cannot be read, or an output that exists.
    """
    from touchstone_rewards.reward_server.models.files import folder_digest
    from touchstone_rewards.reward_server.scorers.story.calibration import (
        language_ramps,
        texts_of,
    )
    from touchstone_rewards.reward_server.scorers.story.ramps import LanguageRamps, Ramps

    if arguments.output.exists():
        raise ConfigError(f"output {arguments.output} already exists; give another name")
    config = _model_config(arguments.profile, settings_from(arguments).profile_dirs)
    wanted = arguments.languages
    turns = [t for t in _read_turns(arguments.stories) if not wanted or t.language in wanted]
    stock = _read_stock(arguments.stock)
    vectors = _embedded(config, texts_of(turns, stock))
    languages: dict[str, LanguageRamps] = {}
    for language in sorted({turn.language for turn in turns}):
        try:
            own = [turn for turn in turns if turn.language == language]
            passages = [one for one in stock if one.language == language]
            languages[language] = language_ramps(own, passages, vectors)
        except ValueError as error:
            print(f"{language}: not calibrated: {error}")
    if not languages:
        raise ConfigError("no language could be calibrated; see above")
    stories = hashlib.sha256(arguments.stories.read_bytes()).hexdigest()
    files = folder_digest(config.folder())
    ramps = Ramps(config.model, files, config.prefix, stories, languages)
    arguments.output.write_bytes(
        msgspec.json.format(msgspec.json.encode(ramps, enc_hook=_rounded), indent=1) + b"\n"
    )
    for language, found in languages.items():
        print(f"{language}: ramps {found.ramps}")
        for half, measured in found.measured.items():
            print(f"  {half}: {measured}")
    print(f"written to {arguments.output}: name it as `ramps` in the profile")
    return 0


def _model_config(name: str, folders: Sequence[Path]) -> Any:
    """Return the config of the embedding model in the profile's part `coherence`."""
    from touchstone_rewards.reward_server.models.config import embedding_config

    path = next((f / f"{name}.yaml" for f in folders[::-1] if (f / f"{name}.yaml").is_file()), None)
    if path is None:
        raise ConfigError(f"profile {name!r} is not in any of {', '.join(map(str, folders))}")
    for entry in read_config(path).scorers.values():
        config = dict(entry.config)
        if config.get("part") == "coherence":
            own = ("part", "ramps", "languages", "zero_at", "one_at", "turns")
            return embedding_config(**{k: v for k, v in config.items() if k not in own})
    raise ConfigError(f"profile {name!r} has no scorer with `part: coherence`")


def _read_stock(path: Path | None) -> Sequence[Any]:
    from touchstone_rewards.reward_server.scorers.story.stories import stock_texts

    try:
        return stock_texts() if path is None else stock_texts(path)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"stock {path} cannot be read: {error!r:.200}; a line is "
            '{"language": "English", "kind": "menu", "text": "…"}'
        ) from error


def _read_turns(path: Path) -> list[Any]:
    try:
        rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line]
        return [_turn(number, row) for number, row in enumerate(rows)]
    except (OSError, KeyError, TypeError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"stories {path} cannot be read: {error!r:.200}") from error


def _turn(number: int, row: Any) -> Any:
    from touchstone_rewards.reward_server.scorers.story.calibration import LabelledTurn
    from touchstone_rewards.reward_server.scorers.story.embedded import story_language
    from touchstone_rewards.reward_server.scorers.story.stories import ToldStory
    from touchstone_rewards.reward_server.scorers.story.trials import good_turn, metadata

    if is_object(row) and "target_response" in row:
        fields = ("story_content", "conversation_history", "user_input")
        about = {field: row[field] for field in fields}
        sample = Sample(id=f"line {number + 1}", response=row["target_response"], metadata=about)
        # All rows of one story go to the same half.
        story = str(row["story_content"])
        half = ("tuning", "test")[hashlib.sha256(story.encode()).digest()[0] % 2]
        return LabelledTurn(sample, story_language(sample), half, story)
    told = msgspec.convert(row, ToldStory)
    sample = Sample(id=told.id, response=good_turn(told), metadata=metadata(told))
    return LabelledTurn(sample, told.language, told.split, told.id, told.retold)


def _embedded(config: Any, texts: Sequence[str]) -> dict[str, Any]:
    from touchstone_rewards.reward_server.models import load

    model = load(config)
    found: dict[str, Any] = {}
    order = sorted(texts, key=len)
    for batch in _progress(order):
        prepared = model.prepare(batch)
        if refused := [one for one in prepared if not hasattr(one, "content")]:
            raise ConfigError(f"model {config.label} refused a text: {refused[0]}")
        answers = model.run(prepared)
        found |= {text: one.vector for text, one in zip(batch, answers, strict=True)}
    model.close()
    return found


def _progress(order: list[str]) -> Iterable[list[str]]:
    from rich.console import Console
    from rich.progress import track

    batches = [order[i : i + BATCH_TEXTS] for i in range(0, len(order), BATCH_TEXTS)]
    return track(batches, f"embedding {len(order)} texts", console=Console(stderr=True))


def _rounded(array: Any) -> list[float]:
    """Return a vector as numbers of six digits, for msgspec."""
    return [round(float(each), 6) for each in array]
