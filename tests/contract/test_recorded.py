"""Requests of each trainer's client, recorded byte for byte, and the body that it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.checkout import live_server
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer

RECORDED = Path(__file__).with_name("recorded")
BEFORE = {"content-type": "application/json"}
NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))


def recording(name: str) -> dict[str, Any]:
    """`path`: the route; `body`: the bytes sent; `answer`: the answer that the trainer must get."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def post(server: LiveServer, path: str, body: str) -> httpx2.Response:
    return httpx2.post(f"{server.url}/compat/{path}", content=body.encode(), headers=BEFORE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("compat")
    truths = folder / "truths.jsonl"
    truths.write_text(
        '{"id": "gsm8k-12", "ground_truth": "46"}\n\n'
        '{"prompt": "What is 6 + 40?", "ground_truth": 46}\n'
    )
    live = live_server(folder / "log", "--compat-ground-truths", str(truths)).start()
    yield live
    live.kill()


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_request_gets_what_its_trainer_reads(server: LiveServer, name: str) -> None:
    recorded = recording(name)
    answer = post(server, recorded["path"], recorded["body"])
    assert answer.status_code == 200, answer.text
    assert _without_what_varies(answer.json()) == recorded["answer"]


def _without_what_varies(answer: Any) -> Any:
    if not isinstance(answer, dict):
        return answer
    return {name: value for name, value in answer.items() if name not in ("id", "created")}


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        (
            "openrlhf/get_reward",
            '{"query": [], "prompts": [], "labels": []}',
            {"rewards": [], "scores": [], "extra_logs": {}},
        ),
        ("limr/get_reward", '{"query": []}', {"rewards": []}),
        ("rewards", '{"sample_ids": [], "queries": [], "responses": []}', {"rewards": []}),
    ],
)
def test_empty_lists_get_empty_lists(
    server: LiveServer, path: str, body: str, answer: dict[str, Any]
) -> None:
    found = post(server, path, body)
    assert (found.status_code, found.json()) == (200, answer)


# One request a format whose sample has no ground truth, so that the math profile cannot score it.
UNSCORABLE: dict[str, str] = {
    "openrlhf/get_reward": '{"query": ["ab"], "prompts": ["a"], "labels": [null]}',
    "limr/get_reward": '{"query": ["\\\\boxed{4}"]}',
    "slime/rm": '{"prompt": "a", "response": "b", "label": null}',
    "slime/rm_dict": '{"prompt": "a", "response": "b", "label": null}',
    "llamafactory/v1/score/evaluation": '{"model": "model", "messages": ["b"]}',
    "nemo_gym/verify": '{"responses_create_params": {"input": "a"}, "response": {"output": []}}',
    "vllm/classify": '{"model": "m", "input": "b", "use_activation": false}',
    "vllm/pooling": '{"messages": [{"role": "assistant", "content": "b"}]}',
    "sglang/v1/embeddings": '{"model": "m", "input": "b"}',
    "eval_protocol/evaluate": '{"messages": [{"role": "assistant", "content": "b"}]}',
    "rewards": '{"sample_ids": ["x"], "queries": ["q"], "responses": ["b"]}',
}


@pytest.mark.parametrize("path", UNSCORABLE)
def test_without_a_reward_no_number_is_sent(server: LiveServer, path: str) -> None:
    answer = post(server, path, UNSCORABLE[path])
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "no_reward"
    assert "bad_ground_truth" in error["message"]
    assert "compat_null_rewards" in error["message"]


