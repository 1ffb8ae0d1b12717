"""Who may import whom, what an import loads, and how fast the commands answer."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.checkout import ROOT
from touchstone_rewards.trainer.__main__ import COMMANDS

NAME = "touchstone_rewards"
PACKAGES = ("reward_server", "clients", "trainer")
# A module may import those of its own room and of the rooms before it.
LAYERS = [
    [
        "schemas",
        "alarms",
        "errors",
        "structure",
        "limits",
        "received",
        "live_server",
        "texts",
        "turn_texts",
        "addresses",
    ],
    ["models"],
    ["scorers"],
    [
        "profiles",
        "profile_config",
        "cascades",
        "routes",
        "gathering",
        "schedules",
        "fingerprints",
        "complaints",
        "settings",
        "caller",
        "container",
    ],
    ["pool", "remote"],
    ["telemetry"],
    ["scoring"],
    ["watching", "stored"],
    ["audit"],
    ["http", "environments"],
    ["compat", "openapi", "processes"],
    ["dashboard", "app"],
    ["ray"],
    ["commands", "__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# What the clients may import of the server: the wire, how a text is split, when to send again.
CLIENTS_READ = ("schemas", "alarms", "texts", "remote.policy")
CLIENTS_ALLOW = {f"{NAME}.reward_server.{name}" for name in CLIENTS_READ}
# Which other packages a module of the trainer may import; all others import the trainer alone.
TRAINER_ALLOWS = {
    f"{NAME}.trainer.rewards": "clients",
    f"{NAME}.trainer.evaluation.command": "clients",
    f"{NAME}.trainer.evaluation.figures": "clients",
    f"{NAME}.trainer.evaluation.votes": "clients",
    f"{NAME}.trainer.evaluation.write": "clients",
    f"{NAME}.trainer.demo.base_model": "reward_server",  # where a fetched model lies
    f"{NAME}.trainer.workflow.local_server": "reward_server",  # the command as a child process
    f"{NAME}.trainer.workflow.stages": "reward_server",
    f"{NAME}.trainer.rule_reward": "reward_server",  # rewards without a server: the same engine
}

# Type names that several modules define with the same meaning.
SAME_MEANING = {"Row", "PerToken", "InvalidRequest", "NoReward", "Unauthorized", "UnknownProfile"}
SAME_MEANING |= {"RunFailed"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join([NAME, *(parts[:-1] if parts[-1] == "__init__" else parts)]), path


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {_module(node.module, alias.name) for alias in node.names}
    assert not {name for name in found if name.split(".")[0] in PACKAGES}, path
    return found


def is_ours(module: str) -> bool:
    return module.startswith(f"{NAME}.") and module.split(".")[1] in PACKAGES


def _module(package: str, name: str) -> str:
    """Return the module that `from package import name` reads: `package.name` if it is one."""
    path = ROOT.joinpath("src", *package.split("."), name)
    return f"{package}.{name}" if path.is_dir() or path.with_suffix(".py").exists() else package


def layer(module: str) -> int:
    name = [*module.split("."), "schemas"][2]
    assert name in RANK, f"{module} stands in no room; give it its place in LAYERS"
    return RANK[name]


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_go_one_way(module: str, path: Path) -> None:
    for imported in filter(is_ours, imports(path)):
        package = imported.split(".")[1]
        if module.startswith(f"{NAME}.reward_server"):
            assert package == "reward_server", f"{module} imports {imported}"
            assert layer(imported) <= layer(module), f"{module} imports {imported}"
        elif module.startswith(f"{NAME}.clients"):
            allowed = package == "clients" or imported in CLIENTS_ALLOW
            assert allowed, f"{module} imports {imported}"
        else:
            allowed = package in ("trainer", TRAINER_ALLOWS.get(module))
            assert allowed, f"{module} imports {imported}"


def test_every_import_says_the_whole_name_and_benchmarks_import_no_tests() -> None:
    for folder in ("tests", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            found = imports(path)
            assert folder != "benchmarks" or not any(name.startswith("tests") for name in found)


def test_every_function_fits_on_a_screen_and_nine_in_ten_are_short() -> None:
    lengths: dict[str, int] = {}
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{module}:{node.name}:{node.lineno}"] = _code_lines(node)
    long = {name: lines for name, lines in lengths.items() if lines > 60}
    assert not long
    assert sum(lines > 30 for lines in lengths.values()) <= len(lengths) / 10


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    documented = ast.get_docstring(node, clean=False)
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1 - (documented.count("\n") + 1 if documented else 0)


def test_every_file_is_under_400_lines() -> None:
    long = {str(p): n for _, p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_two_types_share_a_name_but_those_that_mean_the_same() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in filter(is_type_name, _bound(node)):
                places[name].append(module)
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert shared.keys() == SAME_MEANING, shared


def is_type_name(name: str) -> bool:
    return re.fullmatch(r"[A-Z]\w*[a-z]\w*", name) is not None


def _bound(node: ast.stmt) -> list[str]:
    """Return the names that a class statement or an assignment defines."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [each.id for each in node.targets if isinstance(each, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def test_every_error_class_says_what_it_is() -> None:
    classes = [
        (module, node)
        for module, path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    bases: dict[str, set[str]] = defaultdict(set)
    for _, node in classes:
        bases[node.name] |= {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    errors = [(module, node) for module, node in classes if is_error(node.name, bases)]
    assert len(errors) > 40
    assert not [f"{module}.{node.name}" for module, node in errors if not ast.get_docstring(node)]


def is_error(name: str, bases: Mapping[str, set[str]]) -> bool:
    known = getattr(builtins, name, None)
    if isinstance(known, type):
        return issubclass(known, BaseException)
    return any(is_error(base, bases) for base in bases.get(name, set()) - {name})


@pytest.mark.parametrize("package", ["reward_server", "reward_server.app", "clients"])
def test_the_server_and_the_clients_need_no_torch(package: str) -> None:
    heavy = "{'torch', 'transformers'}"
    code = f"import sys, {NAME}.{package}; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["clients"])
def test_the_clients_need_neither_the_servers_libraries_nor_numpy(package: str) -> None:
    heavy = "{'fastapi', 'pydantic', 'uvicorn', 'numpy', 'yaml', 'rich'}"
    code = f"import sys, {NAME}.{package}; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


HELP = [("reward_server", ["--help"]), ("trainer", ["--help"])]
HELP += [("trainer", [*command.split(), "--help_all"]) for command in COMMANDS]


@pytest.mark.parametrize(("command", "words"), HELP)
def test_help_needs_no_heavy_import(command: str, words: list[str]) -> None:
    heavy = ["torch", "transformers", "fastapi", "trl", "matplotlib", "numpy"]
    code = (
        f"import sys; sys.argv = [{command!r}, *{words}]\n"
        f"import runpy\n"
        f"try:\n    runpy.run_module('{NAME}.{command}', run_name='__main__')\n"
        f"except SystemExit as end:\n    assert not end.code\n"
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
