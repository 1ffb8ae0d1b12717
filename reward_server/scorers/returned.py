"""Check what a scorer returned, where it returned it: nothing else may travel on.

In: whatever a scorer's `score` or `judge` gave. Out: a `Score` that every later step can trust. Its
value is a finite float within the scorer's range, its error has a known code, its explanation is
plain JSON. A wrong one becomes `scorer_failed` for its own sample.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast, get_args

import msgspec
from msgspec.structs import replace

from touchstone_rewards.reward_server.errors import SAMPLE_ERRORS, sample_error
from touchstone_rewards.reward_server.schemas import SampleError, is_object
from touchstone_rewards.reward_server.scorers.base import Score, Undecided

# What is told of a wrong value, of a message, of a traceback.
VALUE_CHARS, MESSAGE_CHARS, TRACE_CHARS = 80, 500, 4000
# How far beyond its range a score may lie for it to count as rounding, in proportion.
ROUNDING = 1e-9
UNDECIDED = get_args(Undecided)


class WrongAnswer(ValueError):
    """A scorer returned something that is no list of scores, one a sample."""


_encode = msgspec.json.encode
_decode = msgspec.json.decode


def checked_scores(scorer: object, given: object, count: int) -> list[Score]:
    """Return the `count` scores in `given`, each one checked.

    Raises:
        WrongAnswer: it is no list of so many, so none of them can be told apart.
    """
    scores = _as_list(given)
    if scores is None or len(scores) != count:
        what = "1 Score for 1 sample" if count == 1 else f"{count} Scores for {count} samples"
        raise WrongAnswer(
            f"expected a list of {what}, scorer {name_of(scorer)} returned {shown(given)}"
        )
    least, greatest = _bounds(scorer)
    return [
        one
        if type(one) is Score
        and type(one.value) is float
        and least <= one.value <= greatest
        and one.error is one.explanation is one.turns is one.undecided is None
        else checked_score(scorer, one)
        for one in scores
    ]


def _as_list(given: object) -> Sequence[Any] | None:
    if type(given) is list or isinstance(given, list | tuple):  # the first costs a tenth
        return cast("Sequence[Any]", given)
    return None


def checked_score(scorer: object, given: object) -> Score:
    """Return `given` as a score that may travel on, or as the error why it may not.

    Example:
        >>> checked_score(FormatScorer(), Score("1")).error.message
        "scorer FormatScorer returned the value '1'; expected a number or None"
    """
    try:
        complaint = _complaint(given)
        if complaint or not isinstance(given, Score):
            return failed(f"scorer {name_of(scorer)} returned {complaint}")
        score = _with_turns(scorer, _with_plain_explanation(given))
        if score.error is not None:
            return replace(score, error=_clean(score.error), timed_out=False)
        value = _within(float(score.value or 0.0), *_bounds(scorer))
        if value is None:
            return failed(
                f"scorer {name_of(scorer)} returned {float(score.value or 0.0):g}; expected a "
                f"finite number{_range_shown(scorer)}"
            )
        if score.undecided is not None and value > (_least(scorer) or 0.0):
            return failed(
                f"scorer {name_of(scorer)} cannot tell and returned {value:g}; expected the least "
                "of its range, or an error: what is undecided pays nothing"
            )
        return replace(score, value=value)
    # What a scorer returns may be of any class, and its `__float__` or `__repr__` may raise.
    except Exception as error:  # noqa: BLE001
        why = f"{type(error).__name__}: {error}"
        return failed(f"scorer {name_of(scorer)} returned what cannot be sent: {why}")


def failed(message: str) -> Score:
    """Return the score of a sample whose scorer failed."""
    return Score(error=sample_error("scorer_failed", text_of(message)[:MESSAGE_CHARS]))


def raised(scorer: object, error: BaseException) -> Score:
    """Return the score of a sample at which the scorer raised `error`."""
    if isinstance(error, WrongAnswer):
        return failed(str(error))
    return failed(f"scorer {name_of(scorer)} raised {type(error).__name__}: {error}")


def trace_of(error: BaseException) -> str:
    """Return the traceback of `error` as text for a log; the end of a long one."""
    return text_of("".join(traceback.format_exception(error))[-TRACE_CHARS:])


def place_of(trace: str) -> str:
    """Return the line of a traceback that says where it was raised; its message varies."""
    places = [line for line in trace.splitlines() if line.startswith('  File "')]
    return places[-1] if places else ""


def name_of(scorer: object) -> str:
    """Return what an operator knows the scorer by: its function as the profile names it, or its
    class, with the module of a plug-in's."""
    if function := getattr(scorer, "function_name", ""):
        return function
    kind = type(scorer)
    own = kind.__module__.startswith("touchstone_rewards.")
    return kind.__qualname__ if own else f"{kind.__module__}:{kind.__qualname__}"


