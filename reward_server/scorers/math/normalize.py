"""An answer's text in, the same text in one plain spelling out: no reading, no judgement."""

from __future__ import annotations

import re

_SPACING = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|qquad|quad)(?![a-zA-Z])"
    r"|\\[,;:! ]|[$~\s]"
)


def normalize_math_expression(text: str) -> str:
    """`text` without what changes its looks only: dollars, spacing, `\\left`, fraction styles."""
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    return _SPACING.sub("", text).strip().rstrip(".")
