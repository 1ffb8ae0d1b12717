"""`reward-server plan` against numbers computed by hand, and the words of its report."""

from __future__ import annotations

import math

import pytest

from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.commands.capacity import (
    Cost,
    PlannedModel,
    device_share,
    measured,
    plan,
)


def test_cores_are_the_rate_times_the_cost_with_room_to_spare() -> None:
    # 7,000 samples in 2 s: 3,500/s. At 0.1 ms the server is busy 0.35 of a core, half of the 0.7
    # it may be; at 0.5 ms the workers are busy 1.75 cores, which takes 3.
    found = plan(7000, 2.0, Cost(server_ms=0.1, worker_ms=0.5))
    assert (found.samples_per_s, found.processes, found.worker_cores) == (3500.0, 1, 3)
    assert (found.cores, found.devices) == (4, 0)


def test_a_profile_without_workers_needs_none() -> None:
    assert plan(100_000, 1.0, Cost(0.01, 0.0)).worker_cores == 0
    assert plan(100_000, 1.0, Cost(0.01, 0.0)).processes == 2


def test_a_model_costs_two_operations_a_parameter_and_token() -> None:
    # 2 x 7e9 x 1,000 = 1.4e13 operations; at 2.8e14 a second 50 ms. 28 a second: 1.4 devices busy.
    model = PlannedModel(parameters=7e9, tokens=1000, operations_per_s=2.8e14)
    assert model.ms == pytest.approx(50)
    assert plan(280, 10.0, Cost(0.1, 0.0), model).devices == 2


def test_what_a_number_of_devices_takes_of_a_step() -> None:
    # 1,000 samples of 50 ms are 50 s: half a step of 100 s on one device, a sixteenth on eight.
    model = PlannedModel(parameters=7e9, tokens=1000, operations_per_s=2.8e14)
    assert device_share(1000, 100.0, model, 1) == pytest.approx(0.5)
    assert device_share(1000, 100.0, model, 8) == pytest.approx(0.0625)


def test_the_workers_are_those_of_all_processes(capsys: pytest.CaptureFixture[str]) -> None:
    """Each process has at least one worker, however little work there is."""
    cost = measured()["cost_ms"]["math"]["1"]
    rate = 30_000 / 1.2
    processes = math.ceil(rate * cost["server_ms"] / 1e3 / 0.7)
    busy = math.ceil(rate * cost["worker_ms"] / 1e3 / 0.7)
    assert busy < processes
    flags = ["--samples_per_step", "30000", "--step_s", "60", "--samples_per_request", "1"]
    assert main(["plan", *flags]) == 0
    printed = capsys.readouterr().out
    assert f"processes {processes}   --processes {processes}, one core each" in printed
    workers = f"workers   {processes}   --workers {processes}, of all processes"
    assert f"{workers}; together they keep {busy} cores" in printed
    assert f"cores     {processes + busy}\n" in printed


@pytest.mark.parametrize(("samples", "window_s"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_numbers_that_cannot_be_are_refused(samples: int, window_s: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        plan(samples, window_s, Cost(0.1, 0.1))


def test_the_command_says_cores_and_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--samples_per_step", "8192", "--step_s", "60", "--parameters", "7e9"]
    assert main(["plan", *flags, "--tflops", "700"]) == 0
    printed = capsys.readouterr().out
    assert "8192 samples in 1.2 s after generation: 6,827 samples/s" in printed
    # 2 x 7e9 x 1,000 operations at 7e14 x 0.49 a second are 40.8 ms; 8,192 of them 334 s.
    rate = 700e12 * measured()["model_efficiency"]
    seconds = 8192 * 1.4e13 / rate
    assert f"devices   1   {seconds:.3g} s, {seconds / 60:.0%} of a step: fewer" in printed
    assert f"devices   8   {seconds / 8:.3g} s, {seconds / 480:.0%} of a step, or none" in printed
    assert measured()["machine"] in printed
    assert main(["plan", *flags]) == 2
    assert "without --tflops" in capsys.readouterr().err
    assert main(["plan", *flags, "--tflops", "1", "--profile", "mine"]) == 2
    assert "was not measured; use the nearest of dummy" in capsys.readouterr().err
