"""Reward functions of other projects: as scorers, and as their own trainers call them.

functions.py PROJECT CHECKOUT prints, for each function, what the scorer and what the direct call
made of the same samples.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.schemas import Message, Sample
from touchstone_rewards.reward_server.scorers import build_scorer

PROJECT, CHECKOUT = sys.argv[1], sys.argv[2]
if CHECKOUT:
    sys.path[:0] = [CHECKOUT, f"{CHECKOUT}/examples/python"]

PROMPT = "What is 40 + 6?"
CHAT = [Message("user", PROMPT)]
RIGHT, WRONG = "<think>\nEasy.\n</think>\nSo \\boxed{46}\n#### 46", "I guess \\boxed{45} #### 45"
REPEATED = "so it is so it is so it is so it is"
TAGGED = "<think>Easy.</think>\n<answer>46</answer>"
TEXTS = [RIGHT, WRONG, REPEATED, TAGGED]


class Case(NamedTuple):
    """A function: its name in a profile, and the call that its trainer makes for one text."""

    name: str
    direct: Callable[[Any, str], Any]
    config: Mapping[str, Any] = MappingProxyType({})
    metadata: Mapping[str, Any] = MappingProxyType({})


def message(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


VERL = "verl:verl.utils.reward_score"
SWIFT = "ms_swift:swift.rewards.orm"
REPETITION = {"repetition_n_grams": 3, "repetition_max_penalty": -1.0}
SOLUTION = {"solution": "$46$"}
CASES: dict[str, list[Case]] = {
    "trl": [
        Case(
            "trl:trl.rewards:think_format_reward",
            lambda f, text: f([message(text)])[0],
        ),
        Case(
            "trl:trl.rewards:accuracy_reward",
            lambda f, text: f([message(text)], solution=["$46$"])[0],
            metadata=SOLUTION,
        ),
        Case(
            "trl:trl.rewards:get_soft_overlong_punishment",
            lambda f, text: f(8, 4)([list(range(7))])[0],
            config={"max_completion_len": 8, "soft_punish_cache": 4},
            metadata={"completion_ids": list(range(7))},
        ),
    ],
    "verl": [
        Case(f"{VERL}.gsm8k:compute_score", lambda f, text: f(text, "46")),
        Case(
            f"{VERL}.gsm8k:compute_score",
            lambda f, text: f(text, "46", method="flexible", format_score=0.1),
            config={"method": "flexible", "format_score": 0.1},
        ),
        Case(f"{VERL}.math_reward:compute_score", lambda f, text: f(text, "46")),
        Case(f"{VERL}.math_dapo:compute_score", lambda f, text: f(text, "46")["score"]),
        Case(
            f"{VERL}:default_compute_score",
            lambda f, text: f("openai/gsm8k", text, "46", {}),
            metadata={"data_source": "openai/gsm8k"},
        ),
    ],
    "openrlhf": [
        Case(
            "openrlhf:math_reward_func:reward_func",
            lambda f, text: f([PROMPT + text], [PROMPT], ["46"])["rewards"].tolist()[0],
        ),
    ],
    "ms_swift": [
        Case(f"{SWIFT}:Format", lambda f, text: f(args=None)([text])[0]),
        Case(
            f"{SWIFT}:RepetitionPenalty",
            lambda f, text: f(args=SimpleNamespace(**REPETITION))([text])[0],
            config=REPETITION,
        ),
        Case(
            f"{SWIFT}:MathAccuracy",
            lambda f, text: f(args=None)([text], solution=["$46$"])[0],
            metadata=SOLUTION,
        ),
        Case(
            f"{SWIFT}:SoftOverlong",
            lambda f, text: f(args=SimpleNamespace(soft_max_length=8, soft_cache_length=4))(
                [text], response_token_ids=[list(range(7))]
            )[0],
            config={"soft_max_length": 8, "soft_cache_length": 4},
            metadata={"response_token_ids": list(range(7))},
        ),
    ],
    "verifiers": [
        Case(
            "verifiers:verifiers.own:think_format",
            lambda f, text: f(completion=message(text), answer="46"),
        ),
        Case(
            "verifiers:verifiers.own:correct_answer",
            lambda f, text: asyncio.run(f(completion=message(text), answer="46", parser=None)),
        ),
    ],
}


def give_verifiers_functions_names() -> None:
    """Name two of verifiers' functions in a module, since they belong to parsers and rubrics."""
    import verifiers  # pyright: ignore[reportMissingImports]

    own = type(sys)("verifiers.own")
    parser = verifiers.ThinkParser()
    own.think_format = parser.get_format_reward_func()  # type: ignore[attr-defined]
    rubric = verifiers.MathRubric()

    async def correct_answer(completion: Any, answer: str, **_: Any) -> float:
        return await rubric.correct_answer(rubric.parser, completion, answer)

    correct_answer.__module__, correct_answer.version = "verifiers.own", "1"  # type: ignore[attr-defined]
    own.correct_answer = correct_answer  # type: ignore[attr-defined]
    sys.modules["verifiers.own"] = verifiers.own = own


def scores(case: Case) -> list[float | None]:
    scorer = build_scorer(case.name, case.config)
    chat = PROJECT in ("trl", "verifiers")
    samples = [
        Sample(str(at), text, CHAT if chat else PROMPT, "46", metadata=dict(case.metadata))
        for at, text in enumerate(TEXTS)
    ]
    if scorer.runs_in == "remote":
        return [one.value for one in asyncio.run(scorer.score(samples))]
    assert scorer.runs_in == "worker"
    return [scorer.score([sample])[0].value for sample in samples]


def main() -> None:
    if PROJECT == "verifiers":
        give_verifiers_functions_names()
    found: dict[str, Any] = {}
    for at, case in enumerate(CASES[PROJECT]):
        _, module, attribute = case.name.split(":")
        function = getattr(import_module(module), attribute)
        direct = [case.direct(function, text) for text in TEXTS]
        ours = scores(case)
        found[f"{at} {module}:{attribute}"] = {"ours": ours, "theirs": list(map(float, direct))}
    print(json.dumps(found))


main()
