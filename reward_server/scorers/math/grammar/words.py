"""Compare answers in words, and decide whether a text consists of words."""

from __future__ import annotations

import re
import unicodedata

from touchstone_rewards.reward_server.scorers.math.tree import Node

_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|hbox|operatorname|emph)(?![a-zA-Z])"
)
_WORD = re.compile(r"[^\W_]+")
# Words that state a set, and how they are read.
NO_SOLUTION = frozenset(
    [
        "no solution", "no solutions", "no real solution", "no real solutions", "empty set",
        "null set", "there is no solution", "there are no solutions", "no real roots", "无解",
    ]
)  # fmt: skip
ALL_REALS = frozenset(
    [
        "all real numbers", "all reals", "all real values", "real numbers",
        "set of all real numbers", "set of real numbers", "any real number", "全体实数", "一切实数",
    ]
)  # fmt: skip
_FILLER = frozenset(["a", "an", "the"])
_SYNONYMS = {
    "true": "yes", "false": "no", "是": "yes", "否": "no", "不是": "no", "对": "yes", "错": "no",
    "正确": "yes", "错误": "no", "correct": "yes", "incorrect": "no",
    "dne": "does not exist", "limit does not exist": "does not exist",
    "it does not exist": "does not exist", "doesn t exist": "does not exist",
    "不存在": "does not exist",
}  # fmt: skip


def words_of(text: str) -> str:
    """Return the words of `text` in lower case, single-spaced, without articles and signs."""
    plain = unicodedata.normalize("NFKC", _COMMAND.sub(" ", text)).casefold()
    return " ".join(word for word in _WORD.findall(plain) if word not in _FILLER)


def _singular(words: str) -> str:
    return " ".join(w[:-1] if len(w) > 3 and w.endswith("s") else w for w in words.split())


def same_words(left: str, right: str) -> bool:
    """Tell whether two texts have the same words in order; yes equals true, and no equals false."""
    a, b = words_of(left), words_of(right)
    if not a or not b:
        return False
    return _SYNONYMS.get(a, a) == _SYNONYMS.get(b, b) or _singular(a) == _singular(b)


def letters_of(node: Node) -> str | None:
    """Return `D*N*E`, parsed as a product of letters, as the word `dne`."""
    if node.op in ("name", "const"):
        return str(node.value).casefold()
    if node.op != "mul":
        return None
    letters = [letters_of(part) for part in node.args]
    return "".join(map(str, letters)) if None not in letters else None


def is_wordy(text: str) -> bool:
    """Tell whether the text has a word of at least two letters, and no more signs than words."""
    plain = _COMMAND.sub(" ", text).translate({ord("{"): " ", ord("}"): " ", ord("$"): " "})
    if "\\" in plain:
        return False
    found = re.findall(r"[^\W\d_]{2,}", plain)
    return bool(found) and len(re.findall(r"[=+*/^<>(){}\[\]@#]", plain)) <= len(found) // 4
