"""Generate small stories with a hidden fact, for trying a story reward in minutes on a CPU.

Each conversation, in ShareGPT's form, tells early under which stone a thing is hidden; its last
turn looks for it, so only the history gives the right answer. In the SFT lessons some answers use
the fact. `is_right` is an outside measure that no reward sees.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Template
from transformers import PreTrainedTokenizerFast

from touchstone_rewards.trainer.story.convert import TurnProblem, story_rows
from touchstone_rewards.trainer.toy.tiny_model import make_model

THINGS = ("key", "coin", "map", "ring", "lamp", "rope")
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "brown", "grey")
NAMES = ("Tom", "Mia", "Ben", "Zoe", "Sam", "Ida")
PLACES = ("garden", "forest", "harbour", "castle")
# Shares of the lessons: right answers, answers of any colour, lessons without history.
RIGHT, ANY, UNTOLD = 0.4, 0.3, 0.3
FORMAT = "One sentence."
CHAT_TEMPLATE = (
    "{% for turn in messages %}{{ turn.role[0] }}: {{ turn.content }}"
    "{{ eos_token if turn.role == 'assistant' else '' }}\n{% endfor %}"
    "{{ 'a:' if add_generation_prompt else '' }}"
)


class TinyStory(NamedTuple):
    """Who hides which thing under a stone of which colour, and where."""

    name: str
    thing: str
    colour: str
    place: str


def draw_story(rng: random.Random) -> TinyStory:
    return TinyStory(*map(rng.choice, (NAMES, THINGS, COLOURS, PLACES)))


def conversation(story: TinyStory, answer: str, *, is_told: bool = True) -> dict[str, Any]:
    """Return a conversation that hides the thing and looks for it; untold, only the search."""
    turns = [
        f"{story.name} hides a {story.thing} under the {story.colour} stone.",
        f"Night falls and {story.name} goes home.",
        f"I look for the {story.thing}.",
        answer,
    ]
    turns = turns if is_told else turns[2:]
    return {
        "system": f"A tale of the {story.place}.",
        "conversations": [
            {"from": ("user", "assistant")[n % 2], "value": text} for n, text in enumerate(turns)
        ],
    }


def found(colour: str) -> str:
    return f"You lift the {colour} stone and there it lies."


def lesson(rng: random.Random) -> tuple[TinyStory, dict[str, Any]]:
    """Draw a story whose answer is right, names any colour, or names none.

    Some are untold, with answers of any colour: to a model that never saw the search without its
    history, every answer would be unlikely and would seem to gain from the history.
    """
    story, is_told = draw_story(rng), rng.random() >= UNTOLD
    draw = rng.random()
    answer = f"You walk around the {story.place} and see nothing."
    if draw < RIGHT + ANY:
        answer = found(story.colour if draw < RIGHT and is_told else rng.choice(COLOURS))
    return story, conversation(story, answer, is_told=is_told)


def second_prompts(stories: Sequence[TinyStory]) -> list[list[dict[str, Any]]]:
    """Return the prompts that look for the hidden things, as `trainer data story` makes them."""
    problems: list[TurnProblem] = []
    told = [conversation(story, found(story.colour)) for story in stories]
    rows = story_rows(told, Template(FORMAT), "tiny", problems)
    return [row["prompt"] for row in rows if row["conversation_history"]]


def is_right(response: str, colour: str) -> bool:
    """Whether a response names this colour and no other."""
    return set(re.findall(r"\w+", response.lower())) & set(COLOURS) == {colour}


def make_storyteller(folder: Path, texts: list[str], seed: int) -> Path:
    """Write a small untrained model with a chat template, and return its folder.

    With transformers' initializer range of 0.02 a model this small does not learn to copy a word in
    600 updates; with 0.1 it needs 200.
    """
    make_model(folder, texts, hidden_size=64, layers=2, initializer_range=0.1, seed=seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder
