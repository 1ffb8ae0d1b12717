"""The study: figures by hand, and the command with real runs, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.checkout import ROOT
from tests.trainer.conftest import GrpoFlags
from tests.waiting import PATIENCE_S, wait_until
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo import command as grpo
from touchstone_rewards.trainer.running.intervals import student, student_quantile
from touchstone_rewards.trainer.study.command import (
    StudyArguments,
    StudyConfigs,
    make_plan,
    run_of,
    updates_a_rollout,
)
from touchstone_rewards.trainer.study.figures import Curve, Run, rows_by_measure, summarize
from touchstone_rewards.trainer.study.settings import COMPARISONS, SETTINGS, Comparison
from touchstone_rewards.trainer.workflow.check import check_stages

PAIR = [Comparison("one or other", "one", "other")]


ROWS = 1000


def run_of_accuracies(*accuracies: float, rows: int = ROWS) -> Run:
    """Return a run in which the first rows are right."""
    curve = Curve([float(at) for at in range(len(accuracies))], list(accuracies), [1.0] * 3)
    right = [{str(n): float(n < each * rows) for n in range(rows)} for each in accuracies]
    return Run(curve, rows_by_measure(right))


def study_of(one: list[float], other: list[float], rows: int = ROWS) -> dict[str, Any]:
    """Return two settings with these final results, one run per seed."""
    ends = {"one": one, "other": other}
    return summarize(
        {
            name: {s: run_of_accuracies(0.1, 0.2, v, rows=rows) for s, v in enumerate(values)}
            for name, values in ends.items()
        },
        PAIR,
    )


def test_students_interval_is_that_of_the_table() -> None:
    # mean 2, standard error 1/sqrt(3), t(2) = 4.30265
    low, high = student([1.0, 2.0, 3.0]) or (0, 0)
    assert (low, high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert student([1.0]) is None
    assert [student_quantile(n) for n in (24, 60)] == pytest.approx([2.0639, 2.0003], abs=1e-3)


def test_differences_are_paired_by_seed() -> None:
    """The seeds differ by 0.4, the settings by 0.1 on each seed: only paired can they be told
    apart.
    """
    found = study_of([0.2, 0.4, 0.6], [0.1, 0.3, 0.5])
    final = found["comparisons"][0]
    assert final["difference"] == pytest.approx(0.1)
    assert final["by_seed"] == pytest.approx([0.1] * 3)
    assert final["apart"]
    low, high = found["settings"]["one"]["final"]["interval"]
    assert low < 0.1 < 0.5 < high
    assert "`one` is higher than `other`" in found["evidence"][0]


def test_what_cannot_be_told_apart_is_called_so() -> None:
    found = study_of([0.2, 0.6, 0.4], [0.4, 0.3, 0.3])
    assert not found["comparisons"][0]["apart"]
    assert "cannot be told apart at these 3 seeds" in found["evidence"][0]
    assert "above 0 in 2 of 3" in found["evidence"][0]


def test_a_lower_setting_is_named_as_the_lower_one() -> None:
    found = study_of([0.1, 0.11, 0.12], [0.5, 0.51, 0.53])
    assert "`other` is higher than `one`" in found["evidence"][0]


def test_one_row_of_difference_in_every_seed_is_no_claim() -> None:
    """Equal differences would have an interval of width 0 over seeds alone."""
    found = study_of([0.41] * 3, [0.40] * 3, rows=100)
    final = found["comparisons"][0]
    assert final["by_seed"] == pytest.approx([0.01] * 3)
    low, high = final["interval"]
    assert low < 0 < 0.01 < high
    assert not final["apart"]
    assert "cannot be told apart" in found["evidence"][0]


def test_settings_that_are_the_same_on_every_row_have_an_interval_all_the_same() -> None:
    low, high = study_of([0.5] * 3, [0.5] * 3)["comparisons"][0]["interval"]
    assert low < 0 < high


@pytest.mark.parametrize(("seeds", "said"), [(1, "one seed supports"), (2, "2 seeds support")])
def test_below_three_seeds_nothing_is_claimed(seeds: int, said: str) -> None:
    found = study_of([0.9] * seeds, [0.1] * seeds)
    assert f"{said} no claim" in found["evidence"][0]
    assert not any(each["apart"] for each in found["comparisons"])
    assert len(found["evidence"]) == len(found["comparisons"])


def test_the_whole_run_leaves_the_start_out() -> None:
    assert study_of([0.6], [0.1])["settings"]["one"]["whole_run"]["mean"] == pytest.approx(0.4)


def test_every_comparison_differs_in_one_thing() -> None:
    for each in COMPARISONS:
        this, other = SETTINGS[each.this], SETTINGS[each.other]
        assert len(this.items() ^ other.items()) == 1


@pytest.mark.parametrize(
    ("fields", "updates"),
    [
        ({}, 1),
        ({"epochs_per_rollout": 4}, 4),
        ({"gradient_accumulation_steps": 4}, 1),
        ({"steps_per_generation": 8, "gradient_accumulation_steps": 2}, 4),
    ],
)
def test_updates_are_counted_by_rollout(fields: dict[str, Any], updates: int) -> None:
    assert updates_a_rollout(fields) == updates


def test_settings_of_equal_rollouts_are_measured_at_the_same_rollouts(tmp_path: Path) -> None:
    arguments = StudyArguments(output=str(tmp_path), rollouts=10, measure_every=5)
    grpo = {"eval_dataset_name": "x", "epsilon": 0.1}
    plan = make_plan(arguments, grpo, {}, {})
    on, off = (run_of(plan, name, 0, []).fields for name in ("reference", "off_policy_no_clip"))
    assert (on["max_steps"], on["eval_steps"]) == (10, 5)
    assert (off["max_steps"], off["eval_steps"]) == (40, 20)
    assert "epsilon" in on
    assert "epsilon" not in off


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        (({}, {}, {}), "needs a section grpo"),
        (({"seed": 1}, {}, {}), "eval_dataset_name"),
        (({"eval_dataset_name": "x"}, {"a": {}}, {"q": ["a", "b"]}), "no setting b"),
    ],
)
def test_a_study_that_cannot_work_is_refused(
    sections: tuple[dict[str, Any], ...], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=complaint):
        make_plan(StudyArguments(output=str(tmp_path)), *sections)


@pytest.fixture
def config(grpo_flags: GrpoFlags, rows_file: Path, tmp_path: Path) -> Path:
    """Run two settings of one rollout each, with the tiny model."""
    own = ("output_dir", "reward_url", "max_steps", "disable_tqdm", "save_strategy")
    pairs = [flag[2:].split("=", 1) for flag in grpo_flags("")]
    grpo = {name: yaml.safe_load(value) for name, value in pairs if name not in own}
    content = {
        "output": str(tmp_path / "study"),
        "seeds": [0],
        "rollouts": 1,
        "measure_every": 1,
        "grpo": {**grpo, "eval_dataset_name": str(rows_file)},
        "settings": {"slow": {"learning_rate": 1e-4}, "fast": {"learning_rate": 1e-2}},
        "comparisons": {"slow or fast": ["fast", "slow"]},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"advantag": "none"}, "typo.seed0: unknown key 'advantag'; did you mean 'advantage'?"),
        ({"advantage": "group_sdt"}, "typo.seed0: .*group_sdt"),
        ({"learning_rate": "fast"}, "typo.seed0: .*fast"),
        ({"clip": False, "delta": 0.5}, None),
        ({"use_vllm": True, "top_p": 0.9}, "typo.seed0: .*top_p"),
    ],
)
def test_a_typo_in_the_last_setting_stops_before_the_first_run(
    config: Path, fields: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    content = yaml.safe_load(config.read_text())
    arguments = StudyArguments(output=content["output"], seeds=[0])
    settings = {**content["settings"], "typo": fields}
    plan = make_plan(arguments, content["grpo"], settings, content["comparisons"])
    stages = [run_of(plan, name, 0, []) for name in plan.settings]
    if said is None:
        check_stages(tmp_path, stages)
        return
    with pytest.raises(InputError, match=said):
        check_stages(tmp_path, stages)


@pytest.mark.long
def test_the_study_itself_asks_before_it_makes_anything(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--config", str(config), "--settings.typo={advantag: none}"]
    assert main(["study", "grpo", *flags]) == 2
    assert "typo.seed0: unknown key 'advantag'" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.long
def test_a_killed_study_goes_on_run_by_run(
    server: LiveServer, config: Path, tmp_path: Path
) -> None:
    output = tmp_path / "study"
    flags = ["study", "grpo", "--config", str(config)]
    first = subprocess.Popen(
        [sys.executable, "-m", "touchstone_rewards.trainer", *flags],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def second_run_begun() -> bool:
        assert first.poll() is None
        return (output / "fast.seed0.yaml").is_file()

    wait_until(second_run_begun)
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=PATIENCE_S)
    assert children  # the reward server at least; none outlives the study
    assert not psutil.wait_procs(children, timeout=PATIENCE_S)[1]
    done = output / "slow.seed0" / "done.json"
    made_at = done.stat().st_mtime_ns
    assert main([*flags, "--reward_url", server.url]) == 0
    assert done.stat().st_mtime_ns == made_at
    found = json.loads((output / "study.json").read_text())
    assert found["seeds"] == [0]
    for setting in found["settings"].values():
        assert [each["rollouts"] for each in setting["curves"].values()] == [[0, 1]]
    assert "slow or fast" in (output / "study.md").read_text()
    assert (output / "study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["study", "study_tiny"])
def test_the_example_studies_are_understood_by_every_run(name: str, tmp_path: Path) -> None:
    config = ["--config", str(ROOT / "trainer" / "configs" / f"{name}.yaml")]
    plan = make_plan(*parse_config(StudyConfigs, config, "trainer study grpo"))
    for setting in plan.settings:
        stage = run_of(plan, setting, 0, ["http://127.0.0.1:1"])
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({**stage.fields, **stage.hidden, "bf16": False}))
        on_cpu = ["--config", str(path), "--use_cpu=true"]
        args = parse_config(grpo.GrpoConfigs, on_cpu, "trainer grpo").args
        assert args.max_steps == plan.arguments.rollouts * updates_a_rollout(stage.fields)
