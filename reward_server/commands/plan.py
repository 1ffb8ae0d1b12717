"""`reward-server plan`: estimate the cores and GPUs that the rewards of a training run need.

It computes from figures measured on one machine, which it names. Nothing is started.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from touchstone_rewards.reward_server.commands.capacity import (
    BUSY_SHARE,
    CapacityPlan,
    PlannedModel,
    cost_of,
    device_share,
    measured,
    plan,
)
from touchstone_rewards.reward_server.errors import ConfigError

# The usual numbers of devices.
DEVICES = (1, 2, 4, 8)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--samples_per_step", type=int, required=True, help="prompts per step times responses each")
    add("--step_s", type=float, required=True, help="seconds of a step without the rewards")
    add("--profile", default="math", help="the profile, or the built-in one most like yours")
    add("--samples_per_request", type=int, default=512, help="OpenRLHF and slime send 1")
    add("--share", type=float, default=0.02, help="share of a step to spend waiting for rewards")
    add(
        "--overlapped",
        action="store_true",
        help="rewards are computed while other samples are generated, in the time of a whole step",
    )
    add("--parameters", type=float, help="parameters of a reward or embedding model, e.g. 7e9")
    add("--tokens", type=float, default=1000, help="tokens of a sample for the model, with prompt")
    add(
        "--tflops",
        type=float,
        help="measured matmul rate of one device, in 1e12 operations per second; an H200 does "
        "about 700 in bf16",
    )


def run(arguments: argparse.Namespace) -> int:
    window_s = arguments.step_s * (1.0 if arguments.overlapped else arguments.share)
    known = measured()
    try:
        cost = cost_of(arguments.profile, arguments.samples_per_request)
    except KeyError:
        raise ConfigError(
            f"profile {arguments.profile!r} was not measured; use the nearest of "
            f"{', '.join(known['cost_ms'])}, or measure it: make bench BENCH=capacity"
        ) from None
    model = _model(arguments, known["model_efficiency"])
    try:
        needed = plan(arguments.samples_per_step, window_s, cost, model)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    print("\n".join(_lines(arguments, window_s, needed, model, known)))
    return 0


def _model(arguments: argparse.Namespace, efficiency: float) -> PlannedModel | None:
    if arguments.parameters is None:
        return None
    if arguments.tflops is None:
        raise ConfigError("--parameters is given without --tflops; give the rate of the device too")
    return PlannedModel(
        arguments.parameters, arguments.tokens, arguments.tflops * 1e12 * efficiency
    )


def _lines(
    arguments: argparse.Namespace,
    window_s: float,
    needed: CapacityPlan,
    model: PlannedModel | None,
    known: dict[str, object],
) -> list[str]:
    when = "while others generate" if arguments.overlapped else "after generation"
    lines = [
        f"{arguments.samples_per_step} samples in {window_s:.3g} s {when}: "
        f"{needed.samples_per_s:,.0f} samples/s",
        f"processes {needed.processes}   --processes {needed.processes}, one core each",
    ]
    if needed.worker_cores:
        workers, busy = needed.workers, needed.worker_cores
        lines.append(
            f"workers   {workers}   --workers {workers}, of all processes"
            + (f"; together they keep {busy} cores busy" if busy < workers else "")
        )
    lines.append(f"cores     {needed.cores}")
    if model:
        lines += _device_lines(arguments, needed.devices, model)
    lines.append(f"measured on {known['machine']}, {known['date']}; yours will differ")
    return lines


def _device_lines(arguments: argparse.Namespace, needed: int, model: PlannedModel) -> Iterator[str]:
    """Yield the share of a step that the model takes on the usual numbers of devices."""
    yield f"model     {model.ms:.3g} ms per sample on one device: an estimate"
    samples, step_s = arguments.samples_per_step, arguments.step_s
    for devices in DEVICES:
        share = device_share(samples, step_s, model, devices)
        fits = "" if share <= 1 else ": fewer samples, or a smaller model"
        if share <= 1 and not arguments.overlapped:
            fits = ", or none of it with --overlapped"
        yield f"devices   {devices}   {share * step_s:.3g} s, {share:.0%} of a step{fits}"
    allowed = "the whole step" if arguments.overlapped else f"{arguments.share:.0%} of a step"
    yield f"devices   {needed}   for {allowed}, at most {BUSY_SHARE:.0%} busy"
