"""READMEs and docs show the figures of the run that docs/demo.md names."""

from __future__ import annotations

import copy

import pytest

from benchmarks.demo import PAGES, PLACE, TABLES, filled, recorded
from tests.checkout import ROOT


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_recorded_figures(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    names = [place[2] for place in PLACE.finditer(text)]
    assert names == (list(TABLES) if page == "docs/demo.md" else ["held_out"])
    assert filled(text, recorded()) == text


def test_another_figure_would_be_seen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    other = copy.deepcopy(recorded())
    other[0]["held_out"]["after"]["right"]["value"] += 0.001
    assert filled(text, other) != text


def test_every_recorded_run_is_of_a_seed_of_its_own_and_accounts_for_its_samples() -> None:
    runs = recorded()
    assert len({run["seed"] for run in runs}) == len(runs) > 0
    for run in runs:
        outage = run["outage"]
        assert outage["lost"] == outage["unrewarded"] == outage["made_up"] == 0
        assert outage["by_first"] + outage["by_second"] == outage["kept"] == outage["sampled"]
        assert run["held_out"]["after"]["right"]["rows"] >= 300