def test_a_constant_stands_for_null_only_where_the_operator_said_so(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    names = ("openrlhf", "limr", "slime", "nemo_gym", "eval_protocol", "rewards")
    config = tmp_path / "server.yaml"
    config.write_text(f"compat_null_rewards: {json.dumps(dict.fromkeys(names, -0.5))}\n")
    server = start_server("--config", str(config))
    answers = {path: post(server, path, body) for path, body in UNSCORABLE.items()}
    said = {path: answer.json() for path, answer in answers.items() if answer.status_code == 200}
    assert said["openrlhf/get_reward"] == {
        "rewards": [-0.5],
        "scores": [0.0],
        "extra_logs": {"math": [-0.5], "no_reward": [1.0]},
    }
    assert said["limr/get_reward"] == said["rewards"] == {"rewards": [-0.5]}
    assert said["slime/rm"] == -0.5
    assert said["slime/rm_dict"] == {"math": -0.5, "score": -0.5}
    assert said["nemo_gym/verify"]["reward"] == -0.5
    assert said["nemo_gym/verify"]["_ng_failure_class"] == "no_reward"
    assert said["eval_protocol/evaluate"]["is_score_valid"] is False
    assert said["eval_protocol/evaluate"]["error"].startswith("bad_ground_truth")
    refused = {path for path, answer in answers.items() if answer.status_code == 422}
    assert refused == set(UNSCORABLE) - set(said)
    assert {"llamafactory/v1/score/evaluation", "vllm/classify"} <= refused


def roll_result(server: LiveServer, profile: str, truth: str | None) -> dict[str, Any]:
    """Return ROLL's result for a task that it submits and then polls."""
    body = json.dumps({"response": "\\boxed{4}", "reward_info": {"ground_truth": truth}})
    submitted = post(server, f"roll/submit_task?profile={profile}", body)
    assert submitted.json()["errcode"] == 0
    asked = {"reward_request_id": submitted.json()["reward_request_id"]}
    return httpx2.request("GET", f"{server.url}/compat/roll/task_result", json=asked).json()


def test_rolls_id_is_the_result_or_the_reason_why_there_is_none(server: LiveServer) -> None:
    right = roll_result(server, "math", "4")
    assert (right["errcode"], right["reward_score"]) == (0, 1.0)
    assert right["dimention_reward_score"] == {"math": {"score": 1.0}}
    for profile, truth, why in (
        ("math", None, "no_reward: .*bad_ground_truth"),
        ("nope", "4", "unknown_profile: .*nope"),
    ):
        found = roll_result(server, profile, truth)
        assert re.match(why, found["reward_score"])
    foreign = {"reward_request_id": "ü of another server"}
    found = httpx2.request("GET", f"{server.url}/compat/roll/task_result", json=foreign).json()
    assert found["reward_score"].startswith("no_reward: no task of this server")
    misspelt = post(server, "roll/submit_task?profil=math", '{"response": "4"}').json()
    asked = {"reward_request_id": misspelt["reward_request_id"]}
    found = httpx2.request("GET", f"{server.url}/compat/roll/task_result", json=asked).json()
    assert found["reward_score"].endswith("expected ?profile=NAME")


@pytest.mark.parametrize("query", ["profil=format", "profile=math&x=1", "profile=a&profile=b"])
def test_a_query_string_that_is_not_understood_is_not_ignored(
    server: LiveServer, query: str
) -> None:
    answer = post(server, f"vllm/classify?{query}", '{"input": "b"}')
    assert answer.status_code == 422
    assert f"got the query string ?{query}; expected ?profile=NAME" in answer.text


def test_a_misspelt_route_is_told_the_nearest(server: LiveServer) -> None:
    answer = post(server, "openrlhf/get_rewards", "{}")
    assert answer.status_code == 404
    assert "did you mean /compat/openrlhf/get_reward?" in answer.json()["error"]["message"]


def test_the_profile_comes_from_the_url_then_from_the_settings(
    start_server: Callable[..., LiveServer],
) -> None:
    server = start_server(REWARD_COMPAT_PROFILES='{"vllm": "format"}')
    body = json.dumps({"model": "m", "input": "<think>x</think><answer>4</answer><|im_end|>"})
    assert post(server, "vllm/classify", body).json()["data"][0]["probs"] == [0.5]
    assert post(server, "vllm/classify?profile=math", body).status_code == 422
    unknown = post(server, "vllm/classify?profile=nope", body)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_profile")


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("REWARD_COMPAT_PROFILES", '{"verl": "math"}', "unknown format verl"),
        ("REWARD_COMPAT_PROFILES", '{"vllm": "nope"}', "unknown profile 'nope' for vllm"),
        ("REWARD_COMPAT_NULL_REWARDS", '{"opnrlhf": 0}', "unknown format opnrlhf"),
        ("REWARD_COMPAT_GROUND_TRUTHS", "/no/such/file", "cannot read /no/such/file"),
    ],
)
def test_a_setting_that_means_nothing_refuses_to_start(
    tmp_path: Path, variable: str, value: str, complaint: str
) -> None:
    server = live_server(tmp_path / "log", **{variable: value}).start(wait=False)
    assert server.process is not None
    assert server.process.wait(timeout=PATIENCE_S) == 2
    assert complaint in server.log.read_text()


