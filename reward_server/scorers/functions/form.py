"""How a function is called: which of its parameters are filled from what, once or for a batch.

Everything that differs between a function of ours and those of other trainers is in a `Form`.
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
    """A sample has nothing for a parameter that the function needs."""


def as_chat(response: str | list[Message]) -> list[dict[str, Any]]:
    """The response as a chat: its messages, or one of the assistant."""
    if isinstance(response, str):
        return [{"role": "assistant", "content": response}]
    return msgspec.to_builtins(response)


@dataclass(frozen=True)
class Form:
    """A function and how to call it.

    `fields`: the getter of each parameter that a sample fills. With `batch` a call is for several
    samples, and each parameter gets a list. `columns`: keys of the metadata are parameters too, as
    far as the function takes them (`takes`; None: any), and those of `truths` that the metadata
    lacks are the ground truth, where there is one. `read` brings what was returned into the
    form of ours: for each sample a number, None, or a pair of those and a dict that explains.
    `whole_group`: it must see all samples of a group; `group_parameter` takes their responses.
    `sees_turns`: a response that is a list of messages comes as it is.
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
        """The arguments that one sample fills.

        Raises:
            MissingField: the sample lacks one.
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
        """The arguments of each call, a list for each name, and for how many samples it is.

        One call for all, unless some have columns that others lack: then one for each.
        """
        if len(rows) == 1:  # as in a worker
            yield {name: [value] for name, value in rows[0].items()}, 1
            return
        alike = all(row.keys() == rows[0].keys() for row in rows[1:])
        for part in ([rows] if alike else [[row] for row in rows]) if rows else []:
            yield {name: [row[name] for row in part] for name in part[0]}, len(part)


class Parameters(NamedTuple):
    """The parameters of a function: those without and with a default, and whether it takes any."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    any_other: bool

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.needed, *self.optional)


def parameters_of(name: str, function: Callable[..., Any]) -> Parameters:
    """Return what a function can be called with, by name.

    Raises:
        ConfigError: Python does not say, or a parameter has no name to be called by.
    """
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"scorer {name!r}: Python does not know its parameters ({error}); write a function "
            "around it"
        ) from error
    if nameless := [each.name for each in found if each.kind is each.POSITIONAL_ONLY]:
        raise ConfigError(
            f"scorer {name!r}: parameter {nameless[0]!r} is positional only; parameters are filled "
            "by their names, so take the / out"
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
    """Return the config as keyword arguments; `filled` are parameters that samples fill.

    Raises:
        ConfigError: a key that is no parameter, or one that samples fill.
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
    """Return the function with these arguments given."""
    return partial(function, **constants) if constants else function


def plain_prompt(sample: Sample) -> str | list[dict[str, Any]] | None:
    """Return a sample's prompt as functions know it: a text, or a list of dicts."""
    prompt = sample.prompt
    return [as_dict(turn) for turn in prompt] if isinstance(prompt, list) else prompt


def as_dict(turn: Message) -> dict[str, Any]:
    """A turn of a chat as functions know it; with its `tool_calls`, if it has some."""
    calls = {} if turn.tool_calls is None else {"tool_calls": turn.tool_calls}
    return {"role": turn.role, "content": turn.content, **calls}
