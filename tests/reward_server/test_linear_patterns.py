"""No pattern of the server is slower than linear: every one is found in the tree and attacked."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from tests.checkout import ROOT
from tests.regex_attacks import Shape, attacks
from tests.regex_steps import Mode, Program, Run, count_steps, program

pytestmark = pytest.mark.long
# Attacks of two sizes: linear work grows 4 times from one to the other, quadratic work 16 times.
# What seems to grow faster is looked at again with larger sizes, for the short ones are uneven.
SIZES = [(32, 128), (128, 512)]
MOST_GROWTH = 8.0
FREE_STEPS_A_CHARACTER = 12  # below this there is nothing to compare
MOST_STEPS = 400_000
# Of all attacks on one pattern together: then those that are left, in a drawn order, are left out.
STEPS_A_PATTERN = 15_000_000
SCANS = {"search", "sub", "subn", "split", "findall", "finditer", "scanner"}
FUNCTIONS = {"compile", "match", "fullmatch", *SCANS}
FLAGS_AT = {"compile": 1, "sub": 4, "subn": 4, "split": 3}
ALL_MODES: frozenset[Mode] = frozenset(get_args(Mode))


class Found(NamedTuple):
    """A pattern as it is written in a file, and the ways in which it is run."""

    file: str
    line: int
    pattern: re.Pattern[Any] | None
    modes: frozenset[Mode]


def _is_re(call: ast.AST) -> bool:
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "re"
        and call.func.attr in FUNCTIONS
    )


def found_patterns(folder: Path) -> Iterator[Found]:
    for path in sorted(folder.rglob("*.py")):
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        for node in nodes:
            if isinstance(node, ast.Call) and _is_re(node):
                file = path.relative_to(folder).as_posix()
                yield Found(file, node.lineno, _evaluated(node, path), _modes(node, nodes))
            elif isinstance(node, ast.keyword) and node.arg == "pattern":
                made = re.compile(ast.literal_eval(node.value))
                yield Found(path.relative_to(folder).as_posix(), node.lineno, made, ALL_MODES)


def _evaluated(call: ast.Call, path: Path) -> re.Pattern[Any] | None:
    """Return the pattern of a call, if made of constants or names of its module, else None."""
    assert isinstance(call.func, ast.Attribute)
    at = FLAGS_AT.get(call.func.attr, 2)
    flags = next((word.value for word in call.keywords if word.arg == "flags"), None)
    if flags is None and len(call.args) > at:
        flags = call.args[at]
    try:
        names: dict[str, Any] = {"re": re}
        return re.compile(_value(call.args[0], names), _value(flags, names) if flags else 0)
    except NameError:
        parts = path.relative_to(ROOT).with_suffix("").parts
        names = vars(import_module(".".join(["touchstone_rewards", *parts])))
    try:
        return re.compile(_value(call.args[0], names), _value(flags, names) if flags else 0)
    except NameError:
        return None


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "<pattern>", "eval"), dict(names))


def _modes(call: ast.Call, nodes: list[ast.AST]) -> frozenset[Mode]:
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr != "compile":
        return _mode(call.func.attr, 2, len(call.args))
    name = next((_target(n) for n in nodes if getattr(n, "value", None) is call), None)
    if name is None or not name.startswith("_"):
        return ALL_MODES
    return _modes_of_name(name, nodes)


def _target(node: ast.AST) -> str | None:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return targets[0].id if isinstance(targets[0], ast.Name) else None


def _modes_of_name(name: str, nodes: list[ast.AST]) -> frozenset[Mode]:
    """Return how its file runs the private pattern `name`: in all ways if it is passed on."""
    modes: set[Mode] = set()
    called = set()
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == name:
                called.add(owner)
                modes |= _mode(node.func.attr, 1, len(node.args))
    for node in nodes:
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            modes |= set() if node in called else ALL_MODES
    return frozenset(modes)


def _mode(method: str, texts: int, arguments: int) -> frozenset[Mode]:
    """A match from a given position may be one of many, so it counts as a scan."""
    if method == "fullmatch":
        return frozenset({"fullmatch"})
    if method == "match":
        return frozenset({"match", "scan"} if arguments > texts else {"match"})
    return frozenset({"scan"})


def slowest(pattern: re.Pattern[Any], modes: frozenset[Mode]) -> tuple[float, str, Mode]:
    """Return the largest growth of steps on any attack, the attack and the way of running."""
    made, shape = program(pattern), Shape(pattern)
    scale = max(1, 2 * shape.largest_bound // SIZES[0][0])
    few, many = (list(attacks(shape, size * scale)) for size in SIZES[0])
    worst: tuple[float, str, Mode] = (0.0, "", "match")
    places = {pair: at for at, pair in enumerate(zip(few, many, strict=True))}
    spent = 0
    for pair, at in random.Random(0).sample(list(places.items()), len(places)):
        if spent > STEPS_A_PATTERN:
            break
        for mode in sorted(modes):
            growth, steps = _growth(made, pair, mode)
            spent += steps
            if growth < MOST_GROWTH:
                continue
            few_more, many_more = (attacks(shape, size * scale) for size in SIZES[1])
            larger = next(islice(few_more, at, None)), next(islice(many_more, at, None))
            growth, steps = _growth(made, larger, mode)
            spent += steps
            if growth > worst[0]:
                worst = (growth, pair[1], mode)
                if growth == float("inf"):
                    return worst
    return worst


def _growth(made: Program, pair: tuple[str, str], mode: Mode) -> tuple[float, int]:
    """Return how many times the steps grow if the text grows 4 times, and the steps taken."""
    short, long = pair
    steps = count_steps(made, long, mode, MOST_STEPS)
    if steps <= FREE_STEPS_A_CHARACTER * (len(long) + 8):
        return 0.0, steps
    if steps >= MOST_STEPS:
        return float("inf"), steps
    growth = steps / count_steps(made, short, mode, MOST_STEPS)
    return growth * 4 * (len(short) + 8) / (len(long) + 8), steps


PATTERNS = list(dict.fromkeys(found_patterns(ROOT / "reward_server")))


def _case(found: Found) -> Any:
    written = found.pattern.pattern if found.pattern else "not a constant"
    return pytest.param(found, id=f"{found.file}:{str(written)[:30]}")


@pytest.mark.parametrize("found", [_case(found) for found in PATTERNS])
def test_a_pattern_takes_steps_in_proportion_to_the_text(found: Found) -> None:
    where = f"{found.file}:{found.line}"
    assert found.pattern is not None, f"{where}: make the pattern of constants of its module"
    growth, text, mode = slowest(found.pattern, found.modes)
    assert growth < MOST_GROWTH, f"{where}: {mode} of {text!r}"


def test_the_tree_has_the_patterns_that_are_known_to_stand_in_it() -> None:
    files = {found.file for found in PATTERNS}
    assert files >= {"scorers/rules/tags.py", "http/gate.py", "scorers/math/grammar/tokens.py"}
    assert len(PATTERNS) > 40


def test_patterns_are_made_by_re_alone() -> None:
    for path in (ROOT / "reward_server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("re", "regex", "fnmatch"), path
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    assert alias.name not in ("regex", "fnmatch"), path
                    assert alias.name != "re" or alias.asname is None, path


SLOW: list[tuple[str, Mode]] = [
    (r"\s+$", "scan"),
    (r"(a+)+$", "fullmatch"),
    (r"(?:a|a)*b", "match"),
    (r".*x", "scan"),
    (r"\d+(?![\d.])|\d", "scan"),
    (r"a+b|a", "scan"),
    (r"\s*\$?\s*(-?)\s*([0-9]{1,30})\.?\s*\$?\s*", "fullmatch"),
    (r"[\s$.]*(?:\\[()])?[\s$.]*\s*(?P<joint>,?\s*(?:and|or)|[,;])[\s$]*[\s$]*", "fullmatch"),
    (r"\\(?:boxed|fbox)\s*\{(.+)\}|\*\*(.+)\*\*", "scan"),
    (r"(?m)\banswer\s*(?:is\b|:)\s*:?|^\s*A\s*:", "scan"),
    (r"(?:(?:\\!|\s)*:?(?:\\!|\s)*)x", "match"),
    (r"<a>(?:[^<]|<(?!/a>))*</a>", "scan"),
    (r"\w+@\w+\.com", "scan"),
]
LINEAR: list[tuple[str, Mode]] = [
    (r"a+", "scan"),
    (r"\s*x", "match"),
    (r"a++b?", "match"),
    (r"(?<![a-z])[a-z]++=", "scan"),
    (r"\\text\{[^{}\\]*\}", "scan"),
    (r"<(su[bp])>([^<>]{1,40})</\1>", "scan"),
    (r"[A-Za-z0-9_.:-]{1,128}", "scan"),
    (r"(?:[^{}]++|\{[^{}]*+\})*+", "fullmatch"),
]


@pytest.mark.parametrize(("pattern", "mode"), SLOW)
def test_a_slow_pattern_is_caught(pattern: str, mode: Mode) -> None:
    assert slowest(re.compile(pattern), frozenset({mode}))[0] >= MOST_GROWTH


@pytest.mark.parametrize(("pattern", "mode"), LINEAR)
def test_a_linear_pattern_passes(pattern: str, mode: Mode) -> None:
    assert slowest(re.compile(pattern), frozenset({mode}))[0] < MOST_GROWTH


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in (*SLOW, *LINEAR)])
def test_the_counted_engine_matches_what_re_matches(pattern: str) -> None:
    compiled = re.compile(pattern)
    made, shape, drawn = program(compiled), Shape(compiled), random.Random(pattern)
    for _ in range(300):
        text = "".join(drawn.choices(shape.atoms, k=drawn.randint(0, 9)))
        for whole, method in ((False, compiled.match), (True, compiled.fullmatch)):
            expected = method(text)
            end = Run(text, MOST_STEPS).attempt(made, 0, whole)
            assert end == (expected.end() if expected else None), text
