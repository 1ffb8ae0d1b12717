"""How good a turn of a story is, part by part: `story` with `config: {part: NAME}`.

Every part is a score of its own in [0, 1]; the profile weighs them. See docs/story_scorer.md.
"""

from __future__ import annotations

from typing import Any

from touchstone_rewards.reward_server.scorers.story.embedded import COMPARISONS, EmbeddedPart
from touchstone_rewards.reward_server.scorers.story.rules import RULES, RulePart


def story_scorer(part: str, **config: Any) -> RulePart | EmbeddedPart:
    """How good a turn of a story is: the scorer of one `part`. `config` holds its settings, and
    those of its embedding model.

    Raises:
        ValueError: no such part, or a setting out of range.
        TypeError: a setting that the part does not have.
    """
    if part in COMPARISONS:
        return EmbeddedPart(part, **config)
    if part in RULES:
        return RulePart(part, **config)
    raise ValueError(f"part {part!r} is not one of {', '.join([*COMPARISONS, *RULES])}")
