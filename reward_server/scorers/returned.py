"""Validate a scorer's return value at the boundary, so that later steps can trust it.

In a valid `Score` the value is a finite float within the scorer's range, the error has a known code
and the explanation is plain JSON. An invalid one becomes `scorer_failed` for its own sample.
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
from touchstone_rewards.reward_server.scorers.base import Described, Score, Undecided

# Limits on the characters quoted from a value, a message and a traceback.
VALUE_CHARS, MESSAGE_CHARS, TRACE_CHARS = 80, 500, 4000
# Relative excess over the range that counts as rounding.
ROUNDING = 1e-9
UNDECIDED = get_args(Undecided)


class WrongAnswer(ValueError):
    """A scorer did not return a list with one score per sample."""


_encode = msgspec.json.encode
_decode = msgspec.json.decode


def checked_scores(scorer: Described, given: Sequence[Any], count: int) -> list[Score]:
    """Return the `count` scores in `given`, each one validated.

    Raises:
        WrongAnswer: `given` is not a list of this length, so scores cannot be assigned to samples.
    """
    if not isinstance(given, list | tuple) or len(given) != count:
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
        for one in given
    ]


def checked_score(scorer: Described, given: object) -> Score:
    """Return `given` if it is a valid score, otherwise a score with the error.

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
        if score.undecided is not None and value > (scorer.range[0] or 0.0):
            return failed(
                f"scorer {name_of(scorer)} is undecided but returned {value:g}; expected the least "
                "of its range, or an error: an undecided sample earns nothing"
            )
        return replace(score, value=value)
    # The value may be of any class, and its `__float__` or `__repr__` may raise.
    except Exception as error:  # noqa: BLE001
        why = f"{type(error).__name__}: {error}"
        return failed(f"scorer {name_of(scorer)} returned a value that cannot be sent: {why}")


def failed(message: str) -> Score:
    """Return the score of a sample whose scorer failed."""
    return Score(error=sample_error("scorer_failed", text_of(message)[:MESSAGE_CHARS]))


def raised(scorer: object, error: BaseException) -> Score:
    """Return the score of a sample for which the scorer raised `error`."""
    if isinstance(error, WrongAnswer):
        return failed(str(error))
    return failed(f"scorer {name_of(scorer)} raised {type(error).__name__}: {error}")


def trace_of(error: BaseException) -> str:
    """Return the traceback of `error` as text for a log, cut to its end."""
    return text_of("".join(traceback.format_exception(error))[-TRACE_CHARS:])


def place_of(trace: str) -> str:
    """Return the line of a traceback with the innermost location, which
    unlike the message is stable."""
    places = [line for line in trace.splitlines() if line.startswith('  File "')]
    return places[-1] if places else ""


def name_of(scorer: object) -> str:
    """Return the name by which an operator knows the scorer.

    This is the function's name in the profile, or the class, with its module for a plug-in.
    """
    if function := getattr(scorer, "function_name", ""):
        return function
    kind = type(scorer)
    own = kind.__module__.startswith("touchstone_rewards.")
    return kind.__qualname__ if own else f"{kind.__module__}:{kind.__qualname__}"


def text_of(text: str) -> str:
    """Return the text with lone surrogates, which UTF-8 cannot encode,
    replaced by question marks."""
    return text.encode(errors="replace").decode()


def shown(value: object) -> str:
    """Return the beginning of the value's repr."""
    return text_of(f"{value!r:.{VALUE_CHARS}}")


def _complaint(given: object) -> str:
    """Return a description of wrong types in a score, or ""."""
    if not isinstance(given, Score):
        return f"{shown(given)} for a sample; expected Score(value) or Score(error=…)"
    # A plug-in may have put anything here, regardless of the types of `Score`.
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
    """Tell whether a value is a number of Python, NumPy or torch; numeric text is not."""
    return isinstance(value, int | float) or (
        hasattr(type(value), "__float__") and not isinstance(value, str | bytes)
    )


def _bounds(scorer: Described) -> tuple[float, float]:
    """Return the least and the greatest finite number in the scorer's range."""
    return _finite_bounds(*scorer.range)


def _range_shown(scorer: Described) -> str:
    """Return the scorer's range as the end of a sentence, or "" if it is unbounded."""
    bounds = scorer.range
    return f" within its range {list(bounds)}" if any(b is not None for b in bounds) else ""


@lru_cache(maxsize=256)
def _finite_bounds(least: float | None, greatest: float | None) -> tuple[float, float]:
    return (
        -sys.float_info.max if least is None else max(float(least), -sys.float_info.max),
        sys.float_info.max if greatest is None else min(float(greatest), sys.float_info.max),
    )


def _within(value: float, least: float, greatest: float) -> float | None:
    """Return the value, clipped if it misses a bound by rounding; None if it lies beyond."""
    nearest = min(max(value, least), greatest)
    near = math.isclose(value, nearest, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return nearest if near and math.isfinite(value) else None


def _with_turns(scorer: Described, score: Score) -> Score:
    """Return the score with its turns' scores as floats.

    Raises:
        WrongAnswer: one is neither None nor a number within the scorer's range.
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
    """Return the score with a JSON-compatible explanation: NumPy numbers become Python numbers."""
    if score.explanation is None:
        return score
    return replace(score, explanation=_decode(_encode(score.explanation, enc_hook=_plain)))


def _plain(value: Any) -> Any:
    """Return the Python value of a NumPy or torch one.

    Raises:
        NotImplementedError: the value has no JSON form.
    """
    for turned in ("tolist", "item"):
        if hasattr(value, turned):
            return getattr(value, turned)()
    raise NotImplementedError(f"an explanation holds {shown(value)}, which JSON cannot represent")
