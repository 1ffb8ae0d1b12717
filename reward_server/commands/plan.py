"""`reward-server plan`: how many cores and GPUs the rewards of a training run need.

Arithmetic over figures that were measured on one machine: it says on which. Nothing is started.
"""

from __future__ import annotations

import argparse

from touchstone_rewards.reward_server.commands.capacity import (
    CapacityPlan,
    PlannedModel,
    cost_of,
    measured,
    plan,
)
from touchstone_rewards.reward_server.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--samples_per_step", type=int, required=True, help="prompts a step times answers a prompt")
    add("--step_s", type=float, required=True, help="seconds of a step without the rewards")
    add("--profile", default="math", help="the profile, or the built-in one most like yours")
    add("--samples_per_request", type=int, default=512, help="OpenRLHF and slime send 1")
    add("--share", type=float, default=0.02, help="of a step that may go by waiting for rewards")
    add(
        "--overlapped",
        action="store_true",
        help="rewards are asked for while others generate: they have the whole step",
    )
    add("--parameters", type=float, help="of a reward or embedding model: 7e9")
    add("--tokens", type=float, default=1000, help="of a sample, prompt included, for the model")
    add(
        "--tflops",
        type=float,
        help="measured matmul rate of one device, in 1e12 operations a second; an H200 does about "
        "700 in bf16",
    )


def run(arguments: argparse.Namespace) -> int:
    window_s = arguments.step_s * (1.0 if arguments.overlapped else arguments.share)
    known = measured()
    try:
        cost = cost_of(arguments.profile, arguments.samples_per_request)
    except KeyError:
        raise ConfigError(
            f"profile {arguments.profile!r} was not measured; take the nearest of "
            f"{', '.join(known['cost_ms'])}, or measure: make bench BENCH=capacity"
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
        raise ConfigError("--parameters came without --tflops: the rate of the device is needed")
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
        f"servers   {needed.servers}   one core each"
        + ("; give the client all their URLs" if needed.servers > 1 else ""),
    ]
    if needed.worker_cores:
        each = -(-needed.worker_cores // needed.servers)
        lines.append(f"workers   {needed.worker_cores}   --workers {each} a server")
    lines.append(f"cores     {needed.cores}")
    if model:
        lines.append(f"devices   {needed.devices}   {model.ms:.3g} ms a sample: an estimate")
    lines.append(f"measured on {known['machine']}, {known['date']}; yours will differ")
    return lines
