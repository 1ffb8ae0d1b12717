"""Describe how to call a function: the source of each parameter, and single or batched calls.

`Form` holds every difference between our functions and those of other trainers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Message, Sample

Getter = Callable[[Sample], Any]


class MissingField(Exception):
    """A sample lacks a value for a required parameter of the function."""


def as_chat(response: str | list[Message]) -> list[dict[str, Any]]:
    """Return the response as a chat: its messages, or a single assistant message."""
    if isinstance(response, str):
        return [{"role": "assistant", "content": response}]
    return msgspec.to_builtins(response)


@dataclass(frozen=True)
class Form:
    """A function and how to call it.

    `fields`: a getter for each parameter filled from the sample. `batch`: a call covers several
    samples, and each parameter is a list. `columns`: metadata keys are parameters too, limited to
    `takes` (None: any); those in `truths` that the metadata lacks are filled with the ground truth.
    `read`: converts the result to our form: per sample a number, None, or a pair of these and a
    dict with the explanation. `whole_group`: the function must see all samples of a group;
    `group_parameter` receives their responses. `sees_turns`: a response that is a list of messages
    is passed unchanged.
    """

    name: str
    function: Callable[..., Any]
    fields: Mapping[str, Getter]
    reads: tuple[str, ...]
    batch: bool = False
    columns: bool = False
    truths: tuple[str, ...] = ()
    takes: frozenset[str] | None = frozenset()
    constants: Mapping[str, Any] = field(default_factory=dict[str, Any])
    read: Callable[[Any], Any] = lambda returned: returned
    whole_group: bool = False
    group_parameter: str = ""
    sees_turns: bool = False

    def row(self, sample: Sample) -> dict[str, Any]:
        """Return the arguments filled from one sample.

        Raises:
            MissingField: the sample lacks a required value.
        """
        row = {name: get(sample) for name, get in self.fields.items()}
        if not self.columns:
            return row
        if self.truths and sample.ground_truth is not None:
            row = dict.fromkeys(self.truths, sample.ground_truth) | row
        for name, value in sample.metadata.items():
            free = name not in self.fields and name not in self.constants
            if free and (self.takes is None or name in self.takes):
                row[name] = value
        return row

    def batches(self, rows: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the arguments of each call, a list per name, and the number of samples it covers.

        One call covers all samples, unless their columns differ; then each sample has its own call.
        """
        if len(rows) == 1:  # the usual case in a worker
            yield {name: [value] for name, value in rows[0].items()}, 1
            return
        alike = all(row.keys() == rows[0].keys() for row in rows[1:])
        for part in ([rows] if alike else [[row] for row in rows]) if rows else []:
            yield {name: [row[name] for row in part] for name in part[0]}, len(part)


class Parameters(NamedTuple):
    """Parameters of a function: without default, with default, and whether it accepts any other."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    any_other: bool

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.needed, *self.optional)


def parameters_of(name: str, function: Callable[..., Any]) -> Parameters:
    """Return the parameters by which a function can be called.

    Raises:
        ConfigError: the signature is unknown, or a parameter is positional only.
    """
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"scorer {name!r}: Python does not know its parameters ({error}); wrap it in a "
            "function of your own"
        ) from error
    if nameless := [each.name for each in found if each.kind is each.POSITIONAL_ONLY]:
        raise ConfigError(
            f"scorer {name!r}: parameter {nameless[0]!r} is positional only; parameters are passed "
            "by name, so remove the /"
        )
    named = [each for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    return Parameters(
        tuple(each.name for each in named if each.default is each.empty),
        tuple(each.name for each in named if each.default is not each.empty),
        any(each.kind is each.VAR_KEYWORD for each in found),
    )


def checked_config(
    name: str, config: Mapping[str, Any], parameters: Parameters, filled: Sequence[str]
) -> dict[str, Any]:
    """Return the config as keyword arguments; `filled` are the parameters that samples fill.

    Raises:
        ConfigError: a key is not a parameter, or is filled by samples.
    """
    free = [each for each in parameters.names if each not in filled]
    for key in config:
        if key in filled:
            raise ConfigError(f"scorer {name!r}: config sets {key!r}, which comes from each sample")
        if key not in free and not parameters.any_other:
            raise ConfigError(
                f"scorer {name!r} has no parameter {key!r} for its config; it has "
                f"{', '.join(free) or 'none'}"
            )
    return dict(config)


def with_constants(function: Callable[..., Any], constants: Mapping[str, Any]) -> Any:
    """Return the function with these keyword arguments bound."""
    return partial(function, **constants) if constants else function


def plain_prompt(sample: Sample) -> str | list[dict[str, Any]] | None:
    """Return a sample's prompt in the form that functions receive: a text, or a list of dicts."""
    prompt = sample.prompt
    return [as_dict(turn) for turn in prompt] if isinstance(prompt, list) else prompt


def as_dict(turn: Message) -> dict[str, Any]:
    """Return a message in the form that functions receive, with its `tool_calls` if any."""
    calls = {} if turn.tool_calls is None else {"tool_calls": turn.tool_calls}
    return {"role": turn.role, "content": turn.content, **calls}
