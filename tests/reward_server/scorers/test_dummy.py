from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_callable


def test_the_score_depends_on_the_response_and_the_seed_alone() -> None:
    samples = [Sample("a", "x"), Sample("b", "x", ground_truth="1"), Sample("c", "y")]
    values = [score.value for score in build_callable("dummy", {}).score(samples)]
    assert values[0] == values[1] != values[2]
    assert build_callable("dummy", {"seed": 7}).score(samples)[0].value != values[0]


def test_scores_spread_over_the_unit_interval() -> None:
    samples = [Sample(str(i), str(i)) for i in range(2000)]
    values = [score.value or 0.0 for score in build_callable("dummy", {}).score(samples)]
    assert all(0 <= value < 1 for value in values)
    assert sum(values) / len(values) == pytest.approx(0.5, abs=0.03)  # 4.6 standard errors


@pytest.mark.parametrize("config", [{"seed": -1}, {"seed": "a"}, {"colour": 1}])
def test_a_wrong_config_is_refused(config: dict) -> None:
    with pytest.raises(ConfigError, match="dummy"):
        build_callable("dummy", config)
