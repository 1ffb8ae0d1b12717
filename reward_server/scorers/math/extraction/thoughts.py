"""Find the part of a response that is said: thoughts are not looked at."""

from __future__ import annotations

# How models mark what they think: the marks around it.
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)


def said_span(response: str) -> tuple[int, int]:
    """Return where the said part begins and ends: behind the last thought, and before one that
    never ends."""
    start, end = 0, len(response)
    has_mark = (  # written out, for every response of most scorers comes by here
        "think" in response
        or "THINK" in response
        or "thought" in response
        or "<|channel|>" in response
    )
    if not has_mark:
        return start, end
    for opening, closing in _THOUGHTS:
        behind = response.rfind(closing, start, end)
        if behind >= 0:
            start = behind + len(closing)
        unended = response.find(opening, start, end)
        if unended >= 0:
            end = unended
    return start, end
