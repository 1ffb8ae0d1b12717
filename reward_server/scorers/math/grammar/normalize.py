"""Normalize the notation of an answer's text without parsing or judging it."""

from __future__ import annotations

import re
import unicodedata

from touchstone_rewards.reward_server.scorers.math.grammar.symbols import (
    SUBSCRIPTS,
    SUPERSCRIPTS,
    UNICODE,
)

_RAISED = re.compile(f"[{''.join(SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(SUBSCRIPTS)}]+")
_STYLED = re.compile("[\U0001d400-\U0001d7ff]+")  # 𝑥, 𝟓: mathematical letters and digits
_TAGS = re.compile(r"</?(?:b|i|em|strong|span|br|p)\s*/?>")
_RAISED_TAG = re.compile(r"<(su[bp])>([^<>]{1,40})</\1>")

_PHANTOM = re.compile(r"\\{1,2}[hv]?phantom\s{0,4}(?:\{|[^{}]|$)")
_QUOTES = {
    '"': '"',
    "'": "'",
    "`": "`",
    "«": "»",
    "「": "」",
    "『": "』",
    "„": "“",
    "“": "”",
    "‘": "’",
}
_LONE_BACKSLASH = re.compile(r"(?<!\\)\\(?!\\)")
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z])")

_FRACTION_STYLE = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_LOOKS = re.compile(
    r"\\(?:left|right)\s*\.|\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits"
    r"|qquad|quad)(?![a-zA-Z])|\\[,;:! ]|[$~\s]"
)


def to_ascii(text: str) -> str:
    """Return `text` with Unicode mathematics, full-width forms and all digits in ASCII and LaTeX.

    Characters without such a form are left unchanged.
    """
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: "^{" + "".join(map(SUPERSCRIPTS.__getitem__, m[0])) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(map(SUBSCRIPTS.__getitem__, m[0])) + "}", text)
    text = _STYLED.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text).translate(UNICODE)
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in text
    )


def without_markup(text: str) -> str:
    """Return `text` without HTML markup, LaTeX phantoms and surrounding quotes.

    Superscripts and subscripts become `^` and `_`; emphasis is removed.
    """
    if "phantom" in text:
        text = without_phantoms(text)
    text = without_quotes(text)
    if "<" not in text or ">" not in text:
        return text
    text = _RAISED_TAG.sub(lambda m: ("^{" if m[1] == "sup" else "_{") + m[2] + "}", text)
    return _TAGS.sub("", text)


def without_phantoms(text: str) -> str:
    r"""Return `text` without `\phantom{…}`, which takes up space but shows nothing."""
    while (found := _PHANTOM.search(text)) is not None:
        depth, end = 0, found.end() - 1
        for end in range(found.end() - 1, len(text)):  # to its closing brace
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                break
        text = text[: found.start()] + text[end + 1 :]
    return text


def without_quotes(text: str) -> str:
    """Return `text` without a pair of quotes around all of it."""
    inner = text.strip()
    while len(inner) > 2 and _QUOTES.get(inner[0]) == inner[-1] and inner[0] not in inner[1:-1]:
        text = inner = inner[1:-1].strip()
    return text


def single_backslashes(text: str) -> str:
    r"""Return `text` with double-escaped commands (`\\frac`) written once."""
    if "\\\\" not in text:
        return text
    if not _LONE_BACKSLASH.search(text):
        return text.replace("\\\\", "\\")
    return text if "\\begin" in text else _DOUBLED.sub(r"\\", text)


def normalize_math_expression(text: str) -> str:
    r"""Return `text` without notation that changes only its appearance.

    Dollars, spaces, `\left`, fraction styles and a final full stop are removed; Unicode mathematics
    becomes LaTeX.
    """
    text = _FRACTION_STYLE.sub(r"\\frac", to_ascii(without_markup(text)))
    return _LOOKS.sub("", text).rstrip(".")
