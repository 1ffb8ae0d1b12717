"""Load a trainer's module from its checkout although the libraries it trains with are missing.

In: names of libraries. Out: imports of them that succeed and give nothing of use: what is run of
the trainer must not need them. A library that is installed is not replaced.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Stub:
    """A stand-in for anything: an attribute, a call, a decorator that returns its function, a base
    class.
    """

    def __getattr__(self, name: str) -> Stub:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        decorates = len(arguments) == 1 and callable(arguments[0]) and not options
        return arguments[0] if decorates else Stub()

    def __getitem__(self, _: Any) -> Stub:
        return Stub()

    def __or__(self, _: Any) -> Any:
        return Any

    __ror__ = __or__

    def __mro_entries__(self, _: Any) -> tuple[type, ...]:
        return ()


class _StubModule(ModuleType):
    def __getattr__(self, name: str) -> Stub:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub()


class _Finder(MetaPathFinder, Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        wanted = any(fullname == name or fullname.startswith(f"{name}.") for name in self.names)
        return ModuleSpec(fullname, self, is_package=True) if wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def pretend(*missing: str, always: Sequence[str] = ()) -> None:
    """Let imports of `missing` succeed if they are not installed, and those of `always` in any
    case.
    """
    sys.meta_path.append(_Finder(missing))
    sys.meta_path.insert(0, _Finder(always))


def definitions(path: Path, *names: str, **namespace: Any) -> dict[str, Any]:
    """Execute only the named classes, functions, methods of the file at `path` in `namespace`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        node for node in ast.walk(tree) if isinstance(node, _DEFINITION) and node.name in names
    ]
    assert {node.name for node in found} == set(names), f"{path} has no {names}"
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*future, *found], []), str(path), "exec"), namespace)
    return namespace


def load(path: str | Path, name: str) -> Any:
    """Return the module in the file at `path`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module(name: str, **contents: Any) -> Any:
    """Make a module that can be imported by this name."""
    parent = name.rpartition(".")[0]
    if parent and parent not in sys.modules:
        module(parent)
    made = sys.modules[name] = type(sys)(name)
    made.__path__ = []  # type: ignore[attr-defined]
    vars(made).update(contents)
    return made


def outcome(function: Callable[[], Any]) -> Any:
    """Return the function's result, or the name and the status of the exception that it raises."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001  whatever a trainer raises is what is asked for
        return f"{type(error).__name__}: {getattr(error, 'status', error)}"
