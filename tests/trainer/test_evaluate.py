from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import LiveServer
from tests.trainer.conftest import write_rows
from trainer.__main__ import main
from trainer.arithmetic import Problem
from trainer.data import load_rows
from trainer.errors import InputError, RunFailed
from trainer.evaluate import EvalArguments, score_and_write, summarize
from trainer.generation import Generation, generate

RIGHT = " 1+1=2 </think> <answer> 2 </answer>"
WRONG = " 1+1=3 </think> <answer> 3 </answer>"
UNTAGGED = " 1+1=2 so the answer is 2."


def read_summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def read_results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_the_command_writes_a_line_a_row_and_a_summary(
    server: LiveServer, tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    flags = [f"--model={tiny_model}", f"--dataset={rows_file}", f"--output={tmp_path / 'out'}"]
    flags += ["--reward_url", server.url, "--profile=r1_zero", "--also_profile", "math"]
    assert main(["eval", *flags, "--max_new_tokens=4"]) == 0
    summary, results = read_summary(tmp_path / "out"), read_results(tmp_path / "out")
    assert [row["id"] for row in results] == [f"a{number}" for number in range(6)]
    assert (summary["num_examples"], summary["num_failed"], summary["profile"]) == (6, 0, "r1_zero")
    assert summary["fingerprint"]
    assert set(summary["also"]) == {"math"}


def test_rates_count_what_the_server_said(server: LiveServer, tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "prompt": "1+1=", "ground_truth": "2"} for n in range(4)]
    data = load_rows(str(write_rows(tmp_path / "rows.jsonl", rows)))
    arguments = EvalArguments(
        output=str(tmp_path),
        profile="r1_zero",
        also_profile=["math"],
        reward_url=[server.url],
    )
    summary = score_and_write(arguments, data, [RIGHT, RIGHT, WRONG, UNTAGGED])
    assert summary["accuracy"] == 0.5
    assert summary["format_rate"] == 0.75
    assert summary["avg_reward"] == 0.5
    assert summary["also"]["math"]["accuracy"] == 0.75
    assert summary["accuracy_interval"][0] < 0.5 < summary["accuracy_interval"][1]
    assert [row["also"]["math"] for row in read_results(tmp_path)] == [1, 1, 0, 1]


def test_what_could_not_be_scored_is_counted_apart_and_never_as_wrong(
    server: LiveServer, tmp_path: Path
) -> None:
    rows = [{"id": f"r{n}", "prompt": "1+1=", "ground_truth": [None, "2"][n % 2]} for n in range(4)]
    data = load_rows(str(write_rows(tmp_path / "rows.jsonl", rows)))
    arguments = EvalArguments(output=str(tmp_path), profile="r1_zero", reward_url=[server.url])
    summary = score_and_write(arguments, data, [RIGHT] * 4)
    assert (summary["num_examples"], summary["num_failed"], summary["accuracy"]) == (4, 2, 1.0)
    results = read_results(tmp_path)
    assert [row["reward"] for row in results] == [None, 1, None, 1]
    assert results[0]["error"]["code"]


def test_with_nothing_scored_the_run_fails_but_keeps_the_responses(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    gone = start_server()
    gone.kill()
    data = load_rows(
        str(write_rows(tmp_path / "rows.jsonl", [{"id": "r", "prompt": "p", "ground_truth": "2"}]))
    )
    arguments = EvalArguments(output=str(tmp_path), reward_url=[gone.url], reward_timeout_s=0.5)
    with pytest.raises(RunFailed, match="not one response"):
        score_and_write(arguments, data, [RIGHT])
    assert read_results(tmp_path)[0]["response"] == RIGHT
    assert read_summary(tmp_path)["accuracy"] is None


def test_an_empty_evaluation_has_no_rates() -> None:
    summary = summarize([])
    assert summary["accuracy"] is None
    assert summary["avg_reward_interval"] is None


def test_batching_and_padding_change_no_response(tiny_model: Path, problems: list[Problem]) -> None:
    prompts = [problem.prompt[: 20 + 7 * place] for place, problem in enumerate(problems[:6])]
    one = generate(str(tiny_model), prompts, Generation(max_new_tokens=6, batch_size=1))
    many = generate(str(tiny_model), prompts, Generation(max_new_tokens=6, batch_size=4))
    assert one == many
    assert len(set(one)) > 1


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_named(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="vLLM is not installed"):
        generate(str(tiny_model), ["1+1="], Generation(use_vllm=True))
