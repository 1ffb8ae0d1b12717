"""Split an answer's text into tokens in one pass that reads each character once.

A token has a kind, which the grammar uses, and a payload. The tokenizer knows no grammar: whether
`|` opens or closes is decided by the parser.
"""

from __future__ import annotations

import re

from touchstone_rewards.reward_server.scorers.math.grammar.letters import split_word
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import (
    ACCENTS,
    COMMANDS,
    CURRENCY_COMMANDS,
    IGNORED,
    JOINTS,
    Token,
)
from touchstone_rewards.reward_server.scorers.math.grammar.units import is_unit
from touchstone_rewards.reward_server.scorers.math.tree import TooLarge, Unreadable

MAX_CHARS = 4_000
MAX_TOKENS = 2_000

# Signs that always form a single token.
_SINGLE = frozenset("+/^_}|,;:'%&#?\"")
_SIGNS = re.compile(r"\*\*|<=|>=|!=|==|<>|->|=>|[-*<>=!]")
_SIGN_KINDS = {"**": "^", "==": "=", "<>": "!="}
_NESTING = {"(": 1, "[": 1, ")": -1, "]": -1}
_NUMBER = re.compile(
    r"(?P<repeating>\d*\.\d*\\(?:overline|bar|dot)\s*(?:\{\d+\}|\d)|\d+\.\(\d+\))"
    r"|(?:[1-9]\d{0,2}(?:(?:\s?\{\s?,\s?\}\s?|,\\!\s?|\\,|\{,\\!\}|\\ |\\!,|,)\d{3})+(?!\d)"
    r"|(?<!\d )\d{1,3}(?: \d{3})+(?![\d/]| \d)|(?P<comma>\d+\{,\}\d+)|\d+)(?:\.\d+|\.(?![.\d]))?"
    r"(?:[eE][-+]?\d+(?![\d.a-zA-Z]))?|\.\d+(?:[eE][-+]?\d+)?",
    re.ASCII,
)
_DOTS = re.compile(r"\.\.\.+")
# In brackets a comma separates two numbers: (1,234) is a pair. 1,000 is not: nobody writes 000.
_SEPARATED = re.compile(r"\d{1,3}(?:,[1-9]\d\d)+$")
_RATE = re.compile(r"(m|km|cm|mm|ft|mi|g|kg|L|l|mL|J|N|W) ?/ ?(s|h|hr|sec|min)(?![a-zA-Z])")
_WORD = re.compile(r"[a-zA-Z]+")
_CORNER = re.compile(r"\s{0,4}\{?[A-Z]")
_COMMAND = re.compile(r"\\([a-zA-Z]+)\*?")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mbox|hbox"
    r"|emph|operatorname\*?|boldsymbol|bm|unit)\s*\{([^{}]*)\}"
)
_NAMING = ("\\mathbf", "\\boldsymbol", "\\bm", "\\mathit")
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{(\w*)\*?\}(?:\s*\{[lcr|@{} ]*\})?")
_FIELD = re.compile(r"\\(?:mathbb|mathbf|Bbb)\s*\{?([RZNQCP])\}?(?![a-zA-Z])")
_EMPTY_SPACE = re.compile(r"\\(?:left|right)\s*\.|\\[hv]space\*?\{[^{}]*\}|\\[,;:!> \n]")
_BEHIND_LOOKS = frozenset("()|\\[]0123456789")  # after `\left`, not a longer command
_LINES = frozenset(["aligned", "align", "split", "eqnarray", "alignedat"])
_NOT = re.compile(r"\\not ?(=|<|>|\\(?:equiv|in|subset|subseteq)(?![a-zA-Z]))")
_NEGATED = {
    "=": "!=", "<": ">=", ">": "<=", "\\equiv": "nequiv", "\\in": "notin", "\\subset": "nsubset",
    "\\subseteq": "nsubseteq",
}  # fmt: skip
_LOOKS = re.compile(
    r"\\(?:textcolor|color|colorbox)(?:\[[a-zA-Z]{1,8}\])?\{[a-zA-Z0-9!, .]{1,40}\}"
    r"|\\(?:tag\*?|label|[hv]?phantom)\{[^{}]{0,40}\}|\\underline(?= ?\{(?! ?[a-zA-Z] ?\}))"
)
_ESCAPED = {
    "\\{": "\\{", "\\}": "\\}", "\\|": "norm", "\\%": "%", "\\$": "money", "\\#": "#", "\\&": "and",
    "\\_": "_", "\\\\": "\\\\",
}  # fmt: skip
_OTHER_SCRIPT = re.compile(r"[和与及或]|[^\x00-\x7f和与及或]+")
# A run of letters after one of these may be a unit: 5 cm, 3^2 m.
_BEFORE_UNIT = frozenset(
    ["num", "repeating", "}", ")", "unit", "/", "word", "%", "*", "const", "^"]
)


