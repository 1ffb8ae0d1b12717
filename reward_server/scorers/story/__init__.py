"""The story scorer: `scorer: story` with `config: {part: NAME}` scores one aspect of a story turn.

Each part is a score of its own in [0, 1]; the profile weighs them. See docs/story_scorer.md.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from touchstone_rewards.reward_server.scorers.story.embedded import COMPARISONS, EmbeddedPart
from touchstone_rewards.reward_server.scorers.story.rules import RULES, RulePart


def story_scorer(
    part: Annotated[str, Field(description="name of the part, such as coherence or length")],
    **config: Any,
) -> RulePart | EmbeddedPart:
    """Build the scorer of one part; `config` holds its settings and those of its embedding model.

    Raises:
        ValueError: there is no such part, or a setting is out of range.
        TypeError: the part has no such setting.

    Example:
        >>> story_scorer("length", least=8, most=12).range
        (0.0, 1.0)
    """
    if part in COMPARISONS:
        return EmbeddedPart(part, **config)
    if part in RULES:
        return RulePart(part, **config)
    raise ValueError(f"part {part!r} is not one of {', '.join([*COMPARISONS, *RULES])}")
