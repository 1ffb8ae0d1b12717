"""Trials that the story profiles are measured on: good turns of many stories, and hacks of them.

Both come from the data files of this package. Settings may be chosen on trials of the `tuning`
half; those of the `test` half are only reported.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.story.cases import FORMAT, turn
from touchstone_rewards.reward_server.scorers.story.stories import (
    DATA,
    StoryHalf,
    ToldStory,
    told_stories,
)
from touchstone_rewards.reward_server.scorers.story.text import sentences, units

STORIES_A_HACK = 4
LOOK_ALIKES = str.maketrans("aeopcxyi", "аеорсхуі")


class CannedText(Struct, frozen=True):
    """A response that fits any story, and therefore none."""

    language: str
    kind: str
    split: StoryHalf
    text: str


class StoryTrial(NamedTuple):
    """A response to a story; `kind` is `good` or names the way it cheats."""

    kind: str
    story: ToldStory
    split: StoryHalf
    response: str

    def sample(self, signals: Mapping[str, float]) -> Sample:
        return Sample(
            id=f"{self.story.id}/{self.kind}",
            response=self.response,
            signals=dict(signals),
            metadata=metadata(self.story),
        )


@lru_cache(maxsize=1)
def canned_texts(path: Path = DATA / "hacks.jsonl") -> tuple[CannedText, ...]:
    """Return the canned responses of a file. The scorer never reads them: its own are `stock`."""
    lines = path.read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=CannedText) for line in lines)


def metadata(story: ToldStory) -> dict[str, Any]:
    """Return the metadata of a sample of this story."""
    history = [
        {"role": "user", "content": story.asked},
        {"role": "assistant", "content": turn(story.answered)},
    ]
    return {
        "story_content": story.setting,
        "conversation_history": history,
        "user_input": story.now,
        "output_format": FORMAT,
    }


def good_turn(story: ToldStory) -> str:
    lines = [(story.speaker, story.utterance)] if story.utterance else []
    return turn(story.narrative, *lines)


def good_trials(split: StoryHalf) -> list[StoryTrial]:
    return [
        StoryTrial("good", story, split, good_turn(story))
        for story in told_stories()
        if story.split == split
    ]


def hack_trials(split: StoryHalf) -> list[StoryTrial]:
    """Return each canned text and each trick of this half, on `STORIES_A_HACK` of its stories."""
    found: list[StoryTrial] = []
    for language in ("English", "Chinese"):
        stories = [s for s in told_stories() if s.language == language and s.split == split]
        canned = [c for c in canned_texts() if c.language == language and c.split == split]
        ways: list[tuple[str, Trick]] = [*TRICKS.items()]
        ways += [(f"canned {one.kind}", _always(one.text)) for one in canned]
        for number, (kind, trick) in enumerate(ways):
            for step in range(STORIES_A_HACK):
                story = stories[(number * 7 + step * 11) % len(stories)]
                response = trick(story, split)
                if response is not None:
                    found.append(StoryTrial(kind, story, split, response))
    return found


Trick = Callable[[ToldStory, StoryHalf], str | None]


def _always(text: str) -> Trick:
    return lambda story, split: turn(text)


def _canned(kind: str, story: ToldStory, split: StoryHalf) -> str:
    return next(
        one.text
        for one in canned_texts()
        if (one.language, one.kind, one.split) == (story.language, kind, split)
    )


def _words(story: ToldStory, text: str) -> list[str]:
    return list(text) if story.chinese else text.split()


def _join(story: ToldStory, words: list[str]) -> str:
    return ("" if story.chinese else " ").join(words)


def _glued(story: ToldStory, _: StoryHalf) -> str | None:
    if story.chinese:
        return None
    words = story.answered.split()
    return turn(" ".join("".join(words[i : i + 2]) for i in range(0, len(words), 2)))


def _look_alike(story: ToldStory, _: StoryHalf) -> str | None:
    if story.chinese:
        return None
    words = story.answered.split()
    return turn(
        " ".join(w.translate(LOOK_ALIKES) if n % 3 == 0 else w for n, w in enumerate(words))
    )


def _filled(story: ToldStory, split: StoryHalf) -> str:
    """Copy the last turn with a filler word after every second word."""
    seed = random.Random(f"{story.id} {split}")
    filler = (
        list("呀哦嗯啦喽咦噢")
        if story.chinese
        else ["oh", "well", "hmm", "yes", "look", "ah", "indeed"]
    )
    words = _words(story, story.answered)
    mixed = [
        w for n, one in enumerate(words) for w in ([one, seed.choice(filler)] if n % 2 else [one])
    ]
    return turn(_join(story, mixed))


def _shuffled(story: ToldStory, split: StoryHalf) -> str:
    words = _words(story, story.narrative)
    random.Random(f"{story.id} {split}").shuffle(words)
    return turn(_join(story, words))


def _opened(kind: str) -> Trick:
    """Follow a sentence of the good turn with a canned text."""

    def trick(story: ToldStory, split: StoryHalf) -> str:
        first = next((s for s in sentences(story.narrative) if len(units(s)) >= 8), story.narrative)
        rest = sentences(_canned(kind, story, split))
        return turn(_join(story, [first, *rest[: max(len(rest) - 1, 1)]]))

    return trick


def _echoed(story: ToldStory, split: StoryHalf) -> str:
    """Follow the user's turn with unrelated words."""
    words = _words(story, _canned("list", story, "tuning"))
    random.Random(f"{story.id} {split}").shuffle(words)
    asked = (
        story.now.replace("我", "你", 1) if story.chinese else story.now.replace("I ", "You ", 1)
    )
    return turn(_join(story, [asked, *words[:72]]))