class Tokens:
    r"""Parallel lists with one entry per token, ending with a token of kind `end`.

    `lines`: number of open environments with aligned lines. `gaps`: tokens preceded by white space.
    `plain`: tokens inside `\text{}`. `naming`: inside letters that form a name, such as
    `\mathbf{b}` and `\mathrm{C}_5`.
    """

    __slots__ = ("depth", "gap", "gaps", "kinds", "lines", "naming", "plain", "values")

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.values: list[str] = []
        self.gaps: set[int] = set()
        self.plain: set[int] = set()
        self.gap = self.naming = False
        self.depth = 0
        self.lines = 0

    def add(self, kind: str, value: str, in_text: bool) -> None:
        if self.gap:
            self.gaps.add(len(self.kinds))
            self.gap = False
        if in_text:
            self.plain.add(len(self.kinds))
        self.kinds.append(kind)
        self.values.append(value)

    def add_all(self, tokens: tuple[Token, ...], in_text: bool) -> None:
        for kind, value in tokens:
            self.add(kind, value, in_text)

    def drop(self) -> None:
        self.kinds.pop()
        self.values.pop()

    def last(self) -> str:
        return self.kinds[-1] if self.kinds else ""


def tokenize(text: str) -> Tokens:
    """Return the tokens of `text`.

    Raises:
        TooLarge: the text is too long, or has too many tokens.
        Unreadable: it has a character that occurs in no answer.
    """
    if len(text) > MAX_CHARS:
        raise TooLarge(f"{len(text)} characters; at most {MAX_CHARS} are read")
    tokens = Tokens()
    _scan(text, tokens, False)
    if len(tokens.kinds) > MAX_TOKENS:
        raise TooLarge(f"{len(tokens.kinds)} tokens; at most {MAX_TOKENS} are read")
    tokens.add("end", "", False)
    return tokens


def _scan(text: str, tokens: Tokens, in_text: bool) -> None:
    at, end = 0, len(text)
    while at < end:
        first = text[at]
        if first == "&" and tokens.lines:
            tokens.gap = True
            at += 1
        elif first in _SINGLE:
            tokens.add(first, first, in_text)
            at += 1
        elif first in _NESTING:
            tokens.depth += _NESTING[first]
            tokens.add(first, first, in_text)
            at += 1
        elif first.isspace() or first in "$~":
            tokens.gap = True
            at += 1
        elif first == "{":
            empty = text.startswith("{}", at)
            if not empty:
                tokens.add("{", "{", in_text)
            at += 1 + empty
        elif first == "\\":
            at = _backslash(text, at, tokens, in_text)
        elif not first.isascii():
            at = _other_script(text, at, tokens)
        elif first.isalpha():
            at = _letters(text, at, tokens, in_text)
        elif first.isdigit() or first == ".":
            at = _number(text, at, tokens, in_text)
        else:
            at = _sign(text, at, tokens, in_text)


def _sign(text: str, at: int, tokens: Tokens, in_text: bool) -> int:
    found = _SIGNS.match(text, at)
    if found is None:
        raise Unreadable(f"character {text[at]!r}")
    kind = _SIGN_KINDS.get(found[0], found[0])
    if kind == "=" and tokens.lines and tokens.last() == "\\\\":
        tokens.drop()  # x &= 1 + 1 \\ &= 2
    tokens.add(kind, found[0], in_text)
    return found.end()


def _other_script(text: str, at: int, tokens: Tokens) -> int:
    found = _OTHER_SCRIPT.match(text, at)
    assert found is not None
    kind = JOINTS.get(found[0], "word")
    if kind == "word" and tokens.last() in _BEFORE_UNIT and is_unit(found[0]):
        kind = "unit"
    tokens.add(kind, found[0], True)
    return found.end()


def _number(text: str, at: int, tokens: Tokens, in_text: bool) -> int:
    found = _NUMBER.match(text, at)
    if found is None:
        dots = _DOTS.match(text, at)
        tokens.add("dots" if dots else ".", dots[0] if dots else ".", in_text)
        return dots.end() if dots else at + 1
    written = found[0]
    if found.lastgroup == "repeating":
        tokens.add("repeating", written, in_text)
        return found.end()
    length = len(written)
    if found["comma"]:  # 1{,}5, where 1{,}500 is a thousand and more
        written = written.replace("{,}", ".")
    if tokens.depth > 0 and _SEPARATED.match(written):
        written = written.partition(",")[0]
        length = len(written)
    if tokens.last() in ("frac", "binom") and len(written) > 1 and written.isdigit():
        for digits in filter(None, (written[0], written[1], written[2:])):
            tokens.add("num", digits, in_text)
    else:
        tokens.add("num", written, in_text)
    return at + length


