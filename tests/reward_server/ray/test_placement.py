"""The number of workers per replica leaves room for every deployment."""

from __future__ import annotations

from typing import Any

import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.ray.placement import workers_each


@pytest.mark.parametrize(
    ("cpus", "fields", "expected"),
    [
        (8, {"scorers": 1}, 8),
        (8, {"scorers": 2}, 4),  # a plug-in beside math: each took all of them
        (8, {"scorers": 3, "models": 1}, 2),
        (8, {"scorers": 2, "replicas": 2}, 2),
        (2, {"scorers": 2}, 1),
        (64, {"scorers": 2, "workers": 4}, 4),  # no more than there are here
        (8, {"scorers": 2, "workers": 3, "chosen": True}, 3),
        (8, {"scorers": 0, "models": 2}, 8),
    ],
)
def test_cores_are_shared_out_between_deployments(
    cpus: int, fields: dict[str, Any], expected: int
) -> None:
    asked: dict[str, Any] = {"scorers": 0, "models": 0, "replicas": 1, "workers": 8}
    asked |= {"chosen": False} | fields
    found = workers_each(cpus, **asked)
    assert found == expected
    assert found * asked["scorers"] * asked["replicas"] <= cpus - asked["models"]


@pytest.mark.parametrize(
    ("fields", "takes"),
    [
        ({"scorers": 3}, 3),
        ({"scorers": 1, "models": 2}, 3),
        ({"scorers": 2, "workers": 2, "chosen": True}, 4),
        ({"scorers": 1, "replicas": 3}, 3),
    ],
)
def test_what_finds_no_place_is_refused_with_what_to_do(fields: dict[str, Any], takes: int) -> None:
    asked: dict[str, Any] = {"models": 0, "replicas": 1, "workers": 2, "chosen": False} | fields
    with pytest.raises(ConfigError, match=rf"has 2 CPUs, .* take {takes}: lower workers or"):
        workers_each(2, **asked)
