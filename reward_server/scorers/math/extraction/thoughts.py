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
_WORDS = ("think", "THINK", "thought", "<|channel|>")  # a response without them has no such mark


def said_span(response: str) -> tuple[int, int]:
    """Return where the said part begins and ends: behind the last thought, and before one that
    never ends."""
    start, end = 0, len(response)
    if not any(word in response for word in _WORDS):
        return start, end
    for opening, closing in _THOUGHTS:
        behind = response.rfind(closing, start, end)
        if behind >= 0:
            start = behind + len(closing)
        unended = response.find(opening, start, end)
        if unended >= 0:
            end = unended
    return start, end
