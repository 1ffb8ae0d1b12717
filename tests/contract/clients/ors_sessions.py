"""openreward's own client: every task answered right and wrong, and a group of both."""

from __future__ import annotations

import json
import sys
from typing import Any

from openreward import OpenReward
from openreward.api.environments.client import ScoreGroupFailed
from openreward.environments import Message, TextBlock

URL, KEY, NAME, ANSWERS = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
environment = OpenReward(api_key=KEY).environments.get(name=NAME, base_url=URL)
tasks = environment.list_tasks(split="train")
seen: list[list[Any]] = []
groups: list[Any] = []
for task in tasks:
    for answer in ANSWERS:
        with environment.session(task=task) as session:
            prompt = session.get_prompt()[0].text
            output = session.call_tool("submit", {"response": answer})
            code = ((output.metadata or {}).get("error") or {}).get("code")
            seen.append([prompt, answer, output.reward, output.finished, code])
    with environment.session(task=task) as session:
        candidates = [
            [Message(role="assistant", blocks=[TextBlock(text=answer)])] for answer in ANSWERS
        ]
        try:
            groups.append([score.reward for score in session.score_group(candidates)])
        except ScoreGroupFailed as error:
            groups.append(f"{type(error).__name__}: {error}")
print(json.dumps({"seen": seen, "groups": groups, "tasks": [t.task_spec for t in tasks]}))
