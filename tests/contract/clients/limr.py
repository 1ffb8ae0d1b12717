"""The remote reward function of LIMR's fork of OpenRLHF."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stubs import load, outcome, pretend

CHECKOUT, URL = Path(sys.argv[1]), sys.argv[2]
pretend("ray", always=["openrlhf"])
remote = load(CHECKOUT / "openrlhf/utils/remote_rm_utils.py", "remote_rm_utils")
remote.time.sleep = lambda _: None


def chat(problem: str, answer: str) -> str:
    return (
        "<|im_start|>system\nPut your answer within \\boxed{}.<|im_end|>\n"
        f"<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>"
        "<|endoftext|><|endoftext|>"
    )


known = "What is 6 + 40?"
queries = [chat(known, "#### 46"), chat(known, "#### 45")]
unknown = chat("What is 1 + 1?", "\\boxed{2}")
print(
    json.dumps(
        {
            "rewards": remote.remote_rm_fn(URL, queries).tolist(),
            "unknown": outcome(lambda: remote.remote_rm_fn(URL, [unknown])),
        }
    )
)