LONG = "Answer in one line, and put the answer in a box. What is 6 + 40? "


def test_a_query_that_does_not_hold_its_prompt_has_no_reward(
    server: LiveServer, start_server: Callable[..., LiveServer]
) -> None:
    asked = {"query": ["something else", LONG + "\\boxed{46}", LONG[20:] + "\\boxed{46}"]}
    body = json.dumps({**asked, "prompts": [LONG] * 3, "labels": ["46"] * 3})
    answer = post(server, "openrlhf/get_reward", body)
    assert answer.status_code == 422
    assert "query 0 does not contain its prompt" in answer.json()["error"]["message"]
    lenient = start_server(REWARD_COMPAT_NULL_REWARDS='{"openrlhf": -0.5}')
    found = post(lenient, "openrlhf/get_reward", body).json()
    assert found["rewards"] == [-0.5, 1.0, 1.0]
    assert found["extra_logs"]["no_reward"] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("label", "status"), [({"target": ["46"]}, 200), ({"a": 1}, 422), (True, 422)]
)
def test_a_label_may_be_anything_a_dataset_has(server: LiveServer, label: Any, status: int) -> None:
    asked = {"prompt": "a", "response": "\\boxed{46}", "label": label}
    answer = post(server, "slime/rm", json.dumps(asked))
    assert answer.status_code == status
    assert answer.json() == 1.0 if status == 200 else "bad_ground_truth" in answer.text
    asked = {"query": ["a\\boxed{46}"], "prompts": ["a"], "labels": [label]}
    assert post(server, "openrlhf/get_reward", json.dumps(asked)).status_code == status


