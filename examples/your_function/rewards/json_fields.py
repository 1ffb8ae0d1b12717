"""Reward an answer in JSON by the share of the expected fields that are right."""

import json


def reward(response, metadata):
    wanted = metadata.get("fields")
    if not isinstance(wanted, dict) or not wanted:
        return None, {"reason": "metadata.fields is not a mapping of fields"}
    try:
        said = json.loads(response)
    except ValueError:
        return 0.0, {"reason": "the answer is not JSON"}
    if not isinstance(said, dict):
        return 0.0, {"reason": "the answer is not an object"}
    missing = [name for name, value in wanted.items() if said.get(name) != value]
    return 1 - len(missing) / len(wanted), {"missing": missing}
