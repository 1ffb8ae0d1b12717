"""Python imports this first, in a trainer's other processes too: mocks stand in for the packages
that PARITY_ABSENT names, and `scripted_vllm` for vLLM. The table of trainers says which."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

# Packages of which types alone are used, in annotations that pydantic reads.
OF_TYPES = {"anthropic"}


class Types(ModuleType):
    """Every name in it is any type."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Any


class Absent(MetaPathFinder, Loader):
    """Finds any module of the packages that are named."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        absent = fullname.partition(".")[0] in self.names
        return ModuleSpec(fullname, self, is_package=True) if absent else None

    def create_module(self, spec: ModuleSpec) -> Any:
        package = spec.name.partition(".")[0]
        if package in OF_TYPES:
            made = Types(spec.name)
        elif package == "vllm":
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
