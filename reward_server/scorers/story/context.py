"""Read the story so far from a sample: setting, history, the user's turn, target responses.

Each function returns texts, or a `missing_field` error that names the missing metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample, SampleError, is_list, is_object
from touchstone_rewards.reward_server.scorers.story.text import MAX_CHARACTERS, told

# Earlier turns are cut at the length that a response may have.
MAX_TURN_CHARACTERS = 2**20


@lru_cache(maxsize=1024)
def _told(turn: str) -> str:
    return told(turn[:MAX_TURN_CHARACTERS])


def history(sample: Sample, turns: int) -> list[str] | SampleError:
    """Return the text of the last `turns` turns before the user's, oldest first.

    A first turn has an empty history.
    """
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
    """Return the setting, the last `turns` turns and the user's turn, as far as they are there.

    Only a sample that has none of them, or whose history cannot be read, is an error.
    """
    said = history(sample, turns)
    if isinstance(said, SampleError):
        return said
    begun = setting(sample)
    texts = [*_there(begun), *said, *_there(user_turn(sample))]
    return texts or begun


def _there(found: list[str] | SampleError) -> list[str]:
    return [] if isinstance(found, SampleError) else found


def earlier(sample: Sample, turns: int) -> list[str] | SampleError:
    """Return everything told before the response: the setting, the history, the user's turn."""
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
    """Return the texts of the target responses, an empty list for a sample without any."""
    came = sample.ground_truth
    texts = came if is_list(came) else [came]
    return [_told(str(text)) for text in texts if text is not None and str(text).strip()]


def _text(metadata: Mapping[str, Any], name: str) -> list[str] | SampleError:
    came = metadata.get(name)
    if not isinstance(came, str) or not came.strip():
        return _missing(name, "a text")
    return [came[:MAX_CHARACTERS]]


def _missing(name: str, expected: str) -> SampleError:
    return sample_error("missing_field", f"metadata.{name} is missing; expected {expected}")
