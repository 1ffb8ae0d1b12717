"""See whether a response takes its answer back."""

from __future__ import annotations

import re

from touchstone_rewards.reward_server.scorers.math.extraction.beside import (
    cases_around,
    denial_behind,
    negation_before,
)
from touchstone_rewards.reward_server.scorers.math.extraction.boxes import boxes_before
from touchstone_rewards.reward_server.scorers.math.extraction.places import TAIL_CHARS, Answer

_RETRACTION = re.compile(
    r"\bI\s{1,3}(?:refuse|give up|cannot|can't|can not|do not know|don't know|take (?:that|it) back"
    r"|made (?:a|an) (?:mistake|error)|was wrong)\b"
    r"|\bI(?:'m| am) (?:not (?:so |very |really )?(?:sure|certain)|unsure|guessing)\b|\bno,? wait\b"
    r"|\bjust kidding\b|\bscratch that\b|\bon second thought|\bmy mistake\b|\boops\b"
    r"|\b(?:that|this|it|which"
    r"|(?:this|that|the|my|our) (?:final )?(?:answer|result|value|solution))"
    r"(?: is| was|'s| must be| seems)"
    r" (?:wrong|incorrect|false|mistaken|invalid|not (?:right|correct|valid|true))\b"
    r"|\b(?:that|this|it|answer) (?:isn't|wasn't|can't be|cannot be|could not be)"
    r" (?:right|correct)\b"
    r"|\b(?:that|it)'s not (?:right|correct)\b"
    r"|\bthe answer is not\b|\bignore (?:the|that|this)\b"
    r"|答案(?:是)?(?:错|不对|不正确|有误)|(?:算|做|弄|写)错了"
    r"|(?:Antwort|Ergebnis) ist (?:falsch|nicht)"
    r"|(?:respuesta|resultado) (?:es incorrect|no es correct|está mal)"
    r"|réponse (?:est (?:fausse|incorrecte)|n'est pas correcte)|ответ (?:неверн|неправильн)",
    re.IGNORECASE,
)
# A text without any of these takes nothing back.
_SIGNS = (
    "refuse", "give up", "cannot", "can't", "can not", "know", "take", "mistake", "error", "wrong",
    "sure", "certain", "guess", "wait", "kidding", "scratch", "second thought", "oops", "incorrect",
    "false", "invalid", "not ", "n't ", "ignore", "答案", "错了", "falsch", "nicht", "mal",
    "correct", "fausse", "неверн", "неправильн", "actually", "sorry", "rather", "no",
    "correction", "should", "i mean",
)  # fmt: skip
_LOOK_BACK_CHARS = 200
# A correction without *the answer*: `Actually, it is 6`, `Correction: 6`.
_CORRECTION = re.compile(
    r"\b(?:(?:(?:actually|wait|sorry|rather|no)[,—–-]|actually) {1,3}"
    r"(?:it|that|this|the value|the result|x)(?:'s| is| should be| must be| equals| =) {1,3}"
    r"|(?:actually|wait|sorry|rather|no)[,—–-] {1,3}|correction: {1,3}|I mean,? {1,3}"
    r"|(?:it|this|that|which) should (?:be|have been) {1,3})"
    r"(?P<value>[$\\(]{0,3}[-−]?\d[\d.,/]{0,20})",
    re.IGNORECASE,
)


def retracted(response: str, answer: Answer) -> str | None:
    """Return what the response says that takes its answer back, or None: anything behind the
    answer, or directly before it; where the answer is only the last value, also near before it."""
    behind = answer.end
    if answer.place != "last_value":
        taken_back = negation_before(response, answer.lead) or denial_behind(response, behind)
        if taken_back or (taken_back := _cases(response, answer)):
            return taken_back
    elif denied := denial_behind(response, behind):
        return denied
    start = behind if answer.place != "last_value" else behind - _LOOK_BACK_CHARS
    near = response[max(0, start) : behind + TAIL_CHARS]
    lowered = near.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return None
    if found := _RETRACTION.search(near):
        return found[0]
    corrected = _CORRECTION.search(response, behind, behind + TAIL_CHARS)
    if corrected and corrected["value"].strip("$\\(.,") != answer.text.strip("$ "):
        return corrected[0]
    return None


def _cases(response: str, answer: Answer) -> str | None:
    earlier = -1
    if answer.place == "boxed":
        before = next(boxes_before(response, answer.lead), None)
        if before is not None and before.closed:
            earlier = before.end
    return cases_around(response, answer.lead, answer.end, earlier)
