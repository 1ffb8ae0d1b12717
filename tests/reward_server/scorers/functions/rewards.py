"""Reward functions of all forms, for the tests."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
from collections.abc import Callable
from typing import Any

import numpy

__all__ = ["os", "subprocess"]  # imported, and no reward functions


def short_enough(response: str, most_chars: int = 10) -> tuple[bool, dict[str, int]]:
    return len(response) <= most_chars, {"chars": len(response)}


def reads_all(
    response: str,
    ground_truth: Any,
    prompt: Any,
    metadata: dict[str, Any],
    signals: Any,
    group_id: str,
) -> tuple[float, dict[str, Any]]:
    return 1.0, {"saw": [response, ground_truth, prompt, metadata, signals, group_id]}


def batch(responses: list[str], ground_truths: list[Any], bonus: float = 0.0) -> Any:
    return numpy.array([float(r == t) for r, t in zip(responses, ground_truths, strict=True)]) + (
        bonus
    )


def of_a_kind(response: str) -> Any:
    """Return, raise or hang as the response says."""
    kinds: dict[str, Any] = {
        "none": None,
        "none, told": (None, {"why": "no verdict"}),
        "true": True,
        "numpy": numpy.float32(0.5),
        "pair": (0.25, {"why": "a quarter"}),
        "text": "1.0",
        "nan": float("nan"),
        "list": [1.0],
    }
    if response == "raise":
        raise KeyError("gold")
    if response == "hang":
        while True:
            pass
    if response == "memory":
        return float(len(bytearray(2**28)))
    return kinds.get(response, 1.0)


def told_sizes(responses: list[str], ground_truths: list[Any]) -> list[Any]:
    """Return the ground truths and their number; do as the responses say."""
    for response in responses:
        if response == "die":
            os._exit(1)
        of_a_kind(response)
    told = {"together": len(responses)}
    return [
        (None if r == "none" else t, told) for r, t in zip(responses, ground_truths, strict=True)
    ]


def wrong_count(responses: list[str]) -> list[float]:
    return [1.0] * (len(responses) + 1)


def needs_weight(response: str, weight: float) -> float:
    return weight * len(response)


def mixed(responses: list[str], ground_truth: Any) -> list[float]:
    return [0.0] * len(responses)


def reads_nothing(most: int = 3) -> float:
    return float(most)


def nameless(response: str, /) -> float:
    return 0.0


def versioned(response: str) -> float:
    return float(len(response))


versioned.version, versioned.range = "7", (0.0, 9.0)  # pyright: ignore[reportFunctionMemberAccess]


def share(response: str, group: list[str]) -> float:
    return group.count(response) / len(group)


def shares(responses: list[str], group: list[str]) -> list[float]:
    return [group.count(each) / len(group) for each in responses]


async def awaited(response: str, ground_truth: Any, wait_s: float = 0.0) -> bool | None:
    await asyncio.sleep(wait_s if response != "hang" else 60)
    return None if ground_truth is None else response == ground_truth


class Threshold:
    """A callable object."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, response: str) -> bool:
        return len(response) < self.most


below_four = Threshold(4)


def loud(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return called


@loud
def decorated(response: str, most: int = 3) -> bool:
    return len(response) <= most


def trl_text(completions: list[str], prompts: list[str], gt_answer: list[str], **_: Any) -> Any:
    return [float(c == a) for c, a in zip(completions, gt_answer, strict=True)]


def trl_keyword(completions: Any, **kwargs: Any) -> list[float | None]:
    texts = [each if isinstance(each, str) else each[0]["content"] for each in completions]
    return [float(c == a) for c, a in zip(texts, kwargs["answer"], strict=True)]


def trl_made(longest: int) -> Callable[..., list[float]]:
    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(len(each) <= longest) for each in completions]

    return reward


async def trl_async(completions: list[str], solution: list[str], **_: Any) -> list[float | None]:
    await asyncio.sleep(0)
    return [None if s == "?" else float(c == s) for c, s in zip(completions, solution, strict=True)]


def easyr1_batch(
    reward_inputs: list[dict[str, Any]], weight: float = 0.1
) -> list[dict[str, float]]:
    return [
        {"overall": weight * (one["response"] == one["ground_truth"]), "length": float(len(one))}
        for one in reward_inputs
    ]


def easyr1_one(reward_input: dict[str, Any]) -> dict[str, float]:
    return {"overall": reward_input["response_length"] / 2}


class SwiftReward:
    """A reward of ms-swift with parameters of its own, as in its version 3."""

    def __init__(self, least: int = 3) -> None:
        self.least = least

    def __call__(self, completions: list[str], target: list[dict[str, int]], **_: Any) -> list[int]:
        return [
            int(len(text) >= self.least) * truth["worth"]
            for text, truth in zip(completions, target, strict=True)
        ]


class LastLine:
    def parse_answer(self, completion: list[dict[str, str]]) -> str:
        return completion[-1]["content"].splitlines()[-1]


parser = LastLine()


def verifiers_parsed(parser: Any, completion: Any, answer: Any, **_: Any) -> float:
    return float(parser.parse_answer(completion) == answer)
