"""The stories and stock texts that ship with the scorer, read from `data/`.

Settings may be chosen on the `tuning` half of the stories; the `test` half is only reported.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

DATA = Path(__file__).parent / "data"
StoryHalf = Literal["tuning", "test"]


class ToldStory(Struct, frozen=True):
    """A story of one exchange, a good turn that continues it, and a paraphrase of its last turn."""

    id: str
    language: str
    style: str
    split: StoryHalf
    setting: str
    asked: str
    answered: str
    now: str
    narrative: str
    speaker: str
    utterance: str
    retold: str

    @property
    def chinese(self) -> bool:
        return self.language == "Chinese"

    @property
    def texts(self) -> tuple[str, ...]:
        told = (self.setting, self.asked, self.answered, self.now, self.narrative, self.utterance)
        return (*told, self.retold)


class StockText(Struct, frozen=True):
    """A passage that would fit any story: suspense, a menu of options, a refusal, praise."""

    language: str
    kind: str
    text: str


@lru_cache(maxsize=1)
def stock_texts(path: Path = DATA / "stock.jsonl") -> tuple[StockText, ...]:
    """Return the stock texts of a file, by default those that ship with the scorer."""
    lines = path.read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=StockText) for line in lines)


@lru_cache(maxsize=1)
def told_stories(path: Path = DATA / "stories.jsonl") -> tuple[ToldStory, ...]:
    """Return the stories of a file, by default those that ship with the scorer."""
    lines = path.read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=ToldStory) for line in lines)
