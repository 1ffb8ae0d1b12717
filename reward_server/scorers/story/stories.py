"""Stories written for this project, each with a good turn that goes on from it.

In: `data/stories.jsonl`. Out: the stories. Settings may be chosen on the half `tuning`; `test` is
only reported.
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
    """A story of one exchange, a good turn that goes on from it, and its last turn retold."""

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


@lru_cache(maxsize=1)
def told_stories(path: Path = DATA / "stories.jsonl") -> tuple[ToldStory, ...]:
    lines = path.read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=ToldStory) for line in lines)
