"""Scorers that call a function: in a worker, on the event loop, or for a whole group.

The function's numbers become scores; values returned beside a number become the explanation; None
means that it could not score. The version is a hash of the source unless the function has its own.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeGuard

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.schemas import Sample, is_list, is_object
from touchstone_rewards.reward_server.scorers.base import Bound, Member, Score, ScorerSpec
from touchstone_rewards.reward_server.scorers.check import MAX_MEMBERS
from touchstone_rewards.reward_server.scorers.functions.form import Form, MissingField
from touchstone_rewards.reward_server.scorers.returned import WrongAnswer, failed, shown

# Default limit on concurrent samples of an async function.
MAX_IN_FLIGHT = 64
VERSION_DIGITS = 12


class _Function:
    """Base of the three function scorers.

    The function's attributes `version`, `range`, `deterministic` and `max_in_flight` become the
    scorer's. Ground truths are passed unchanged, whatever their type.
    """

    any_truth = True

    def __init__(self, form: Form) -> None:
        self.form = form
        self.function_name = form.name
        self.reads = form.reads
        own = original(form.function)
        self.version: str = getattr(own, "version", "") or source_version(form.name, own)
        self.range: tuple[Bound, Bound] = getattr(own, "range", (None, None))

    def _rows(self, samples: Sequence[Sample]) -> tuple[list[Score | None], list[dict[str, Any]]]:
        """Return the errors of samples that lack an argument, and the arguments of the others."""
        scores: list[Score | None] = [None] * len(samples)
        rows: list[dict[str, Any]] = []
        for place, sample in enumerate(samples):
            try:
                rows.append(self.form.row(sample))
            except MissingField as error:
                message = f"function {self.form.name}: {error}"
                scores[place] = Score(error=sample_error("missing_field", message))
        return scores, rows

    def _merged(
        self, scores: Sequence[Score | None], outputs: Iterable[Any], explain: bool
    ) -> list[Score]:
        """Fill the places without an error with the scores of the outputs."""
        if not any(scores):
            return [self._score(output, explain) for output in outputs]
        each = iter(outputs)
        return [self._score(next(each), explain) if one is None else one for one in scores]

    def _outputs(self, returned: Any, count: int) -> Sequence[Any]:
        """Return one output per sample from the result of a call for `count` samples.

        Raises:
            WrongAnswer: the number of outputs is wrong.
        """
        outputs = self.form.read(returned)
        if not is_list(outputs):
            outputs = outputs.tolist() if hasattr(outputs, "tolist") else outputs
            outputs = [*outputs] if _is_tuple(outputs) else outputs
        if not is_list(outputs) or len(outputs) != count:
            raise WrongAnswer(
                f"function {self.form.name} returned {shown(returned)}; expected a list with one "
                f"number for each of {count} samples"
            )
        return outputs

    def _score(self, output: Any, explain: bool) -> Score:
        if type(output) is float and not explain:
            return Score(output)
        value, details = _with_details(output)
        told = {"function": self.form.name, **(details or {})} if explain else None
        undecided = details.get("undecided") if details else None
        undecided = "response" if undecided is True else undecided or None
        if isinstance(value, int | float):
            return Score(float(value), None, told, undecided=undecided)
        if value is None:
            message = f"function {self.form.name} returned None: it could not score this sample"
            error = sample_error("scorer_failed", message)
            return Score(None, error, told, undecided=undecided)
        if hasattr(value, "__float__") and not isinstance(value, str | bytes):
            return Score(float(value), None, told)
        return failed(
            f"function {self.form.name} returned {shown(output)}; expected a number, a bool, None, "
            "or a pair of one of these and a dict"
        )


class FunctionScorer(_Function):
    """Calls a sync function in a killable worker. `batch`: one call for all samples of a task."""

    runs_in: Literal["worker"] = "worker"

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.batch = form.batch
        self.sees_turns = form.sees_turns
        self.deterministic = bool(getattr(original(form.function), "deterministic", False))

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        form = self.form
        scores, rows = self._rows(samples)
        outputs: list[Any] = []
        if form.batch:
            for arguments, count in form.batches(rows):
                outputs += self._outputs(form.function(**arguments), count)
        else:
            outputs = [form.read(form.function(**row)) for row in rows]
        return self._merged(scores, outputs, explain)


class AsyncFunctionScorer(_Function):
    """Awaits an async function on the event loop, which the function must not block."""

    runs_in: Literal["remote"] = "remote"

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.sees_turns = form.sees_turns
        own = original(form.function)
        self.max_in_flight: int = getattr(own, "max_in_flight", MAX_IN_FLIGHT)

    async def score(
        self, samples: Sequence[Sample], *, explain: bool = False, give_up_at_s: float | None = None
    ) -> list[Score]:
        form = self.form
        scores, rows = self._rows(samples)
        outputs: list[Any] = []
        if form.batch:
            for arguments, count in form.batches(rows):
                outputs += self._outputs(await form.function(**arguments), count)
        else:
            outputs = [form.read(await form.function(**row)) for row in rows]
        return self._merged(scores, outputs, explain)


class GroupFunctionScorer(_Function):
    """Calls a sync function that reads `group`, the responses of all samples of a group.

    With plural names, or with `group` alone, the function is called once and returns a list;
    otherwise it is called once per sample.
    """

    runs_in: Literal["group"] = "group"
    of: tuple[str, ...] = ()
    asks: tuple[ScorerSpec, ...] = ()
    max_members = MAX_MEMBERS

    def __init__(self, form: Form) -> None:
        if is_async(form.function):
            raise ConfigError(
                f"scorer {form.name!r} sees whole groups and is async; write it as a plain def"
            )
        super().__init__(form)

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score]:
        form = self.form
        samples = [member.sample for member in members]
        scores, rows = self._rows(samples)
        responses = [sample.response for sample in samples]
        group = {form.group_parameter: responses} if form.group_parameter else {}
        outputs: list[Any] = []
        if form.batch or not form.fields:
            for arguments, count in form.batches(rows):
                outputs += self._outputs(form.function(**arguments, **group), count)
        else:
            outputs = [form.read(form.function(**row, **group)) for row in rows]
        return self._merged(scores, outputs, explain)


def _with_details(output: Any) -> tuple[Any, dict[str, Any] | None]:
    """Return the value and the dict beside it, if the output is such a pair."""
    if _is_tuple(output) and len(output) == 2 and is_object(output[1]):
        return output[0], output[1]
    return output, None


def _is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a call of the function returns an awaitable."""
    own = original(function)
    return inspect.iscoroutinefunction(own) or inspect.iscoroutinefunction(
        getattr(own, "__call__", None)  # noqa: B004 (inspects the method itself)
    )


def source_version(name: str, function: object) -> str:
    """Return a version for a function: a hash of the files that define it and its wrapper.

    Files that these import are not included.

    Raises:
        ConfigError: the source cannot be read.
    """
    files: dict[str, bytes] = {}
    for each in (function, inspect.unwrap(function) if callable(function) else function):
        module = sys.modules.get(getattr(each, "__module__", None) or type(each).__module__)
        path = getattr(module, "__file__", None)
        try:
            files[str(path)] = Path(str(path)).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"scorer {name!r}: its source cannot be read ({error}), which its version needs; "
                'give the function one, as in my_function.version = "1"'
            ) from error
    digest = sha256()
    for content in files.values():
        digest.update(content)
    return digest.hexdigest()[:VERSION_DIGITS]


def original(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function under bound arguments."""
    while isinstance(function, partial):
        function = function.func
    return function