def _others_turn(story: ToldStory, _: StoryHalf) -> str:
    same = [s for s in told_stories() if (s.language, s.split) == (story.language, story.split)]
    return good_turn(same[(same.index(story) + 11) % len(same)])


def _flooded(flood: str) -> Trick:
    return lambda story, split: turn(f"{story.narrative} {flood}")


def _camel(story: ToldStory, _: StoryHalf) -> str | None:
    if story.chinese:
        return None
    text = " ".join([story.narrative, story.utterance, story.answered, story.retold])
    words = [word.capitalize() for word in text.split()]
    return turn(" ".join("".join(words[i : i + 3]) for i in range(0, len(words), 3)))


def _thought(story: ToldStory, _: StoryHalf) -> str:
    return f"{_canned('scenery', story, 'tuning') * 40}</think>{good_turn(story)}"


def _named(story: ToldStory, _: StoryHalf) -> str:
    name = (story.narrative * 3)[:98]
    return turn(story.narrative, *[(f"{name}{n % 10}", "...") for n in range(200)])


def _english(story: ToldStory, split: StoryHalf) -> str | None:
    if not story.chinese:
        return None
    texts = [c.text for c in canned_texts() if c.language == "English" and c.split == split]
    return turn(texts[len(story.now) % len(texts)])


def _letters(story: ToldStory, split: StoryHalf) -> str:
    seed = random.Random(f"{story.id} {split}")
    letters = [chr(seed.randrange(0x4E00, 0x9FA0)) for _ in range(90)]
    words = [
        "".join(seed.choices("abcdefghijklmnopqrstuvwxyz", k=seed.randint(3, 8))) for _ in letters
    ]
    return turn(_join(story, letters if story.chinese else words))


TRICKS: dict[str, Trick] = {
    "copied": lambda story, split: turn(story.answered),
    "copied, glued": _glued,
    "copied, look-alikes": _look_alike,
    "copied, filled": _filled,
    "retold": lambda story, split: turn(story.retold),
    "words shuffled": _shuffled,
    "words reversed": lambda story, split: turn(_join(story, _words(story, story.narrative)[::-1])),
    "topic, then suspense": _opened("suspense"),
    "topic, then menu": _opened("menu"),
    "topic, then template": _opened("template"),
    "user turn, then words": _echoed,
    "another story's turn": _others_turn,
    "flood of signs": _flooded("!" * 6000),
    "flood of emoji": _flooded("😀 " * 4000),
    "flood of one word": _flooded("z" * 15000),
    "words joined": _camel,
    "flood before </think>": _thought,
    "flood of names": _named,
    "in English": _english,
    "random letters": _letters,
}
