"""List the available scorers: the built-in ones, and the plug-ins and functions used by profiles.

Each entry has a description, the place where the scorer runs, its config as JSON Schema, the fields
it reads and the range of its scores.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, PydanticUserError, create_model

from touchstone_rewards.reward_server.schemas import Sample, ScorerInfo
from touchstone_rewards.reward_server.scorers import SCORERS
from touchstone_rewards.reward_server.scorers.base import Scorer, ScorerSpec
from touchstone_rewards.reward_server.scorers.functions import FunctionScorers
from touchstone_rewards.reward_server.scorers.functions.scorer import original


class Used(NamedTuple):
    """A scorer used by a profile that is being served."""

    profile: str
    spec: ScorerSpec
    scorer: Scorer


def scorer_infos(used: Iterable[Used]) -> list[ScorerInfo]:
    """Return the built-in scorers, then the others in use, each with the profiles that use it."""
    infos = {name: _built_in(name) for name in SCORERS}
    profiles: dict[str, list[str]] = {}
    for profile, spec, scorer in used:
        if spec.name not in infos:
            infos[spec.name] = _in_use(spec.name, scorer)
        if profile not in profiles.setdefault(spec.name, []):
            profiles[spec.name].append(profile)
    return [replace(info, profiles=profiles.get(name, [])) for name, info in infos.items()]


@cache
def _built_in(name: str) -> ScorerInfo:
    module, _, attribute = SCORERS[name].partition(":")
    kind = attrgetter(attribute)(import_module(module))
    # A factory function returns one of several classes, which its annotation lists.
    classes: list[Any] = [kind] if isinstance(kind, type) else _returned_classes(kind)
    reads = {field for one in classes for field in getattr(one, "reads", ())}
    return ScorerInfo(
        name=name,
        runs_in=list(dict.fromkeys(str(one.runs_in) for one in classes)),
        description=_first_line(kind),
        config=_schema(kind),
        reads=[field for field in Sample.__struct_fields__ if field in reads],
        range=getattr(classes[0], "range", (None, None)),
    )


def _in_use(name: str, scorer: Scorer) -> ScorerInfo:
    function = isinstance(scorer, FunctionScorers)
    described = original(scorer.form.function) if function else type(scorer)
    filled = {*scorer.form.fields, scorer.form.group_parameter} if function else set[str]()
    return ScorerInfo(
        name=name,
        runs_in=[scorer.runs_in],
        description=_first_line(described),
        config=_schema(described, filled),
        reads=list(scorer.reads),
        range=(scorer.range[0], scorer.range[1]),
    )


def _returned_classes(function: Callable[..., Any]) -> list[Any]:
    returned = get_type_hints(function)["return"]
    return list(get_args(returned)) or [returned]


def _first_line(thing: object) -> str:
    """Return the first paragraph of a docstring on one line."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return " ".join(text.split()).split(". ")[0].split("? ")[0].rstrip(".?")


def _schema(kind: Any, filled: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema of the config of a class, or of a function without `filled`
    parameters.

    A class that takes `**config` may declare its type in `config_type`: a Struct, a pydantic model,
    or a union of these. If several have the same key, the first one's schema is used.
    """
    properties: dict[str, Any] = {}
    required: list[str] = []
    if (config_type := getattr(kind, "config_type", None)) is not None:
        forms = [_schema_of(each) for each in get_args(config_type) or [config_type]]
        for form in reversed(forms):
            properties |= form["properties"]
        properties = {name: properties[name] for form in forms for name in form["properties"]}
        needed = [form.get("required", []) for form in forms]
        required += [name for name in needed[0] if all(name in each for each in needed)]
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    own = [each for each in parameters if each.name not in filled]
    named = [each for each in own if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    hints = _hints(kind.__init__ if isinstance(kind, type) else kind)
    required += [each.name for each in named if each.default is each.empty]
    for each in named:
        default = ... if each.default is each.empty else each.default
        properties |= _property(each.name, hints.get(each.name, Any), default)
    open_ended = config_type is None and any(each.kind is each.VAR_KEYWORD for each in own)
    schema = {"type": "object", "properties": properties, "additionalProperties": open_ended}
    return {**schema, "required": required} if required else schema


def _hints(function: Any) -> Mapping[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 (a plug-in may use any annotation)
        return {}


def _property(name: str, hint: Any, default: Any) -> dict[str, Any]:
    """Return the schema of one parameter; only the default if its annotation has no schema."""
    for told in (hint, Any):
        try:
            fields: dict[str, Any] = {name: (told, default)}
            holder: type[BaseModel] = create_model("Config", **fields)
            return holder.model_json_schema()["properties"]
        except (PydanticUserError, TypeError, ValueError, KeyError):
            continue
    return {name: {}}


def _schema_of(config_type: type) -> dict[str, Any]:
    if issubclass(config_type, BaseModel):
        return config_type.model_json_schema()
    _, components = msgspec.json.schema_components([config_type], ref_template="#/$defs/{name}")
    return components[config_type.__name__]
