"""Find negative verdicts that decide nothing: incomparable prose, and work beyond the limits.

The cause is the ground truth or the response. Positive verdicts are always decisions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from touchstone_rewards.reward_server.scorers.base import Undecided
from touchstone_rewards.reward_server.scorers.math.answers.read import read
from touchstone_rewards.reward_server.scorers.math.equal import Verdict
from touchstone_rewards.reward_server.scorers.math.grammar.words import is_wordy
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import is_constant
from touchstone_rewards.reward_server.scorers.math.tree import contains

_COMMAND = re.compile(r"\\[A-Za-z]++")
_WORD = re.compile(r"[^\W\d_]{2,}+")
_NUMBER = re.compile(r"[0-9]++")
_TEXT = frozenset(["text"])
# A text is prose with this many words, plus this many per number in it: `5 square meters` is not.
PROSE_WORDS, WORDS_A_NUMBER = 2, 2


def undecided_by(verdict: Verdict, truths: Sequence[str]) -> Undecided | None:
    """Return the side that leaves this verdict undecided, or None.

    A response that has no answer, has only punctuation as its answer (`:`), or takes its answer
    back is wrong whatever else it says. The exception is a ground truth that is prose or
    unreadable: then an answer may have any form.
    """
    if verdict.equal:
        return None
    if any(is_prose(truth) or read(truth).node is None for truth in truths):
        return "truth"
    if verdict.given is None or verdict.answer is None:
        return None
    unread = verdict.given.node is None and any(map(str.isalnum, verdict.answer))
    return "response" if verdict.undecided or unread or is_prose(verdict.answer) else None


def is_prose(text: str) -> bool:
    """Tell whether a text states something in words, other than a number.

    Example:
        >>> [is_prose(text) for text in ("f is injective", "forty-six", "5 square meters", "yes")]
        [True, False, False, False]
    """
    if " " not in text:
        return False
    words = len(_WORD.findall(_COMMAND.sub(" ", text)))
    if words < PROSE_WORDS + WORDS_A_NUMBER * len(_NUMBER.findall(text)) or not is_wordy(text):
        return False
    node = read(text).node
    return node is None or contains(node, _TEXT) or not is_constant(node)
