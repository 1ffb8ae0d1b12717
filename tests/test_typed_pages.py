"""The tutorials and the examples do what they say, typed as they stand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.reward_server.remote.engine_process import EngineProcess
from tests.typed_pages import Block, blocks_of, is_printed, peers_environments, type_page
from touchstone_rewards.reward_server.models.fetchable import FETCHED_FILE, fetched_folder

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
PAGES = [*TUTORIALS, *EXAMPLES]
KINDS = {"run", "server", "file", "prints", "needs", "by", "not here"}
# What a reader would wait for on a processor: seconds there, tens of seconds on a busy machine.
SLOW = {"trl", "reward_model", "trl_server", "value_head_rm", "limr", "story"}
JUDGE = "http://127.0.0.1:8000"


def page_id(path: Path) -> str:
    return path.parent.name if path.name == "README.md" else path.stem


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    """The address of a chat engine that always says yes, where a page has a real one."""
    engine = EngineProcess()
    engine.start()
    yield f"http://127.0.0.1:{engine.port}"
    engine.kill()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_says_what_a_reader_does_with_it(page: Path) -> None:
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    assert [block for block in blocks if block.kind not in KINDS] == []
    bare = [block for block in blocks if block.kind in ("file", "needs", "by", "not here")]
    assert all(block.about for block in bare)


@pytest.mark.parametrize(
    "page",
    [pytest.param(each, marks=pytest.mark.long if page_id(each) in SLOW else ()) for each in PAGES],
    ids=page_id,
)
@pytest.mark.timeout(2400)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, judge: str) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    text = page.read_text(encoding="utf-8")
    if "fetch smollm2" in text and not (fetched_folder("smollm2") / FETCHED_FILE).exists():
        pytest.skip("the page fetches SmolLM2, which is not here: reward-server fetch smollm2")
    folder = tmp_path / "typed"
    if page.name == "README.md":
        shutil.copytree(page.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        folder.mkdir()
    blocks = blocks_of(text)
    typed = type_page(blocks, folder, peers_environments(), {JUDGE: judge})
    assert typed.status == 0, f"{typed.output[-3000:]}\n{typed.errors[-3000:]}"
    check_output(blocks, typed.steps)


def check_output(blocks: list[Block], steps: dict[int, str]) -> None:
    """Hold each block of output to what was printed since the last one."""
    printed = ""
    for step, block in enumerate(blocks):
        printed += steps.get(step, "")
        if block.kind == "prints":
            assert is_printed(block.code, printed), f"{block.code}\nis not in\n{printed}"
            printed = ""


def test_a_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    page = "<!-- checked: run -->\n```bash\necho one two\n```\n"
    page += "<!-- checked: prints -->\n```\n{}\n```\n"
    blocks = blocks_of(page.replace("{}", "one …"))
    check_output(blocks, type_page(blocks, tmp_path).steps)
    with pytest.raises(AssertionError, match="is not in"):
        check_output(blocks_of(page.replace("{}", "three")), type_page(blocks, tmp_path).steps)
    failing = blocks_of(page.replace("echo", "false"))
    assert type_page(failing, tmp_path).status == 1
