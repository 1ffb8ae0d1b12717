"""Check how several versions of TRL treat a missing reward, each in its own environment.

Rewards [1, null, 1, 0] in every group. The advantages by hand, with TRL's epsilon of 1e-4:
left out, mean 2/3 and deviation .577 of three: (.577, 0, .577, -1.155). With the group's mean in
its place, mean 2/3 and deviation .471 of four: (.707, 0, .707, -1.414). As 0, mean 1/2 and
deviation .577: (.866, -.866, .866, -.866), which teaches that the unscored response is wrong.
"""

from __future__ import annotations

import pytest

from tests.contract.peers import python_of, run_script

LEFT_OUT = [0.577, 0.0, 0.577, -1.155]
GROUP_MEAN = [0.707, 0.0, 0.707, -1.414]
AS_ZERO = [0.866, -0.866, 0.866, -0.866]


@pytest.mark.long
@pytest.mark.parametrize(
    ("environment", "version", "leaves_out"),
    [
        ("trl_0_24", "0.24.", False),
        ("trl_1_5", "1.5.", False),
        ("trl_1_6", "1.6.", True),
        ("trl_newest", "1.", True),
    ],
)
def test_a_missing_reward_is_never_a_zero(environment: str, version: str, leaves_out: bool) -> None:
    found = run_script(python_of(environment), "trl_training")
    print(environment, found)
    assert found["trl"].startswith(version)
    assert found["coroutine"] is leaves_out
    assert found["None as it is"] == [LEFT_OUT if leaves_out else AS_ZERO] * 2
    assert found["raise"]["raised"].startswith("NoReward: 2 of 8 completions have no reward")
    assert found["group_mean"]["advantages"] == [GROUP_MEAN] * 2
    for name in ("default", "default of the asyncio client", "leave_out"):
        if leaves_out:
            assert found[name]["advantages"] == [LEFT_OUT] * 2
            assert found[name]["steps"] == 2
        else:
            assert found[name].keys() == {"raised"}
    if not leaves_out:
        assert found["default"] == found["raise"]
        assert "needs TRL 1.6" in found["leave_out"]["raised"]
