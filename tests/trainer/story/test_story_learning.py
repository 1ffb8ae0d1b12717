"""The bench of story learning: its measures by hand, the shortened profile, the older wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from benchmarks._older_wire import older_wire
from benchmarks._real import PAGE
from benchmarks.story_learning import (
    GAIN,
    MEASURES,
    PLACE,
    PROFILE,
    REWARDS,
    RIGHT,
    SHORTER,
    STORY,
    Measured,
    Run,
    Sizes,
    cells,
    curve,
    draw,
    filled,
    make_stories,
    measured,
    paid_for_the_fact,
    refuse_other_profile,
    rows_of,
    shortened,
    values_of,
)
from tests.checkout import ROOT
from touchstone_rewards.clients import RemoteRewardClient, Sample
from touchstone_rewards.trainer.data.kept_samples import KeptSample
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.story.tiny import TinyStory

TODAY = REWARDS["today"]


def said(text: str, reward: float | None = 0.5, right: float = 0.0) -> Measured:
    values = {**dict.fromkeys(REWARDS.values(), reward), RIGHT: right, GAIN: 1.0}
    return Measured(text.split(), values | {"words": float(len(text.split()))})


def test_a_response_is_right_when_it_names_the_colour_of_its_own_row_alone() -> None:
    sample = KeptSample(
        id="row-0/0",
        prompt="",
        response="Mia lifts the red stone!",
        reward=0.5,
        scores={},
        step=1,
        epoch=0.0,
        group="row-0",
        fingerprint=None,
        signals={"logprob_gain": 0.25},
    )
    found = measured(sample, "red", {TODAY: None})
    assert found.values == {TODAY: None, RIGHT: 1.0, "words": 5.0, GAIN: 0.25}
    assert measured(sample, "blue", {}).values[RIGHT] == 0.0


def test_the_shares_of_distinct_3_add_up_to_that_of_all_responses() -> None:
    samples = [said("you lift the stone"), said("you lift the hat"), said("no")]
    # Of four runs of three words three are distinct; "you lift the" is shared.
    assert values_of(samples, "distinct-3") == [0.75, 0.75, None]
    assert values_of([said("one two three")] * 2, "distinct-3") == [0.5, 0.5]


def test_a_curve_is_a_mean_by_update_without_what_has_no_reward() -> None:
    first = [said("x", 0.25), said("x", 0.75), said("x", None)]
    run = {(2, "a"): [said("x y", 0.5)], (1, "b"): first}
    assert curve(run, TODAY) == [0.5, 0.5]
    assert curve(run, "words") == [1.0, 2.0]


def test_the_last_updates_are_held_against_the_start_and_the_other_profile() -> None:
    def run(*rights: float) -> Run:
        return {(n, "a"): [said("x y z", right=right)] * 8 for n, right in enumerate(rights)}

    start = {(1, "a"): [said("x y z")] * 8, (1, "b"): [said("x y z", right=1.0)] * 8}
    ours, peer = [run(0, 1.0, 1.0)] * 3, [run(0, 0.5, 0.0)] * 3
    rows = rows_of(start, {"today": ours, "before": peer}, last=2)
    assert [row["what"] for row in rows] == list(MEASURES)
    [right] = [row for row in rows if row["what"] == RIGHT]
    assert (right["start"], right["peer"], right["ours"], right["difference"]) == (
        0.5,
        0.25,
        1,
        0.75,
    )
    assert right["by_seed"] == {"today": [1, 1, 1], "before": [0.25, 0.25, 0.25]}
    # Six pairs, half .5 apart and half 1: t of 5 degrees of freedom times their deviation.
    half = 2.571 * (6 * 0.25**2 / 5 / 6) ** 0.5
    assert right["difference_interval"] == pytest.approx((0.75 - half, 0.75 + half), abs=1e-3)
    assert cells(right)[-1] == "+0.75 [+0.46, +1.04]"
    assert cells(right)[3] == "1.00 [1.00, 1.00]"


def test_what_is_paid_for_the_fact_is_the_mean_over_stories_that_have_both() -> None:
    run = {
        (1, "a"): [said("x", 0.75, right=1.0), said("x", 0.25), said("x", 0.75), said("x", None)],
        (2, "b"): [said("x", 0.25, right=1.0), said("x", 0.5)],
        (3, "c"): [said("x", 1.0)],
    }
    paid = paid_for_the_fact({}, {"today": [run], "before": [run]})
    # Story a: .25 more; b: .25 less, in both runs. The second run's first update is left out.
    assert paid["today"]["mean"] == pytest.approx(-0.25 / 3)
    assert paid["today"]["stories"] == paid["before"]["stories"] == 3
    assert paid["gain"]["mean"] == 0


def test_the_profile_is_that_of_the_package_but_for_its_form_and_its_lengths() -> None:
    given = yaml.safe_load((ROOT / STORY).read_text(encoding="utf-8"))["scorers"]
    made = yaml.safe_load(shortened(ROOT / STORY))["scorers"]
    assert given["format"]["weight"] > made["format"]["weight"] == 0
    lengths = {key: made["length"]["config"][key] for key in ("least", "most", "sigma")}
    assert lengths == pytest.approx({"least": 20, "most": 25, "sigma": 5})
    for name in ("repetition", "own_phrases", "own_words", "word_order", "novelty"):
        assert made[name]["config"].pop("full_at") == pytest.approx(10)
    for name in given.keys() - {"format", "length"}:
        assert made[name] == given[name]
    older = yaml.safe_load(shortened(ROOT / STORY, fixed=["novelty"]))["scorers"]
    assert older["novelty"] == given["novelty"]


def test_the_stories_ask_for_what_their_history_tells(tmp_path: Path) -> None:
    story = TinyStory("Mia", "ring", "blue", "garden")
    stories = make_stories(tmp_path / "rows.jsonl", [story])
    [row] = map(json.loads, stories.rows.read_text().splitlines())
    assert stories.colours == {"row-0": "blue"}
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user", "assistant", "user"]
    assert "blue" in row["prompt"][1]["content"]
    assert "blue" not in row["prompt"][0]["content"] + row["user_input"]


def test_the_picture_shows_every_profile(tmp_path: Path) -> None:
    run = {(1, "a"): [said("x y z")], (2, "b"): [said("x y z")]}
    draw({"today": [run], "before": [run]}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


class Remembers(BaseHTTPRequestHandler):
    """Act as an older server: note each request, and answer a reward, or that it is not ready."""

    profiles: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        if self.path.startswith("/profiles"):
            return self._answer(200, {"profiles": self.profiles})
        self._answer(503, {"error": {"code": "not_ready", "message": "", "request_id": ""}})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # pyright: ignore[reportAttributeAccessIssue]
        result = {"id": "a", "status": "ok", "reward": 0.25, "scores": {}, "error": None}
        self._answer(
            200,
            {"results": [result], "profile": "story", "fingerprint": "9f2c", "elapsed_ms": 1.0},
        )

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@contextmanager
def older_server_that_remembers() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Remembers) as server:
        server.asked = []  # pyright: ignore[reportAttributeAccessIssue]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_an_older_server_is_asked_without_the_fields_that_it_does_not_know() -> None:
    with (
        older_server_that_remembers() as server,
        older_wire(f"http://127.0.0.1:{server.server_port}") as url,
        RemoteRewardClient(url) as client,
    ):
        assert not client.ready()
        [result] = client.score([Sample(id="a", response="x")], "story", run="a run", step=3)
        [asked] = server.asked  # pyright: ignore[reportAttributeAccessIssue]
    assert result.reward == 0.25
    assert asked["samples"] == [{"id": "a", "response": "x"}]
    assert asked.keys() & {"run", "step"} == set()


def test_a_run_of_a_profile_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    profile = {"name": PROFILE, "description": "", "scorers": [], "ranges": {}}
    Remembers.profiles = [profile | {"fingerprint": "9f2c"}]
    kept = {"id": "a", "prompt": "", "response": "x", "reward": 0.5, "scores": {}, "step": 1}
    line = json.dumps(kept | {"epoch": 0.0, "group": "row-0", "fingerprint": "51d0"}) + "\n"
    write = (tmp_path / "samples" / "samples_step_1.jsonl").write_text
    (tmp_path / "samples").mkdir()
    with older_server_that_remembers() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        write(line.replace("51d0", "9f2c"), encoding="utf-8")
        refuse_other_profile(tmp_path, url)
        write(line, encoding="utf-8")
        with pytest.raises(InputError, match="scored by profile 51d0, and 9f2c is served"):
            refuse_other_profile(tmp_path, url)


def test_the_page_has_the_sizes_that_are_run() -> None:
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    sizes = Sizes()
    assert f"{sizes.updates} updates of {sizes.group} responses" in page
    assert f"at most {sizes.new_tokens} new tokens" in page
    assert f"the last {sizes.last} updates" in page
    assert f"to {sizes.start} stories" in page
    assert f"multiplied by {SHORTER}" in page
    assert len(sizes.seeds) == 3


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for _, name, _ in PLACE.findall(page)] == ["measures", "paid"]
    assert filled(page) == page
