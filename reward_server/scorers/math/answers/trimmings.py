"""Strip whatever surrounds an answer or changes only its appearance, before it is read.

The input is text in ASCII and LaTeX; the result has fewer spellings. A cheap test precedes each
step, because most answers need none of them.
"""

from __future__ import annotations

import re

from touchstone_rewards.reward_server.scorers.math.grammar.units import is_unit

MAX_BRACKETS = 64

# Space and line ends, which carry no meaning around an answer.
_SPACE_COMMANDS = (
    "\\\\", "\\newline", "\\par", "\\noindent", "\\qquad", "\\quad", "\\hfill", "\\,", "\\;",
    "\\:", "\\!", "\\ ", "\\enspace", "\\thinspace", "\\nonumber",
)  # fmt: skip
_QUOTES = {'"': '"', "`": "`", "'": "'"}
_BRACKETS = {"(": ")", "[": "]"}
_LEADING = (*_SPACE_COMMANDS, *_QUOTES)
_ENDING = (*_SPACE_COMMANDS, *_QUOTES, "\\")
_MODULES = re.compile(r"(?<![a-zA-Z0-9_.\\])(?:np|numpy|math|cmath|sympy|sp)\.(?=[a-zA-Z])")
_TIMES_TEN = re.compile(r"(?<=[0-9.]) ?[xX] ?(?=10(?:\^|\*\*))")
_SPLIT_DECIMAL = re.compile(r"-?[0-9]{1,15}\. [0-9]{1,15}")
_LINE_GAP = re.compile(r"\\\\\[[0-9a-z. ]{1,10}\]$")
_HASHES = re.compile(r"(?:\\?# ?){2}")
_PLAIN_MODULUS = re.compile(
    r"\( ?(?:\\text ?\{ ?)?\\?(?:bmod|mod)\b ?\}? ?(-?[a-zA-Z0-9^+*]{1,20}) ?\)"
)
_UNIT_IN_BRACKETS = re.compile(r"\( ?\\(?:text|mathrm)\{ ?([a-zA-Z ]{1,24})\} ?\)$")
_ONE_TEXT = re.compile(r"\\(?:text|mathrm|textrm|mbox|textbf|mathbf)\s*\{([^{}]*)\}")
# A brace to the left of lines: `\left\{\begin{array}{l}…\end{array}\right.` is `cases`.
_BRACED_ARRAY = re.compile(r"\\left ?\\\{ ?\\begin\{(array|aligned|matrix)\}(?:\{[lcr|@ ]{0,9}\})?")
_ENDS_OPEN = re.compile(r"\\end\{(?:array|aligned|matrix)\} ?\\right ?\.?")
_CASE_WORDS = re.compile(r"&? ?\\(?:text|mbox|textrm|mathrm)\{ ?,? ?(?:if|for|when|where) ?\}")


def trimmed(text: str) -> str:
    """Return `text` without line ends, spaces, quotes and punctuation around it."""
    text = text.strip()
    start, end = 0, len(text)
    moved = text.startswith(_LEADING) or text.endswith(_ENDING) or "\\\\[" in text[-14:]
    while moved and start < end:
        before = (start, end)
        while start < end and text[start] in " \t\r\n":
            start += 1
        while start < end and text[end - 1] in " \t\r\n":
            end -= 1
        if text[end - 1] == "]" and (gap := _LINE_GAP.search(text, max(start, end - 14), end)):
            end = gap.start()
        for command in _SPACE_COMMANDS:
            if text.endswith(command, start, end):
                end -= len(command)
            if _starts_with_command(text, command, start, end):
                start += len(command)
        if text.endswith("\\", start, end):  # the rest of a backslash and a space
            end -= 1
        quoted = end - start > 2 and _QUOTES.get(text[start]) == text[end - 1]
        if quoted and text[start] not in text[start + 1 : min(end - 1, start + 200)]:
            start, end = start + 1, end - 1
        moved = before != (start, end)
    return text[start:end]


def _starts_with_command(text: str, command: str, start: int, end: int) -> bool:
    """Tell whether `command` stands at `start`, rather than a longer command that begins alike."""
    after = start + len(command)
    if not text.startswith(command, start) or after > end:
        return False
    longer = command[-1].isalpha() or command == "\\\\"  # an escaped backslash and a command
    if longer and text[after : after + 1].isalpha():
        return False
    escaped = command == "\\\\" and _BRACKETS.get(text[after : after + 1])
    return not (escaped and text.endswith("\\\\" + escaped, start, end))  # \\\\(5\\\\)


def plain_looks(text: str) -> str:
    """Return `text` with decorative notation replaced by plain notation."""
    if "\\begin" in text:
        text = _arrays(text)
    if "." in text:
        text = _MODULES.sub("", text)
        if _SPLIT_DECIMAL.fullmatch(text):
            text = text.replace(" ", "")
    if "10" in text and ("x" in text or "X" in text):
        text = _TIMES_TEN.sub(r"\\times ", text)
    if ("[" in text or "]" in text) and _may_be_turned(text):
        text = round_intervals(text)
    found = _UNIT_IN_BRACKETS.search(text) if text[-1:] == ")" else None
    if found is not None and all(map(is_unit, found[1].split())):
        text = f"{text[: found.start()]} \\text{{ {found[1]}}}"
    if "mod" in text and "(" in text:
        text = _PLAIN_MODULUS.sub(r"\\pmod{\1}", text)
    return text


def _arrays(text: str) -> str:
    """Return `text` with a brace before lines, and `if` before their conditions, as plain cases."""
    if "\\right" in text and (found := _BRACED_ARRAY.search(text)):
        text = f"{text[: found.start()]}\\begin{{cases}}{text[found.end() :]}"
        text = _ENDS_OPEN.sub(r"\\end{cases}", text, count=1)
    return _CASE_WORDS.sub("& ", text) if "cases}" in text else text


def _may_be_turned(text: str) -> bool:
    """Tell whether square brackets may face outward: a closing one first, an
    opening one last, or several."""
    first, last = text.find("["), text.rfind("[")
    closing = text.find("]")
    return first != last or closing < first or last > text.rfind("]") or first < 0


def round_intervals(text: str) -> str:
    """Return `]a, b[` as `(a, b)`: square brackets facing outward are open ends."""
    places = [at for at, sign in enumerate(text) if sign in "[]"]
    if len(places) % 2 or len(places) > MAX_BRACKETS or "\\sqrt[" in text:
        return text
    signs = list(text)
    for opens, closes in zip(places[::2], places[1::2], strict=True):
        if "," not in text[opens:closes] and ";" not in text[opens:closes]:
            return text
        if text[opens] == "]":
            if text.count("(", 0, opens) != text.count(")", 0, opens):
                return text  # the end of (0, 1]
            signs[opens] = "("
        if text[closes] == "[":
            signs[closes] = ")"
    return "".join(signs)


def same_thing_twice(text: str) -> list[str] | None:
    """Return the parts of `3/10 ## 0.3`, one value in several spellings; None without `##`."""
    if "#" not in text:
        return None
    parts = [part.strip(" $") for part in _HASHES.split(text)]
    return parts if len(parts) > 1 and all(parts) else None


def inside_text(text: str) -> str | None:
    r"""Return the content of a `\text{…}` that spans all of `text`, or None."""
    found = _ONE_TEXT.fullmatch(text)
    return found[1].strip() if found else None
