"""Detect that a response takes its answer back."""

from __future__ import annotations

import re

from touchstone_rewards.reward_server.scorers.math.extraction.beside import (
    cases_around,
    denial_behind,
    negation_before,
)
from touchstone_rewards.reward_server.scorers.math.extraction.boxes import boxes_before
from touchstone_rewards.reward_server.scorers.math.extraction.places import (
    NOTHING_SAID,
    TAIL_CHARS,
    FoundAnswer,
)

# Matches lower-case text: with IGNORECASE the engine would try every branch at every position.
_RETRACTION = re.compile(
    r"\b(?:i\s{1,3}(?:refuse|give up|cannot|can't|can not|do not know|don't know"
    r"|take (?:that|it) back|made (?:a|an) (?:mistake|error)|was wrong)\b"
    r"|i(?:'m| am) (?:not (?:so |very |really )?(?:sure|certain)|unsure|guessing)\b|no,? wait\b"
    r"|just kidding\b|scratch that\b|on second thought|my mistake\b|oops\b"
    r"|(?:that|this|it|which"
    r"|(?:this|that|the|my|our) (?:final )?(?:answer|result|value|solution))"
    r"(?: is| was|'s| must be| seems)"
    r" (?:wrong|incorrect|false|mistaken|invalid|not (?:right|correct|valid|true))\b"
    r"|(?:that|this|it|answer) (?:isn't|wasn't|can't be|cannot be|could not be)"
    r" (?:right|correct)\b"
    r"|(?:that|it)'s not (?:right|correct)\b"
    r"|the answer is not\b|ignore (?:the|that|this)\b)"
    r"|答案(?:是)?(?:错|不对|不正确|有误)|(?:算|做|弄|写)错了"
    r"|(?:antwort|ergebnis) ist (?:falsch|nicht)"
    r"|(?:respuesta|resultado) (?:es incorrect|no es correct|está mal)"
    r"|réponse (?:est (?:fausse|incorrecte)|n'est pas correcte)|ответ (?:неверн|неправильн)"
)
# A text without any of these contains no retraction.
_SIGNS = (
    "refuse", "give up", "cannot", "can't", "can not", "take that", "take it", "mistake", "error",
    "wrong", "unsure", "guessing", "wait", "kidding", "scratch that", "second thought", "oops",
    "incorrect", "false", "invalid", "not ", "n't ", "ignore ", "答案错", "答案是错", "不对",
    "不正确", "有误", "错了", "falsch", "nicht", "está mal", "no es correct", "pas correct",
    "fausse", "неверн", "неправильн", "actually", "sorry", "rather,", "rather—", "rather–",
    "rather-", "no,", "no wait", "no—", "no–", "no-", "correction:", "should be", "should have",
    "i mean",
)  # fmt: skip
_REACH_CHARS = 60  # window around the sign of a retraction, before and after it
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


def retracted(response: str, answer: FoundAnswer) -> str | None:
    """Return the words by which the response takes its answer back, or None.

    They may stand anywhere after the answer or directly before it. If the answer is only the last
    value, a wider window before it is searched.
    """
    behind = answer.end
    if answer.place != "last_value":
        if not response[behind : behind + TAIL_CHARS].strip(NOTHING_SAID):
            return negation_before(response, answer.lead) or _cases(response, answer)
        taken_back = negation_before(response, answer.lead) or denial_behind(response, behind)
        if taken_back or (taken_back := _cases(response, answer)):
            return taken_back
    elif denied := denial_behind(response, behind):
        return denied
    start = behind if answer.place != "last_value" else behind - _LOOK_BACK_CHARS
    near = response[max(0, start) : behind + TAIL_CHARS]
    lowered = near.lower()
    signs = [sign for sign in _SIGNS if sign in lowered]
    if not signs:
        return None
    first, last = min(map(lowered.find, signs)), max(map(lowered.rfind, signs))
    if found := _RETRACTION.search(lowered, max(0, first - _REACH_CHARS), last + _REACH_CHARS):
        return found[0]
    corrected = _CORRECTION.search(response, behind, behind + TAIL_CHARS)
    if corrected and corrected["value"].strip("$\\(.,") != answer.text.strip("$ "):
        return corrected[0]
    return None


def _cases(response: str, answer: FoundAnswer) -> str | None:
    earlier = -1
    if answer.place == "boxed" and response.find("box", 0, answer.lead) >= 0:
        before = next(boxes_before(response, answer.lead), None)
        if before is not None and before.closed:
            earlier = before.end
    return cases_around(response, answer.lead, answer.end, earlier)
