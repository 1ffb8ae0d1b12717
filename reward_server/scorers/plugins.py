"""Whose Python a profile may name: modules that the operator listed, or laid below one folder.

Whoever writes a profile chooses code that the server runs. A name such as `subprocess:Popen` must
not be one of the choices, so nothing is imported for a profile that was not allowed before.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from touchstone_rewards.reward_server.errors import ConfigError

# What may stand before `module:function`: the trainers whose functions are called as they are.
PREFIXES = ("trl", "verl", "openrlhf", "ms_swift", "verifiers", "easyr1")


class ScorerPath(NamedTuple):
    """The name of a scorer that is no built-in one, in its parts."""

    prefix: str
    module: str
    attribute: str


def parted(name: str) -> ScorerPath:
    """Return the parts of `module:attribute` or `prefix:module:attribute`.

    Example:
        >>> parted("trl:my.rewards:short")
        ScorerPath(prefix='trl', module='my.rewards', attribute='short')

    Raises:
        ConfigError: a prefix that is not known.
    """
    first, _, rest = name.partition(":")
    if ":" not in rest:
        return ScorerPath("", first, rest)
    if first not in PREFIXES:
        raise ConfigError(
            f"scorer {name!r}: {first!r} is no prefix; say module:attribute, or one of "
            f"{', '.join(PREFIXES)} before it"
        )
    return ScorerPath(first, *rest.split(":", 1))


@dataclass(frozen=True)
class Plugins:
    """The modules that dotted names in profiles may lead to.

    `modules`: by name, those below a package with it. `folder`: all that lie in it; it is looked
    into after everything that is installed, so no file in it takes the place of another module.
    """

    modules: tuple[str, ...] = ()
    folder: Path | None = None

    def admit(self, name: str) -> None:
        """See that the scorer's name leads to no module that is not allowed; import nothing.

        Raises:
            ConfigError: it does. The message says what to allow.
        """
        module = parted(name).module
        if ":" not in name or any(_within(module, each) for each in self.modules):
            return
        if self.folder is not None and self._lies_in_folder(module.partition(".")[0]):
            return
        allowed = ", ".join([*self.modules, *([f"{self.folder}/"] if self.folder else [])])
        raise ConfigError(
            f"scorer {name!r}: module {module!r} is not allowed in profiles; name it in "
            f"scorer_modules, or lay it into plugins_dir (allowed now: {allowed or 'none'})"
        )

    def make_importable(self) -> None:
        """Have this process, and those it starts, find the modules of the folder."""
        if self.folder is None:
            return
        folder = str(self.folder.resolve())
        if folder not in sys.path:
            sys.path.append(folder)

    def _lies_in_folder(self, top: str) -> bool:
        """Whether `import top` reads a file of the folder, and none from elsewhere."""
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
