"""Extract the code of a response: its last fenced block in the expected language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Names of each language in the info string of a fence, beside the language's own name.
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
    """The language name of a fence, in lower case, and the lines inside."""

    called: str
    text: str


def code_in(response: str, language: str) -> str | None:
    r"""Return the last closed block whose fence names `language` or no language; None if there is
    none.

    Example:
        >>> code_in("```python\nx = 1\n```\nor\n```py\nx = 2\n```", "python")
        'x = 2'
    """
    names = ALIASES.get(language, {language.lower()}) | {""}
    found = [block.text for block in blocks(response) if block.called in names]
    return found[-1] if found else None


def blocks(response: str) -> Iterator[FencedBlock]:
    """Yield the closed fenced blocks of a text, in order."""
    fence, called, held = "", "", list[str]()
    for line in response.splitlines():
        bare = line.strip()
        if not fence:
            if bare.startswith(FENCES):
                size = len(bare) - len(bare.lstrip(bare[0]))
                if "`" in bare[size:]:  # inline code
                    continue
                words = bare[size:].split()
                fence, called, held = bare[:size], (words[0].lower() if words else ""), []
        elif bare.startswith(fence) and not bare.strip(fence[0]):
            yield FencedBlock(called, "\n".join(held))
            fence = ""
        else:
            held.append(line)
