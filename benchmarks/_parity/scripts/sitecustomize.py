"""Replace the packages in PARITY_ABSENT by mocks, and vLLM by `scripted_vllm`.

Python imports this module at its start, in a trainer's child processes too.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock


class Absent(MetaPathFinder, Loader):
    """Finds all modules of the named packages."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        absent = fullname.partition(".")[0] in self.names
        return ModuleSpec(fullname, self, is_package=True) if absent else None

    def create_module(self, spec: ModuleSpec) -> Any:
        if spec.name.partition(".")[0] == "vllm":
            made = ModuleType(spec.name)
            vars(made).update(vars(importlib.import_module("scripted_vllm")))
        else:
            made = MagicMock(name=spec.name)
            made.__version__ = "99"
        made.__path__, made.__spec__, made.__name__ = [], spec, spec.name
        return made

    def exec_module(self, module: ModuleType) -> None:
        pass


if named := set(os.environ.get("PARITY_ABSENT", "").split()):
    sys.meta_path.insert(0, Absent(named))