def _letters(text: str, at: int, tokens: Tokens, in_text: bool) -> int:
    last = tokens.last()
    if last in ("num", "}") and (rate := _RATE.match(text, at)):
        tokens.add_all((("unit", rate[1]), ("/", "/"), ("unit", rate[2])), in_text)
        return rate.end()
    found = _WORD.match(text, at)
    assert found is not None
    if found[0] == "US" and text.startswith("\\$", found.end()):
        return found.end()  # US\$5
    joined = last == "num" and not tokens.gap
    after = _measures(tokens) if in_text else last in _BEFORE_UNIT
    tokens.add_all(split_word(found[0], in_text, after, joined), in_text)
    return found.end()


def _measures(tokens: Tokens) -> bool:
    r"""Tell whether a word in `\text{}` at this position may be a unit."""
    last, before = tokens.last(), tokens.kinds[-2] if len(tokens.kinds) > 1 else ""
    if tokens.naming:
        return False
    if last == "{":
        return before in ("frac", "}")  # \frac{\text{m}}{\text{s}}
    if last == "*":
        return before in _BEFORE_UNIT
    if last in "(.":
        return before == ("/" if last == "(" else "word")  # J/(mol K), sq. ft.
    return last in _BEFORE_UNIT


def _backslash(text: str, at: int, tokens: Tokens, in_text: bool) -> int:
    command = _COMMAND.match(text, at)
    if command is None:
        return _escaped(text, at, tokens, in_text)
    name = command[1]
    known = COMMANDS.get(name)
    if known is not None and name == "square" and not _CORNER.match(text, command.end()):
        known = None  # the end of a proof, not a figure
    if known is not None:
        tokens.add(known[0], known[1], in_text)
        return command.end()
    if name in CURRENCY_COMMANDS:
        tokens.add("money", CURRENCY_COMMANDS[name], in_text)
        return command.end()
    if name in IGNORED and text[command.end() : command.end() + 1] in _BEHIND_LOOKS:
        return command.end()
    for pattern, rule in _LONG_COMMANDS:
        if found := pattern.match(text, at):
            rule(found, tokens, in_text)
            return found.end()
    if name in ACCENTS:
        tokens.add("accent", name, in_text)
    elif name not in IGNORED and name != "square":
        raise Unreadable(f"command \\{name}")
    return command.end()


def _escaped(text: str, at: int, tokens: Tokens, in_text: bool) -> int:
    pair = text[at : at + 2]
    if (kind := _ESCAPED.get(pair)) is not None:
        tokens.depth += (pair == "\\{") - (pair == "\\}")
        tokens.add(kind, pair, in_text)
        return at + 2
    if found := _EMPTY_SPACE.match(text, at):
        tokens.gap = True
        return found.end()
    raise Unreadable("a lone backslash")


def _text(found: re.Match[str], tokens: Tokens, in_text: bool) -> None:
    if in_text:
        raise Unreadable("text in text")
    tokens.gap = True
    tokens.naming = found[0].startswith(_NAMING) or found.string.startswith("_", found.end())
    _scan(found[1], tokens, True)
    tokens.gap, tokens.naming = True, False


def _environment(found: re.Match[str], tokens: Tokens, in_text: bool) -> None:
    if found[2] in _LINES:  # where & only aligns columns
        tokens.lines += 1 if found[1] == "begin" else -1
    tokens.add("begin" if found[1] == "begin" else "end_env", found[2], in_text)


def _field(found: re.Match[str], tokens: Tokens, in_text: bool) -> None:
    tokens.add("field", found[1], in_text)


def _space(found: re.Match[str], tokens: Tokens, in_text: bool) -> None:
    tokens.gap = True


def _negated(found: re.Match[str], tokens: Tokens, in_text: bool) -> None:
    tokens.add(_NEGATED[found[1]], found[0], in_text)


def _nothing(found: re.Match[str], tokens: Tokens, in_text: bool) -> None:
    """Skip a colour, a reference or a line under an expression."""


_LONG_COMMANDS = (
    (_FIELD, _field),
    (_TEXT, _text),
    (_ENVIRONMENT, _environment),
    (_EMPTY_SPACE, _space),
    (_NOT, _negated),
    (_LOOKS, _nothing),
)
