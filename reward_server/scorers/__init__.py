"""The scorers, listed by hand. To add one: write its module, add its line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from reward_server.errors import ConfigError
from reward_server.scorers.base import Scorer

SCORERS: dict[str, str] = {
    "format": "reward_server.scorers.format:FormatScorer",
    "math": "reward_server.scorers.math:MathScorer",
    "reward_model": "reward_server.scorers.reward_model:RewardModelScorer",
    "similarity": "reward_server.scorers.similarity:SimilarityScorer",
    "dummy": "reward_server.scorers.dummy:DummyScorer",
}


def build_scorer(name: str, config: Mapping[str, Any]) -> Scorer:
    """The scorer called `name`, set up by `config`.

    A name with a colon is one of your own: `package.module:attribute`.

    Raises:
        ConfigError: no such scorer, a key that it does not know, or a value that it refuses.
    """
    path = name if ":" in name else SCORERS.get(name)
    if path is None:
        raise ConfigError(f"unknown scorer {name!r}; the scorers are {', '.join(sorted(SCORERS))}")
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)(**config)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"scorer {name!r} cannot be imported: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"scorer {name!r} does not take config {dict(config)!r}: {error}"
        ) from error
