"""Registry of the built-in scorers. To add one, write its module and add its line here.

Scorers of other packages are named by `module:attribute` or by an entry point of the group
`ENTRY_POINTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module, invalidate_caches, metadata
from operator import attrgetter
from typing import Any

from touchstone_rewards.extras import advice
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.scorers.base import CallableScorer, Scorer
from touchstone_rewards.reward_server.scorers.check import check_class, check_scorer
from touchstone_rewards.reward_server.scorers.functions import function_scorer, is_function
from touchstone_rewards.reward_server.scorers.groups.packed import PackedGroup
from touchstone_rewards.reward_server.scorers.plugins import parted

_RULES = "touchstone_rewards.reward_server.scorers.rules"
SCORERS: dict[str, str] = {
    "format": "touchstone_rewards.reward_server.scorers.format:FormatScorer",
    "math": "touchstone_rewards.reward_server.scorers.math:MathScorer",
    "reward_model": "touchstone_rewards.reward_server.scorers.reward_model:RewardModelScorer",
    "similarity": "touchstone_rewards.reward_server.scorers.similarity:SimilarityScorer",
    "story": "touchstone_rewards.reward_server.scorers.story:story_scorer",
    "judge": "touchstone_rewards.reward_server.remote.judge:Judge",
    "remote_reward_model": (
        "touchstone_rewards.reward_server.remote.reward_model:RemoteRewardModel"
    ),
    "code": "touchstone_rewards.reward_server.remote.code:CodeScorer",
    **{
        name: f"touchstone_rewards.reward_server.scorers.groups.{name}:{kind}"
        for name, kind in {
            "majority": "Majority",
            "distinct": "Distinct",
            "duplicates": "Duplicates",
            "rank": "Rank",
            "relative_length": "RelativeLength",
        }.items()
    },
    "dummy": "touchstone_rewards.reward_server.scorers.dummy:DummyScorer",
    "exact": f"{_RULES}.exact:ExactScorer",
    "contains": f"{_RULES}.contains:ContainsScorer",
    "regex": f"{_RULES}.regex:RegexScorer",
    "choice": f"{_RULES}.choice:ChoiceScorer",
    "f1": f"{_RULES}.f1:F1Scorer",
    "numeric": f"{_RULES}.numeric:NumericScorer",
    "json_schema": f"{_RULES}.json_schema:JsonSchemaScorer",
    "tool_call": f"{_RULES}.tool_call:ToolCallScorer",
    "length": f"{_RULES}.length:LengthScorer",
    "repetition": f"{_RULES}.repetition:RepetitionScorer",
    "language": f"{_RULES}.language:LanguageScorer",
    "tags": f"{_RULES}.tags:TagsScorer",
    "ifeval": f"{_RULES}.ifeval:IfevalScorer",
    "rouge": f"{_RULES}.overlap:RougeScorer",
    "bleu": f"{_RULES}.overlap:BleuScorer",
    "chrf": f"{_RULES}.overlap:ChrfScorer",
}
ENTRY_POINTS = "touchstone.scorers"


def build_scorer(name: str, config: Mapping[str, Any]) -> Scorer:
    """Return the scorer called `name`, built with `config`.

    A name with a colon refers to your own code: `package.module:Class` or
    `package.module:function`, after a trainer's prefix if the function was written for it. Other
    names are looked up in `SCORERS`, then among the entry points of installed packages. The object
    found is called only if it is a scorer class or a function with known parameters.

    Raises:
        ConfigError: the scorer is unknown, the config has an unknown key or an invalid value, or
            the object found is not a scorer.
    """
    own = name not in SCORERS
    path = name if ":" in name else SCORERS.get(name) or _plugged_in(name)
    prefix, module, attribute = parted(path)
    invalidate_caches()  # the module may be newer than this process
    try:
        kind = attrgetter(attribute)(import_module(module))
    except (ImportError, AttributeError, SyntaxError) as error:
        raise _not_importable(name, error) from error
    try:
        if own and (prefix or is_function(kind)):
            scorer = function_scorer(name, prefix, kind, config)
        else:
            if own:
                check_class(name, kind)
            scorer = kind(**config)
    except ImportError as error:  # building a model's scorer imports torch
        raise _not_importable(name, error) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"scorer {name!r} does not take config {dict(config)!r}: {error}"
        ) from error
    return check_scorer(name, scorer)


def build_callable(name: str, config: Mapping[str, Any]) -> CallableScorer:
    """Return the scorer called `name`, built with `config`, if its `score` can be called directly.

    Example:
        >>> build_callable("format", {}).score([Sample("a", "<think>…")])

    Raises:
        ConfigError: as for `build_scorer`; or the scorer needs a model or remote service.
    """
    scorer = build_scorer(name, config)
    if scorer.runs_in == "group":
        return PackedGroup(scorer)
    if scorer.runs_in == "model" or scorer.runs_in == "remote":
        raise ConfigError(
            f"scorer {name!r} has runs_in {scorer.runs_in!r}, so no worker can score with it"
        )
    return scorer


def _not_importable(name: str, error: Exception) -> ConfigError:
    """Explain why a scorer cannot be imported, or which extra of this package it needs."""
    if name in SCORERS and isinstance(error, ModuleNotFoundError):
        return ConfigError(f"scorer {name!r}: {advice(error, 'server') or error}")
    return ConfigError(f"scorer {name!r} cannot be imported: {error}")


def _plugged_in(name: str) -> str:
    found = {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in found:
        known = ", ".join(sorted({*SCORERS, *found}))
        raise ConfigError(f"unknown scorer {name!r}; the scorers are {known}")
    return found[name]
