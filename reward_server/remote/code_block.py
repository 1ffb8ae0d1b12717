"""Which code a response hands in: the last fenced block of its language.

In: a response. Out: the code, or None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# What a fence may call a language, beside its own name.
ALIASES = {
    "python": {"python", "py", "python3"},
    "cpp": {"cpp", "c++", "cc", "cxx"},
    "nodejs": {"nodejs", "javascript", "js", "node"},
    "typescript": {"typescript", "ts"},
    "rust": {"rust", "rs"},
    "go": {"go", "golang"},
    "bash": {"bash", "sh", "shell"},
    "csharp": {"csharp", "c#", "cs"},
}
FENCES = ("```", "~~~")


class FencedBlock(NamedTuple):
    """What a fence calls its language, in small letters, and the lines in it."""

    called: str
    text: str


def code_in(response: str, language: str) -> str | None:
    """Return the last closed block whose fence names the language or none; None without one.

    Example:
        >>> code_in("```python\\nx = 1\\n```\\nor\\n```py\\nx = 2\\n```", "python")
        'x = 2'
    """
    names = ALIASES.get(language, {language.lower()}) | {""}
    found = [block.text for block in blocks(response) if block.called in names]
    return found[-1] if found else None


def blocks(response: str) -> Iterator[FencedBlock]:
    """Yield the fenced blocks of a text that are closed, in order."""
    fence, called, held = "", "", list[str]()
    for line in response.splitlines():
        bare = line.strip()
        if not fence:
            if bare.startswith(FENCES):
                size = len(bare) - len(bare.lstrip(bare[0]))
                if "`" in bare[size:]:  # code within a line
                    continue
                words = bare[size:].split()
                fence, called, held = bare[:size], (words[0].lower() if words else ""), []
        elif bare.startswith(fence) and not bare.strip(fence[0]):
            yield FencedBlock(called, "\n".join(held))
            fence = ""
        else:
            held.append(line)
