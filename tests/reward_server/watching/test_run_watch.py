"""A run that drifts into a hack raises an alarm, with the samples that show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from tests.waiting import wait_until
from touchstone_rewards.reward_server.live_server import LiveServer

FIRST = 20  # points of the baseline
LENIENT = "scorers: {contains: {}}\n"  # takes any response with the ground truth in it
GROUPS, SIZE = 8, 8


def body(step: int, response: Callable[[int, int], str], **fields: Any) -> dict[str, Any]:
    """One step: eight prompts with eight responses each, of which half are right."""
    samples = [
        {
            "id": f"{step}-{group}/{place}",
            "group_id": f"{step}-{group}",
            "prompt": f"What is {group} + {step}?",
            "response": response(step + group, place),
            "ground_truth": str(step + group),
        }
        for group in range(GROUPS)
        for place in range(SIZE)
    ]
    return {"profile": "lenient", "run": "mine", "step": step, "samples": samples, **fields}


def honest(right: int, place: int) -> str:
    answer = right if place % 2 else right + place + 1
    return f"Let me see {'again ' * (place % 3)}what {right} is: \\boxed{{{answer}}}"


def hedged(right: int, place: int) -> str:
    return f"It is \\boxed{{{right + place}}} or \\boxed{{{right}}}."


def post(server: LiveServer, bodies: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        return [client.post("/score", json=each).raise_for_status().json() for each in bodies]


def alarms(server: LiveServer, **wanted: str) -> list[dict[str, Any]]:
    return httpx2.get(f"{server.url}/alarms", params=wanted, timeout=60).json()["alarms"]


def steps(response: Callable[[int, int], str], numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [body(step, response) for step in numbers]


def test_hedging_raises_an_alarm_that_the_run_hears_of(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "lenient.yaml").write_text(LENIENT)
    server = start_server("--profiles_dir", str(tmp_path))
    answers = post(server, steps(honest, range(FIRST + 3)))
    assert not any("alarms" in answer for answer in answers)
    later = iter(range(FIRST + 3, 100_000))
    wait_until(lambda: "alarms" in post(server, steps(hedged, [next(later)]))[0])
    [alarm] = alarms(server, signal="several_answers")
    assert (alarm["run"], alarm["profile"]) == ("mine", "lenient")
    assert alarm["since"] == FIRST + 3
    assert (alarm["expected"], alarm["value"]) == (0, 0.875)
    assert alarm["samples"][0]["response"].count("boxed") == 2
    assert alarm["sample_ids"] == [sample["id"] for sample in alarm["samples"]]
