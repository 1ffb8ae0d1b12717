"""xtuner's judger with an HTTP address in place of a function."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from pathlib import Path
from typing import Any, cast

import httpx  # pyright: ignore[reportMissingImports]
from stubs import definitions, outcome


class Judger:
    """The part of its base class that is used."""

    def __init__(self, judger_name: str) -> None:
        self.judger_name = judger_name


CHECKOUT, URL = Path(sys.argv[1]), sys.argv[2]
judger = definitions(
    CHECKOUT / "xtuner/v1/rl/judger/native.py",
    "NativeJudger",
    Judger=Judger,
    httpx=httpx,
    inspect=inspect,
    cast=cast,
    JudgerOutput=dict,
)["NativeJudger"]


def judged(response: str, label: Any) -> Any:
    it = judger(judger_name="touchstone", reward_handler=URL, extra_info={"source": "gsm8k"})
    return asyncio.run(it.judge_payload({"response": response, "label": label}))


print(
    json.dumps(
        {
            "right": judged("\\boxed{46}", "46"),
            "wrong": judged("\\boxed{45}", "46"),
            "odd_label": outcome(lambda: judged("\\boxed{46}", {"a": 1}))[:15],
        }
    )
)
