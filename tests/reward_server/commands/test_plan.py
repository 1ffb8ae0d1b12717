"""The calculator against numbers worked out by hand, and its command's words."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.commands.capacity import Cost, PlannedModel, measured, plan


def test_cores_are_the_rate_times_the_cost_with_room_to_spare() -> None:
    # 7,000 samples in 2 s: 3,500/s. At 0.1 ms the server is busy 0.35 of a core, half of the 0.7
    # it may be; at 0.5 ms the workers are busy 1.75 cores, which takes 3.
    found = plan(7000, 2.0, Cost(server_ms=0.1, worker_ms=0.5))
    assert (found.samples_per_s, found.servers, found.worker_cores) == (3500.0, 1, 3)
    assert (found.cores, found.devices) == (4, 0)


def test_a_profile_without_workers_needs_none() -> None:
    assert plan(100_000, 1.0, Cost(0.01, 0.0)).worker_cores == 0
    assert plan(100_000, 1.0, Cost(0.01, 0.0)).servers == 2


def test_a_model_costs_two_operations_a_parameter_and_token() -> None:
    # 2 x 7e9 x 1,000 = 1.4e13 operations; at 2.8e14 a second 50 ms. 28 a second: 1.4 devices busy.
    model = PlannedModel(parameters=7e9, tokens=1000, operations_per_s=2.8e14)
    assert model.ms == pytest.approx(50)
    assert plan(280, 10.0, Cost(0.1, 0.0), model).devices == 2


@pytest.mark.parametrize(("samples", "window_s"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_numbers_that_cannot_be_are_refused(samples: int, window_s: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        plan(samples, window_s, Cost(0.1, 0.1))


def test_the_command_says_cores_and_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--samples_per_step", "8192", "--step_s", "60", "--parameters", "7e9"]
    assert main(["plan", *flags, "--tflops", "700"]) == 0
    printed = capsys.readouterr().out
    assert "8192 samples in 1.2 s after generation: 6,827 samples/s" in printed
    assert "devices" in printed
    assert measured()["machine"] in printed
    assert main(["plan", *flags]) == 2
    assert "without --tflops" in capsys.readouterr().err
    assert main(["plan", *flags, "--tflops", "1", "--profile", "mine"]) == 2
    assert "was not measured; take the nearest of dummy" in capsys.readouterr().err
