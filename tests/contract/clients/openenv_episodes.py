"""OpenEnv's own client: every task answered right and wrong."""

from __future__ import annotations

import json
import sys
from typing import Any

from openenv.core.generic_client import GenericEnvClient

URL, COUNT, ANSWERS = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
seen: list[list[Any]] = []
with GenericEnvClient(base_url=URL).sync() as environment:
    for index in range(COUNT):
        for answer in ANSWERS:
            begun = environment.reset(index=index)
            ended = environment.step({"response": answer})
            error = ended.observation["metadata"]["error"]
            seen.append([begun.observation["prompt"], answer, ended.reward, ended.done, error])
    in_order = [environment.reset().observation["index"] for _ in range(COUNT + 1)]
    twice = [environment.reset(seed=5).observation["index"] for _ in range(2)]
print(json.dumps({"seen": seen, "in_order": in_order, "twice": twice}))
