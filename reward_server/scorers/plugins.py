"""Which code a profile may name as a scorer: `module:Class` of an allowed module, and of a scorer.

Importing a module runs it, and building a scorer calls it. So a module must be allowed before it is
imported, and what it holds must be a scorer class before it is called. Who writes profiles or the
modules of a plug-in folder writes code that the server runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from touchstone_rewards.reward_server.errors import ConfigError

# What a class must have to be built. The protocols are `scorers.base.Scorer` and
# `scoring.model_host.ModelScorer`, which has `inputs` and `judge` in place of `score`.
SCORER_ATTRIBUTES = ("reads", "runs_in", "score")
MODEL_SCORER_ATTRIBUTES = ("reads", "runs_in", "inputs", "judge")

# What the operator allowed in this process, as imports are the process's too.
_modules: set[str] = set()
_folders: set[Path] = set()


def allow(modules: Iterable[str], folder: Path | None) -> None:
    """Allow these modules, with what lies below them, and every module that `folder` holds.

    The folder joins Python's search path.
    """
    _modules.update(modules)
    if folder is not None:
        _folders.add(folder.resolve())
        if str(folder.resolve()) not in sys.path:
            sys.path.append(str(folder.resolve()))


def check_allowed(name: str) -> None:
    """Raise ConfigError if the module of `module:Class` is not one that profiles may name."""
    module = name.partition(":")[0]
    parts = module.split(".")
    if any(".".join(parts[:end]) in _modules for end in range(1, len(parts) + 1)):
        return
    spec = PathFinder.find_spec(parts[0])
    # A module that is nowhere is refused by its import, which says so.
    if spec is None and parts[0] not in sys.builtin_module_names:
        return
    if spec is not None and _holders(spec) & _plugin_folders():
        return
    raise ConfigError(
        f"scorer {name!r}: module {module} is no plug-in; list it in plugin_modules, or put it "
        "into plugins_dir, the working directory or a folder of PYTHONPATH"
    )


def check_scorer(name: str, found: object) -> None:
    """Raise ConfigError if what `module:Class` names is not a class of scorers."""
    is_model = hasattr(found, "inputs")
    wanted = MODEL_SCORER_ATTRIBUTES if is_model else SCORER_ATTRIBUTES
    missing = [each for each in wanted if not hasattr(found, each)]
    if isinstance(found, type) and not missing:
        return
    what = f"a class without {', '.join(missing)}" if isinstance(found, type) else "no class"
    raise ConfigError(
        f"scorer {name!r} is {what}; a scorer is a class with {', '.join(wanted)}: docs/profiles.md"
    )


def _plugin_folders() -> set[Path]:
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {*_folders, Path.cwd(), *(Path(path).resolve() for path in paths if path)}


def _holders(spec: ModuleSpec) -> set[Path]:
    """The folders of the search path that this module or package lies in."""
    if spec.submodule_search_locations is not None:
        return {Path(place).resolve().parent for place in spec.submodule_search_locations}
    return {Path(spec.origin).resolve().parent} if spec.origin else set()