@pytest.mark.parametrize("odd", [True, {"id": 7, "parts": []}, [None], None])
def test_a_good_expected_answer_saves_a_gym_row_whose_answer_is_odd(
    server: LiveServer, odd: Any
) -> None:
    part = {"type": "output_text", "text": "\\boxed{46}"}
    output = [{"type": "message", "role": "assistant", "content": [part]}]
    row = {"responses_create_params": {"input": "a"}, "response": {"output": output}}
    for names in (
        ("expected_answer", "answer"),
        ("answer", "ground_truth"),
        ("answer", "expected_answer"),
    ):
        body = json.dumps({**row, names[0]: odd, names[1]: "46"})
        answer = post(server, "nemo_gym/verify", body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["reward"] == 1.0
        assert answer.json()[names[0]] == odd


def test_a_scorer_called_like_another_number_of_the_answer_is_refused(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    names = ("score", "no_reward", "reward", "fine")
    for name in names:
        (tmp_path / f"with_{name}.yaml").write_text(f"scorers:\n  {name}: {{scorer: dummy}}\n")
    server = start_server("--profiles_dir", str(tmp_path))

    def status(path: str, name: str) -> int:
        return post(server, f"{path}?profile=with_{name}", UNSCORABLE[path]).status_code

    clashes = {("slime/rm_dict", "score"), ("openrlhf/get_reward", "no_reward")}
    clashes.add(("nemo_gym/verify", "reward"))
    for path in ("slime/rm", "slime/rm_dict", "openrlhf/get_reward", "nemo_gym/verify"):
        for name in names:
            assert status(path, name) == (422 if (path, name) in clashes else 200), (path, name)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("openrlhf/get_reward", '{"query": ["a", "b"], "prompts": ["a"], "labels": ["1"]}'),
        ("rewards", '{"sample_ids": ["1"], "queries": [], "responses": ["a"]}'),
        ("eval_protocol/evaluate", '{"messages": [{"role": "user", "content": "a"}]}'),
        ("eval_protocol/evaluate", '{"messages": []}'),
        ("vllm/classify", "[]"),
        ("vllm/pooling", '{"model": "m"}'),
        ("vllm/pooling", '{"input": "a", "messages": []}'),
        ("vllm/pooling", '{"input": "a", "task": "token_classify"}'),
    ],
)
def test_a_body_that_does_not_fit_is_refused(server: LiveServer, path: str, body: str) -> None:
    answer = post(server, path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 6 + 40?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def test_llamafactorys_text_is_split_so_that_rules_judge_the_response(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    truths = tmp_path / "truths.jsonl"
    truths.write_text('{"prompt": "What is 6 + 40?", "ground_truth": "46"}\n')
    server = start_server(REWARD_COMPAT_GROUND_TRUTHS=str(truths))
    texts = [CHATML + "It is \\boxed{46}.<|im_end|>", CHATML + "\\boxed{45}<|im_end|>"]
    path = "llamafactory/v1/score/evaluation"
    found = post(server, path, json.dumps({"messages": texts})).json()["scores"]
    assert found == post(server, "limr/get_reward", json.dumps({"query": texts})).json()["rewards"]
    assert found == [1.0, 0.0]
    # The tags that the prompt asks for are not the response's answer.
    asked = CHATML.replace("Be brief.", "Write <think>…</think><answer>\\boxed{…}</answer>.")
    body = json.dumps({"messages": [asked + "46"]})
    assert post(server, f"{path}?profile=format", body).json()["scores"] == [0.0]


TURNS = [{"role": "user", "content": "What is 6 + 40?"}]
FEW_SHOT = [*TURNS, {"role": "assistant", "content": "\\boxed{46}"}, *TURNS]


@pytest.mark.parametrize(
    ("prompt", "truth", "score"),
    [
        (TURNS, TURNS, None),  # the client's own default: the turns before the answer
        (FEW_SHOT, FEW_SHOT, None),
        (TURNS, [{"role": "user", "content": "46"}], None),
        (
            TURNS,
            [{"role": "system", "content": "46"}, {"role": "assistant", "content": None}],
            None,
        ),
        (TURNS, [{"role": "assistant", "content": [{"type": "text", "text": "46"}]}], 1.0),
        (TURNS, [{"role": "assistant", "content": "\\boxed{46}"}, *TURNS], 1.0),
        (TURNS, ["45", "46"], 1.0),
        (TURNS, {"target": "46"}, 1.0),
        (TURNS, True, None),
        (TURNS, [], None),
    ],
)
def test_of_eval_protocols_turns_only_an_assistants_is_an_answer(
    server: LiveServer, prompt: Any, truth: Any, score: float | None
) -> None:
    said = {"role": "assistant", "content": "\\boxed{46}"}
    body = json.dumps({"messages": [*prompt, said], "ground_truth": truth})
    answer = post(server, "eval_protocol/evaluate", body)
    if score is None:
        assert answer.status_code == 422
        assert "bad_ground_truth" in answer.json()["error"]["message"]
    else:
        assert answer.json()["score"] == score


@pytest.mark.parametrize("text", [None, 46, ["46"], {"a": 1}])
def test_a_content_part_without_a_text_is_no_server_error(server: LiveServer, text: Any) -> None:
    parts = [{"type": "text", "text": text}, {"type": "text", "text": "\\boxed{46}"}, 3, None]
    body = {"messages": [{"role": "assistant", "content": parts}], "ground_truth": "46"}
    answer = post(server, "eval_protocol/evaluate", json.dumps(body))
    assert (answer.status_code, answer.json()["score"]) == (200, 1.0)


def test_a_gym_session_starts_and_rows_may_be_verified_again(server: LiveServer) -> None:
    answer = post(server, "nemo_gym/seed_session", '{"task": "anything"}')
    assert (answer.status_code, answer.json()) == (200, {})
    assert httpx2.get(f"{server.url}/compat/nemo_gym/reverify_mode").json() == "stateless"


def test_the_routes_have_labels_of_their_own_in_the_metrics(server: LiveServer) -> None:
    post(server, "slime/rm", UNSCORABLE["slime/rm"])
    assert 'route="/compat/slime/rm"' in httpx2.get(f"{server.url}/metrics").text
