"""Read the fields of dataclasses from their source, without importing it.

`trainer grpo --help` lists fields of TRL and transformers, whose import takes ten seconds and half
a gigabyte of memory. In the source, names, types, defaults and help texts are literals.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class SourceField:
    """A dataclass field as written in the source of `module`."""

    module: str
    name: str
    type: str
    default: str | None
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceClass:
    """A dataclass: its module, the first paragraph of its docstring, and all its fields."""

    module: str
    name: str
    summary: str
    fields: tuple[SourceField, ...]


@cache
def module_tree(module: str) -> tuple[ast.Module, bool]:
    """Parse a module; the second value is true if it is a package.

    Raises:
        ModuleNotFoundError: its top-level package is not installed, or has no such module.
    """
    path, is_package = _path_of(module)
    return ast.parse(path.read_text(encoding="utf-8")), is_package


def _path_of(module: str) -> tuple[Path, bool]:
    top, *rest = module.split(".")
    spec = find_spec(top)  # find_spec of a top-level package imports nothing
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
    path = Path(spec.submodule_search_locations[0], *rest)
    if path.is_dir():
        return path / "__init__.py", True
    if not path.with_suffix(".py").is_file():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return path.with_suffix(".py"), False


def read_class(module: str, name: str) -> SourceClass:
    """Read the dataclass `name` that `module` defines or imports, including inherited fields.

    Raises:
        ModuleNotFoundError: a package that it needs is not installed.
        LookupError: there is no such class.
    """
    where, node = _definition(module, name, ast.ClassDef)
    assert isinstance(node, ast.ClassDef)
    fields: dict[str, SourceField] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id != "object":
            fields |= {each.name: each for each in read_class(where, base.id).fields}
    fields |= {each.name: each for each in _own_fields(where, node)}
    summary = (ast.get_docstring(node) or "").partition("\n\n")[0]
    return SourceClass(where, name, " ".join(summary.split()), tuple(fields.values()))


def read_options(module: str) -> tuple[list[SourceClass], dict[str, SourceClass]]:
    """Read the options of the command in `module`: its plain dataclasses, and those of its
    sections.

    The module assigns them to `OPTIONS`: a dataclass, or a `NamedTuple` of several, in which fields
    `name: Section[...]` are sections. A section of type `dict` has no fields and is left out.

    Raises:
        ModuleNotFoundError: a package that it needs is not installed.
    """
    name = _options_name(module)
    if name is None:
        return [], {}
    where, node = _definition(module, name, ast.ClassDef)
    assert isinstance(node, ast.ClassDef)
    if not any(ast.unparse(base) == "NamedTuple" for base in node.bases):
        return [read_class(where, name)], {}
    plain: list[SourceClass] = []
    sections: dict[str, SourceClass] = {}
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.annotation, ast.Name):
            plain.append(read_class(where, each.annotation.id))
        elif isinstance(each, ast.AnnAssign) and isinstance(each.annotation, ast.Subscript):
            inside = each.annotation.slice
            if isinstance(inside, ast.Name):
                sections[ast.unparse(each.target)] = read_class(where, inside.id)
    return plain, sections


def _options_name(module: str) -> str | None:
    for node in module_tree(module)[0].body:
        if isinstance(node, ast.Assign) and _assigns(node, "OPTIONS"):
            return ast.unparse(node.value)
    return None


def text_in(module: str, constant: str) -> str | None:
    """Return the text that `module` assigns to `constant`; None if it assigns none."""
    for node in module_tree(module)[0].body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and _assigns(node, constant):
            found = _literal(node.value)
            return found if isinstance(found, str) else None
    return None


def _assigns(node: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _definition(module: str, name: str, kind: type[ast.AST]) -> tuple[str, ast.AST]:
    """Find the module and node that define a class or constant, following imports."""
    tree, is_package = module_tree(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and kind is ast.ClassDef and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and kind is ast.Assign and _assigns(node, name):
            return module, node
        if isinstance(node, ast.ImportFrom) and any(name == each.name for each in node.names):
            return _definition(_imported_from(module, is_package, node), name, kind)
    if is_package and (part := _lazy_names(module).get(name)):
        return _definition(f"{module}.{part}", name, kind)
    raise LookupError(f"{module} has no {name}")


def _imported_from(module: str, is_package: bool, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    package = parts[: len(parts) - node.level + is_package]
    return ".".join([*package, node.module] if node.module else package)


@cache
def _lazy_names(module: str) -> dict[str, str]:
    """Return the name table of a lazy package such as transformers: each name's submodule."""
    found: dict[str, str] = {}
    for node in ast.walk(module_tree(module)[0]):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(value, ast.List) and isinstance(part := _literal(key), str):
                    found |= dict.fromkeys(map(str, map(_literal, value.elts)), part)
    return found


def _own_fields(module: str, node: ast.ClassDef) -> Iterator[SourceField]:
    for each in node.body:
        if not (isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)):
            continue
        options = _options(each.value)
        if _literal(options.get("init")) is False or "ClassVar" in ast.unparse(each.annotation):
            continue
        yield SourceField(
            module,
            each.target.id,
            ast.unparse(each.annotation).strip("'\""),
            _default(options),
            _help(options.get("metadata")),
            tuple(_choices(module, each.annotation)),
        )


def _options(value: ast.expr | None) -> dict[str, ast.expr]:
    """Return the arguments of `field(...)`, or a plain default as `default`."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        return {word.arg: word.value for word in value.keywords if word.arg}
    return {} if value is None else {"default": value}


def _default(options: dict[str, ast.expr]) -> str | None:
    if "default" in options:
        return ast.unparse(options["default"])
    factory = options.get("default_factory")
    if isinstance(factory, ast.Lambda):
        return ast.unparse(factory.body)
    return None if factory is None else f"{ast.unparse(factory)}()"


def _help(metadata: ast.expr | None) -> str:
    if isinstance(metadata, ast.Dict):
        for key, value in zip(metadata.keys, metadata.values, strict=True):
            if _literal(key) == "help":
                found = _literal(value)
                return " ".join((found if isinstance(found, str) else ast.unparse(value)).split())
    return ""


def _choices(module: str, annotation: ast.expr) -> Iterator[str]:
    """Yield the values of a `Literal`, also if the annotation is an alias of one."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        inside = annotation.slice
        values = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        yield from (each for each in map(_literal, values) if isinstance(each, str))
    elif isinstance(annotation, ast.BinOp):
        yield from _choices(module, annotation.left)
        yield from _choices(module, annotation.right)
    elif isinstance(annotation, ast.Name) and not hasattr(builtins, annotation.id):
        try:
            where, node = _definition(module, annotation.id, ast.Assign)
        except (LookupError, ModuleNotFoundError):
            return
        assert isinstance(node, ast.Assign)
        if isinstance(node.value, ast.Subscript):
            yield from _choices(where, node.value)


def _literal(node: ast.expr | None) -> object:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None
