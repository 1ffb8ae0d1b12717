"""Every text and bar of the reports can be read, in light and dark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.contrast import too_faint
from tests.trainer.running.test_compare import a_run
from touchstone_rewards.reward_server.__main__ import main as reward_server
from touchstone_rewards.trainer.__main__ import main as trainer


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write the report of an audit that finds holes, and the comparison of two runs."""
    folder = tmp_path_factory.mktemp("reports")
    rows = [{"prompt": f"{n} + 40?", "ground_truth": str(n + 40)} for n in range(3)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "holes.yaml").write_text("scorers: {contains: {}}")
    audit = ["audit", "--profile", "holes", "--profiles_dir", folder, "--workers", "1"]
    reward_server([*map(str, [*audit, "--input", folder / "rows.jsonl", "--output", folder / "a"])])
    one, two = a_run(folder / "one", 1e-5, 50), a_run(folder / "two", 1e-6, 110)
    assert trainer(["compare", str(one), str(two), "--output", str(folder / "compared.html")]) == 0
    return [folder / "a" / "report.html", folder / "compared.html"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("which", [0, 1], ids=["audit", "compare"])
def test_a_report_can_be_read(
    browser: Browser, reports: list[Path], which: int, dark: bool
) -> None:
    page = browser.open_page(dark=dark).go(reports[which].as_uri())
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    assert page.run("document.querySelectorAll('.bar, .legend i').length")
    assert too_faint(page) == []
