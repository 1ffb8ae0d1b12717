"""Restrict the Python code that a profile may name: listed modules, or modules below one folder.

A profile chooses code that the server runs. A name such as `subprocess:Popen` must not be
available, so only modules allowed beforehand are imported.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from touchstone_rewards.reward_server.errors import ConfigError

# Possible prefixes of `module:function`: trainers whose functions are called as they are.
PREFIXES = ("trl", "verl", "openrlhf", "ms_swift", "verifiers", "easyr1")


class ScorerPath(NamedTuple):
    """The parts of the name of a scorer that is not built in."""

    prefix: str
    module: str
    attribute: str


def parted(name: str) -> ScorerPath:
    """Return the parts of `module:attribute` or `prefix:module:attribute`.

    Example:
        >>> parted("trl:my.rewards:short")
        ScorerPath(prefix='trl', module='my.rewards', attribute='short')

    Raises:
        ConfigError: the prefix is unknown.
    """
    first, _, rest = name.partition(":")
    if ":" not in rest:
        return ScorerPath("", first, rest)
    if first not in PREFIXES:
        raise ConfigError(
            f"scorer {name!r}: {first!r} is not a known prefix; use module:attribute, or one of "
            f"{', '.join(PREFIXES)} before it"
        )
    return ScorerPath(first, *rest.split(":", 1))


@dataclass(frozen=True)
class Plugins:
    """Modules that dotted names in profiles may refer to.

    `modules`: names of modules and packages, including their submodules. `folder`: a folder whose
    modules are all allowed; it is searched after everything installed, so its files cannot shadow
    other modules.
    """

    modules: tuple[str, ...] = ()
    folder: Path | None = None

    def admit(self, name: str) -> None:
        """Check that the scorer's name refers to an allowed module, without importing it.

        Raises:
            ConfigError: it does not. The message says how to allow the module.
        """
        module = parted(name).module
        if ":" not in name or any(_within(module, each) for each in self.modules):
            return
        if self.folder is not None and self._lies_in_folder(module.partition(".")[0]):
            return
        allowed = ", ".join([*self.modules, *([f"{self.folder}/"] if self.folder else [])])
        raise ConfigError(
            f"scorer {name!r}: module {module!r} is not allowed in profiles; add it to "
            f"scorer_modules, or put it into plugins_dir (allowed now: {allowed or 'none'})"
        )

    def make_importable(self) -> None:
        """Make the folder's modules importable in this process and its children."""
        if self.folder is None:
            return
        folder = str(self.folder.resolve())
        if folder not in sys.path:
            sys.path.append(folder)

    def _lies_in_folder(self, top: str) -> bool:
        """Tell whether `import top` would load only files of the folder."""
        assert self.folder is not None
        self.make_importable()
        PathFinder.invalidate_caches()
        try:
            found = find_spec(top) if top else None
        except (ImportError, ValueError):
            return False
        if found is None:
            return False
        places = found.submodule_search_locations or ([found.origin] if found.has_location else [])
        folder = self.folder.resolve()
        return bool(places) and all(
            Path(str(each)).resolve().is_relative_to(folder) for each in places
        )


NO_PLUGINS = Plugins()


def _within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(f"{allowed}.")