def text_of(text: str) -> str:
    """Return the text with a question mark for each lone surrogate, which UTF-8 has no form for."""
    return text.encode(errors="replace").decode()


def shown(value: object) -> str:
    """Return the beginning of how Python shows the value."""
    return text_of(f"{value!r:.{VALUE_CHARS}}")


def _complaint(given: object) -> str:
    """Say what is wrong with the types in a score; nothing if they are right."""
    if not isinstance(given, Score):
        return f"{shown(given)} for a sample; expected Score(value) or Score(error=…)"
    # A plug-in may have put anything there, whatever the types of `Score` say.
    score: Any = given
    value, error, explanation = score.value, score.error, score.explanation
    if error is not None and not _is_error(error):
        return f"the error {shown(error)}; expected sample_error(code, message)"
    if value is None and error is None:
        return "neither a value nor an error"
    if value is not None and error is not None:
        return f"both the value {shown(value)} and the error {error.code!r}; expected one of them"
    if value is not None and not _is_number(value):
        return f"the value {shown(value)}; expected a number or None"
    if score.undecided is not None and score.undecided not in UNDECIDED:
        return f"undecided {shown(score.undecided)}; expected one of {', '.join(UNDECIDED)}"
    if explanation is not None and not (
        is_object(explanation) and all(isinstance(key, str) for key in cast("Any", explanation))
    ):
        return f"the explanation {shown(explanation)}; expected a dict with str keys"
    return ""


def _is_error(error: object) -> bool:
    if not isinstance(error, SampleError):
        return False
    held: Any = error
    return (
        isinstance(held.code, str)
        and held.code in SAMPLE_ERRORS
        and isinstance(held.message, str)
        and isinstance(held.retryable, bool)
    )


def _is_number(value: object) -> bool:
    """Numbers of Python, NumPy and torch are; text that reads as one is not."""
    return isinstance(value, int | float) or (
        hasattr(type(value), "__float__") and not isinstance(value, str | bytes)
    )


def _least(scorer: object) -> float | None:
    return (getattr(scorer, "range", None) or (None, None))[0]


def _bounds(scorer: object) -> tuple[float, float]:
    """The least and the greatest finite number in the scorer's range."""
    bounds = getattr(scorer, "range", None) or (None, None)
    return _finite_bounds(*bounds)


def _range_shown(scorer: object) -> str:
    """The scorer's range behind the word number; nothing where it has no bound."""
    bounds = getattr(scorer, "range", None) or (None, None)
    return f" within its range {list(bounds)}" if any(b is not None for b in bounds) else ""


@lru_cache(maxsize=256)
def _finite_bounds(least: float | None, greatest: float | None) -> tuple[float, float]:
    return (
        -sys.float_info.max if least is None else max(float(least), -sys.float_info.max),
        sys.float_info.max if greatest is None else min(float(greatest), sys.float_info.max),
    )


def _within(value: float, least: float, greatest: float) -> float | None:
    """The value, set on the bound that it misses by rounding; None if it lies beyond."""
    nearest = min(max(value, least), greatest)
    near = math.isclose(value, nearest, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return nearest if near and math.isfinite(value) else None


def _with_turns(scorer: object, score: Score) -> Score:
    """The score with the scores of its turns as floats.

    Raises:
        WrongAnswer: one is no number within the scorer's range, nor None.
    """
    if score.turns is None:
        return score
    least, greatest = _bounds(scorer)
    turns = [
        None if turn is None else _within(float(turn), least, greatest)
        for turn in score.turns
        if turn is None or _is_number(turn)
    ]
    known = [turn for turn in score.turns if turn is not None]
    if len(turns) < len(score.turns) or len(known) > sum(turn is not None for turn in turns):
        raise WrongAnswer(
            f"the turns {shown(score.turns)}; expected finite numbers{_range_shown(scorer)}, "
            "or None"
        )
    return replace(score, turns=turns)


def _clean(error: SampleError) -> SampleError:
    message = text_of(error.message)
    return error if message == error.message else replace(error, message=message)


def _with_plain_explanation(score: Score) -> Score:
    """The score with its explanation as JSON can carry it: NumPy's numbers become Python's."""
    if score.explanation is None:
        return score
    return replace(score, explanation=_decode(_encode(score.explanation, enc_hook=_plain)))


def _plain(value: Any) -> Any:
    """The Python value behind a NumPy or torch one.

    Raises:
        NotImplementedError: JSON has no form for it.
    """
    for turned in ("tolist", "item"):
        if hasattr(value, turned):
            return getattr(value, turned)()
    raise NotImplementedError(f"an explanation holds {shown(value)}, which JSON has no form for")
