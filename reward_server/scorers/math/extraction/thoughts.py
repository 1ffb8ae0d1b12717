"""Find the part of a response outside its thoughts."""

from __future__ import annotations

# Delimiters of thoughts in different models.
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)


def said_span(response: str) -> tuple[int, int]:
    """Return start and end of the text after the last thought and before an unclosed one."""
    start, end = 0, len(response)
    has_mark = (  # unrolled: most scorers call this for every response
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
