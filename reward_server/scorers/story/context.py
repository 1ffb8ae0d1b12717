"""What a sample says of the story so far: its history, its setting, the user's turn, the target.

In: a sample with `metadata`. Out: texts, or the `missing_field` that says what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample, SampleError, is_list, is_object
from touchstone_rewards.reward_server.scorers.story.text import MAX_CHARACTERS, told

# An earlier turn is read as far as a response may be long.
MAX_TURN_CHARACTERS = 2**20


@lru_cache(maxsize=1024)
def _told(turn: str) -> str:
    return told(turn[:MAX_TURN_CHARACTERS])


def history(sample: Sample, turns: int) -> list[str] | SampleError:
    """What the last `turns` turns before the user's told, oldest first; empty in a first turn."""
    came = sample.metadata.get("conversation_history")
    if not is_list(came):
        return _missing("conversation_history", "a list of {role, content}, empty in a first turn")
    said: list[str] = []
    for turn in came[-int(turns) :]:
        if not is_object(turn) or not isinstance(turn.get("content"), str):
            return _missing("conversation_history", "a list of {role, content}")
        if turn.get("role") != "system":
            said.append(_told(turn["content"]))
    return [text for text in said if text.strip()]


def story(sample: Sample, turns: int) -> list[str] | SampleError:
    """The setting, the last turns and the user's, as far as they are there, as one text."""
    said = history(sample, turns)
    if isinstance(said, SampleError):
        return said
    begun, asked = setting(sample), user_turn(sample)
    texts = [*(_there(begun)), *said, *(_there(asked))]
    return ["\n".join(texts)] if texts else begun


def _there(found: list[str] | SampleError) -> list[str]:
    return [] if isinstance(found, SampleError) else found


def earlier(sample: Sample, turns: int) -> list[str] | SampleError:
    """All that was there before the response: the setting, the history, the user's turn."""
    said, asked = history(sample, turns), user_turn(sample)
    if isinstance(said, SampleError):
        return said
    if isinstance(asked, SampleError):
        return asked
    return [*_there(setting(sample)), *said, *asked]


def setting(sample: Sample) -> list[str] | SampleError:
    return _text(sample.metadata, "story_content")


def user_turn(sample: Sample) -> list[str] | SampleError:
    return _text(sample.metadata, "user_input")


def targets(sample: Sample) -> list[str]:
    """The texts of the target response; none where the sample brings none."""
    came = sample.ground_truth
    texts = came if is_list(came) else [came]
    return [_told(str(text)) for text in texts if text is not None and str(text).strip()]


def _text(metadata: Mapping[str, Any], name: str) -> list[str] | SampleError:
    came = metadata.get(name)
    if not isinstance(came, str) or not came.strip():
        return _missing(name, "a text")
    return [came[:MAX_CHARACTERS]]


def _missing(name: str, expected: str) -> SampleError:
    return sample_error("missing_field", f"metadata.{name} is not there; expected {expected}")
