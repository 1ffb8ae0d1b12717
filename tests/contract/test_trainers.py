"""The trainers' own client code against a live server.

Set TOUCHSTONE_CONTRACT to a folder that holds checkouts under the names of their repositories
(OpenRLHF, slime, miles, LLaMA-Factory, nemo-gym, verl, python-sdk, EasyR1, ms-swift, LIMR, xtuner,
ROLL, AReaL, open-instruct, rllm, tunix, tinker-cookbook, SkyRL, torchtitan, axolotl), or their
unpacked wheels. Each client runs in an environment of its own, which `environments/make.sh` makes.
What is not there skips its test and says how to get it; a library that is missing in an environment
is a failure, because its requirements are wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT, live_server
from tests.contract.peers import python_of, run_script
from touchstone_rewards.reward_server.live_server import LiveServer, free_port

ADAPTERS = ROOT / "clients" / "adapters"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("contract")
    truths = folder / "truths.jsonl"
    truths.write_text('{"prompt": "What is 6 + 40?", "ground_truth": "46"}\n')
    config = folder / "server.yaml"
    config.write_text(
        f"compat_ground_truths: {truths}\ncompat_profiles: {{vllm: format, sglang: format}}\n"
    )
    live = live_server(folder / "log", "--config", str(config)).start()
    yield live
    live.kill()


def run_client(script: str, repository: str, server: LiveServer, *arguments: str) -> Any:
    """Return the last line that `clients/SCRIPT.py CHECKOUT *arguments` printed, as JSON."""
    folder = os.environ.get("TOUCHSTONE_CONTRACT")
    if not folder:
        pytest.skip("TOUCHSTONE_CONTRACT names no folder of trainers' checkouts")
    checkout = Path(folder).absolute() / repository
    if not checkout.is_dir():
        pytest.skip(f"there is no checkout of {repository} in {folder}")
    python = python_of(script)
    return run_script(python, script, str(checkout), *arguments, REWARD_URL=server.url)


def test_openrlhf_makes_experiences_of_our_answers(server: LiveServer) -> None:
    url = f"{server.url}/compat/openrlhf/get_reward"
    found = run_client("openrlhf", "OpenRLHF", server, url, str(ADAPTERS / "openrlhf.py"))
    assert found["right"]["reward"] == found["right"]["score"] == found["right"]["math"] == [1.0]
    assert found["wrong"]["reward"] == [0.0]
    assert found["two_urls"]["reward"] == [1.0]
    assert found["no_label"]["reward"] is None
    assert found["other_profile"]["format"] == [1.0]
    assert found["python_form"]["reward"] == found["python_form"]["math"] == [1.0]


def test_limr_gets_ground_truths_from_our_file_and_an_exception_without(
    server: LiveServer,
) -> None:
    found = run_client("limr", "LIMR", server, f"{server.url}/compat/limr/get_reward")
    assert found["rewards"] == [1.0, 0.0]
    assert found["unknown"].startswith("Exception: Request error for 5 times")


@pytest.mark.parametrize(("repository", "retries"), [("slime", 9), ("miles", 0)])
def test_slime_and_miles_take_the_body_for_the_reward(
    server: LiveServer, repository: str, retries: int
) -> None:
    found = run_client("slime", repository, server, f"{server.url}/compat/slime", repository)
    assert found == {
        "right": 1.0,
        "wrong": 0.0,
        "by_key": 1.0,
        "component": 0.0,
        "no_label": f"ClientResponseError: 422 after {retries} retries",
    }


def test_xtuners_judger_reads_the_flat_dict(server: LiveServer) -> None:
    url = f"{server.url}/compat/slime/rm_dict?profile=math"
    found = run_client("xtuner", "xtuner", server, url)
    assert found["right"] == {"math": 1.0, "score": 1.0}
    assert found["wrong"] == {"math": 0.0, "score": 0.0}
    assert found["odd_label"] == "HTTPStatusError"


def test_llamafactory_gets_scores_and_stops_without_them(server: LiveServer) -> None:
    url = f"{server.url}/compat/llamafactory/v1/score/evaluation"
    found = run_client("llamafactory", "LLaMA-Factory", server, url)
    assert found == {
        "batch": [1.0, 0.0],
        "truths_by_question": [1.0, 0.0],
        "no_reward": "KeyError: 'scores'",
    }


def test_a_nemo_gym_rollout_ends_with_our_reward(server: LiveServer) -> None:
    app = str(ROOT / "docs" / "launch" / "nemo_gym" / "app.py")
    found = run_client("nemo_gym", "nemo-gym", server, server.url, app, str(free_port()))
    row = {"question": "What is 6 + 40?", "_ng_task_index": 7}
    assert found["right"] == {"reward": 1.0, "reward_components": {"math": 1.0}, "math": 1.0, **row}
    assert found["wrong"] == {"reward": 0.0, "reward_components": {"math": 0.0}, "math": 0.0, **row}
    assert found["no_answer"] == {"error": "ClientResponseError: 500"}


def test_verl_reads_both_engines_formats_and_our_compute_score(server: LiveServer) -> None:
    address = f"{server.url.removeprefix('http://')}/compat"
    found = run_client("verl", "verl", server, address, server.url)
    assert (found["vllm"], found["sglang"]) == (1.0, 0.0)
    assert found["custom"]["rewards"] == found["custom"]["score"] == [1.0, 0.0]
    assert found["custom"]["format"] == [1.0, 0.0]
    assert found["awaited"] == found["custom"]
    assert found["odd_truths"] == [1.0, 1.0, -1.0]
    assert found["unscorable"] == "NoReward:"
    assert found["constant"] == [1.0, -1.0]
    assert found["rate_limited"] == [1.0, 1.0]
    # verl fails to make a tensor of the reason. An exception would have become a reward of 0.
    assert found["rate_limited_unscorable"] == ["ValueError: too many dimensions 'str'"] * 2


def test_easyr1_puts_overall_on_the_last_token(server: LiveServer) -> None:
    found = run_client("easyr1", "EasyR1", server, server.url, str(ADAPTERS / "easyr1.py"))
    assert found["batch"]["rewards"] == found["batch"]["overall"] == [1.0, 0.0]
    assert found["unscorable"] == "NoReward:"
    assert found["constant"] == [-1.0]


def test_ms_swift_fills_its_matrix_of_rewards(server: LiveServer) -> None:
    found = run_client("ms_swift", "ms-swift", server, server.url)
    assert found["batch"] == found["awaited"] == [[1.0], [0.0]]
    assert found["unscorable"] == "NoReward:"
    assert found["constant"] == [[1.0], [-1.0]]


def test_roll_submits_and_polls_and_has_no_number_for_a_missing_reward(
    server: LiveServer,
) -> None:
    launch = str(ROOT / "docs" / "launch")
    found = run_client("roll", "ROLL", server, server.url, launch)
    assert found["batch"] == found["with_our_worker"] == [1.0, 0.0]
    assert found["unscorable"] == "TypeError: must be real number, not str"
    assert "unknown_profile" in found["misspelt_profile"]
    # ROLL's own handling of an unreachable server, and that of the launch file.
    assert (found["no_server"], found["tries"]) == ([0.0], 20)
    assert found["no_server_with_our_worker"].startswith("RuntimeError: no reward for row-0")
    assert "bad_ground_truth" in found["unscorable_with_our_worker"]


def test_eval_protocol_gets_results_that_its_types_accept(server: LiveServer) -> None:
    url = f"{server.url}/compat/eval_protocol/evaluate"
    found = run_client("eval_protocol", "python-sdk", server, url)
    assert found["remote"] == [1.0, {"math": 1.0}]
    assert found["preview"] == [0.0, True, "score 0"]
    assert found["unscorable"].startswith("HTTPError")


OF_TEXTS = [
    ("areal", "AReaL", {"its_time_out": 0, "in_its_workers": True}),
    ("open_instruct", "open-instruct", {}),
    ("rllm", "rllm", {}),
    ("tunix", "tunix", {"a_none_of_another": [0.0]}),
    ("tinker_cookbook", "tinker-cookbook", {}),
    ("skyrl", "SkyRL", {}),
    ("torchtitan", "torchtitan", {"no_answer": "NoReward:", "its_error_reward": [1.0, -2.0]}),
]


@pytest.mark.parametrize(("project", "repository", "others"), OF_TEXTS)
def test_a_trainer_holds_our_reward_and_no_number_for_a_missing_one(
    server: LiveServer, project: str, repository: str, others: dict[str, Any]
) -> None:
    launch = str(ROOT / "docs" / "launch")
    found = run_client("texts", repository, server, project, server.url, launch)
    assert found.pop("batch") == [1.0, 0.0]
    assert found.pop("unscorable").startswith("NoReward: sample 0 has no reward")
    assert found.pop("constant") == -1.0
    assert found == others


def test_axolotl_finds_a_trl_reward_by_its_dotted_name(server: LiveServer) -> None:
    launch = str(ROOT / "docs" / "launch")
    found = run_client("texts", "axolotl", server, "axolotl", server.url, launch)
    assert found == {"batch": [1.0, 0.0], "unscorable": [1.0, None]}
