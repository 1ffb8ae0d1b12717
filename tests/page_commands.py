"""Find the commands that pages tell a reader to type, and say of each who types it.

A command stands in a fenced block, or in the text as inline code. Blocks are marked
(`typed_pages.py`); a command in the text must be one that a block of some page has, with options
that such a block has, or one of `ELSEWHERE`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.checkout import ROOT
from tests.typed_pages import FENCE, Block, blocks_of
from touchstone_rewards.trainer.__main__ import COMMANDS

DOCS = ROOT / "docs"
# Decisions record what was done on a day. Chinese pages have the blocks of the English ones, which
# tests/test_chinese_pages.py and tests/test_readme.py see to.
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(page for page in DOCS.rglob("*.md") if not {"decisions", "zh"} & set(page.parts)),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "docker").rglob("*.md")),
]
OTHERS = re.compile("gym|ray|serve|trl|vllm")  # in the text, these are names
PROGRAM = re.compile(
    "accelerate|bash|cd|cp|curl|docker|docker-compose|export|git|kubectl|llama-server|"
    "llamafactory-cli|ln|make|mv|pip|pytest|python3?|reward-server|rm|ruff|source|swift|torchrun|"
    r"trainer|uv|[\w.-]+(/[\w.-]+)*/[\w.-]+\.sh|\.venv/bin/\w+|" + OTHERS.pattern
)
# A reader types these too; a test of each is named, or what the command last wrote.
ELSEWHERE = {
    r"make (check|lint|test)( LONG=1)?": ".ci/run",
    r"(LONG=1 )?\.venv/bin/(python -m )?pytest.*|python -m pytest -rs tests/contract": ".ci/run",
    r"ruff (check|format)": ".ci/run",
    r"tests/contract/environments/make\.sh.*": ".github/workflows/parity.yml",
    r"(reward-server|trainer) completion bash": (
        "tests/test_completion.py::test_bash_completes_a_command_of_two_words"
    ),
    r"trainer \w+ --help(_all)?": "tests/trainer/test_help.py",
    r"reward-server check --attacks .*": (
        "tests/reward_server/remote/test_attacks.py"
        "::test_the_exit_status_and_the_report_say_how_it_went"
    ),
    r"make serve": "tests/test_readme.py::test_make_serves",
    r"make demo|trainer demo.*": (
        "tests/trainer/demo/test_demo.py::test_the_real_demo_learns_arithmetic"
    ),
    r"make demo QUICK=1|trainer quick_demo": (
        "tests/trainer/toy/test_demo.py"
        "::test_the_demo_runs_to_its_end_and_fails_when_nothing_was_learnt"
    ),
    r"make limr": "benchmarks/results/limr.json",
    r"make bench(?: BENCH=(?:name)?)?": "benchmarks/__main__.py",
    r"make bench BENCH=(\w+)": "benchmarks/results/{}.json",
    r"python -m benchmarks(?:\.| )(request_steps|soak).*": "benchmarks/results/{}.json",
    r"python -m benchmarks\.gpu_minutes --dry_run": (
        "tests/test_gpu_minutes.py::test_all_of_it_runs_on_a_cpu"
    ),
    r"make docs": (
        "tests/test_docs_site.py::test_every_page_is_built_and_its_links_lead_to_files_of_the_site"
    ),
    r"make reference": "tests/test_reference.py::test_the_reference_is_what_the_code_says",
    r"make fuzz": "tests/reward_server/http/test_fuzz_wire.py",
    r"make (docker-test|wheels)": "tests/docker/test_stack.py",
    r"docker compose (up|restart|kill|config).*|cp \.env\.example \.env": (
        "tests/docker/test_own_reward.py::test_settings_of_the_file_reach_the_server"
    ),
    r"make (locks|sbom)": (
        "tests/test_locks.py::test_make_writes_the_locks_and_the_lists_of_components"
    ),
    r"pip (install|wheel) .*": "tests/test_packaging.py::test_the_bare_install_is_the_client",
    r"python3 -m venv \.venv|\. \.venv/bin/activate": "tests/test_packaging.py",
}


def place_of(command: str) -> Path | None:
    """Return the file that stands for a command of ELSEWHERE, or None.

    >>> place_of("make bench BENCH=math").name
    'math.json'
    """
    for pattern, place in ELSEWHERE.items():
        if match := re.fullmatch(pattern, command):
            return there(place.format(*match.groups()))
    return None


def there(place: str) -> Path | None:
    """Return the file of `FILE` or `FILE::TEST` if there is such a file with such a test."""
    name, _, test = place.partition("::")
    path = ROOT / name
    if not path.is_file() or (test and f"def {test}(" not in path.read_text(encoding="utf-8")):
        return None
    return path


def commands_of(code: str) -> list[str]:
    """Return the commands of a block, one a line, without prompts, comments and settings before.

    >>> commands_of("$ A=1 make test  # here\\ncd x && trainer sft \\\\\\n  --beta 2\\nwords")
    ['make test', 'cd x', 'trainer sft --beta 2']
    """
    found: list[str] = []
    for line in code.replace("\\\n", " ").splitlines():
        bare = re.sub(r"(?:^|\s+)#\s.*", "", line.strip()).strip("()")
        for part in re.split(r"\s(?:&&|\|\||\|)\s|;", bare):
            words = re.sub(r"^(?:\$ )?(?:[A-Z_]+=\S* +)*", "", part.strip()).split()
            if words and PROGRAM.fullmatch(words[0]):
                found.append(" ".join(words))
    return found


def inline_commands(page: str) -> Iterator[str]:
    """Yield each command of two words or more that stands in the text, or indented under it."""
    text = FENCE.sub("", page)
    for line in text.splitlines():
        spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", line)
        for code in [*spans, *re.findall(r"^(?: {4}|\t)+(?=\S)(.+)", line)]:
            found = (each.split() for each in commands_of(code))
            yield from (
                " ".join(each) for each in found if each[1:] and not OTHERS.fullmatch(each[0])
            )


def shape(command: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return what a command is called, and its options.

    >>> shape("trainer data pairs --samples x --min_gap=1")[0]
    ('trainer', 'data', 'pairs')
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    options = frozenset(word.partition("=")[0] for word in words if word.startswith("--"))
    if words[0] == "trainer":
        two = " ".join(words[1:3]) in COMMANDS
        return tuple(words[: 3 if two else 2]), options
    if words[0] == "make":
        return tuple(sorted(words)), options
    return tuple(words[: 2 if words[0] in ("reward-server", "accelerate") else 1]), options


TYPED = ("run", "server", "needs", "by", "not here", "python", "make")


@cache
def typed_shapes() -> frozenset[tuple[tuple[str, ...], frozenset[str]]]:
    """Return the shapes of all commands in marked blocks of all pages."""
    blocks = [block for page in PAGES for block in blocks_of(page.read_text(encoding="utf-8"))]
    return frozenset(
        shape(command)
        for block in blocks
        if block.kind in TYPED
        for command in commands_of(block.code)
    )


def is_typed(command: str) -> bool:
    """Say whether a block has this command with these options, or ELSEWHERE has it.

    `…` and words in capitals stand for what a reader puts there.
    """
    bare = re.sub(r"^python3? -m touchstone_rewards\.trainer\b", "trainer", command)
    if bare in ("trainer", "docker compose") or place_of(bare.replace(" …", "")):
        return True
    name, options = shape(command)
    if len(name) == 1 and name[0] not in ("curl", "reward-server"):
        return False
    return any(name == other and options <= known for other, known in typed_shapes())


def unmarked(block: Block, language: str) -> list[str]:
    """Return the commands of a block that no mark says what to do with."""
    if block.kind or language not in ("", "text", "bash", "sh", "shell", "console", "zsh"):
        return []
    if language in ("", "text"):
        return commands_of(block.code)
    return commands_of(block.code) or [block.code]


def faults_of(page: str) -> list[str]:
    """Return the commands of a page that nobody types, each with what is wrong."""
    faults = [f"`{each}` is typed by no test" for each in inline_commands(page)]
    faults = [fault for fault in faults if not is_typed(fault.split("`")[1])]
    languages = [match["language"] for match in FENCE.finditer(page)]
    if len(re.findall(r"^\s*```", page, re.MULTILINE)) != 2 * len(languages):
        faults.append("a fenced block is indented: no test finds it")
    for block, language in zip(blocks_of(page), languages, strict=True):
        faults += [f"no mark says what a reader does: {each}" for each in unmarked(block, language)]
        if block.kind == "by":
            faults += not_by(block)
        elif block.kind == "make":
            faults += [each for each in commands_of(block.code) if not place_of(each)]
    return faults


def not_by(block: Block) -> Iterable[str]:
    """Yield what is not so of a block that another page or a test types."""
    path = there(block.about)
    if path is None:
        yield f"there is no {block.about}"
    elif path.suffix == ".md":
        others = blocks_of(path.read_text(encoding="utf-8"))
        typed = {
            each
            for other in others
            if other.kind in ("run", "server", "needs")
            for each in commands_of(other.code)
        }
        yield from (
            f"{block.about} does not type {each}"
            for each in commands_of(block.code)
            if each not in typed
        )
