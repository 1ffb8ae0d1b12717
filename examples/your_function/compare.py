"""Compare results.jsonl with the labels in rows.jsonl."""

import json

with open("rows.jsonl") as rows, open("results.jsonl") as results:
    pairs = list(zip(map(json.loads, rows), map(json.loads, results), strict=True))
for row, result in pairs:
    expected = row["metadata"]["expected"]
    assert result["reward"] == expected, f"row {row['id']}: expected {expected}, got {result}"
print(f"{len(pairs)} of {len(pairs)} rows have the reward in their label")
