"""Write pairs in which the answer that helps is preferred: train.jsonl and test.jsonl."""

import json
import random

TASKS = ["boil an egg", "fix a tyre", "fold a shirt", "plant a tree", "tie a knot", "clean a pan"]
HELPS = ["First get what you need, then go step by step.", "Start slowly and check each step."]
REFUSES = ["No idea.", "Ask someone else.", "I would rather not.", "Whatever."]
random.seed(0)
for name, count in (("train", 48), ("test", 16)):
    with open(f"{name}.jsonl", "w") as file:
        for _ in range(count):
            question = f"How do I {random.choice(TASKS)}?"
            row = {
                "prompt": [{"role": "user", "content": question}],
                "chosen": [{"role": "assistant", "content": random.choice(HELPS)}],
                "rejected": [{"role": "assistant", "content": random.choice(REFUSES)}],
            }
            file.write(json.dumps(row) + "\n")
