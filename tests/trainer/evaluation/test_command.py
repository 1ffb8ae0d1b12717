from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from tests.trainer.conftest import write_rows
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.rows import PromptArguments, load_rows
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.evaluation.command import EvalArguments, rows_of, score_and_write
from touchstone_rewards.trainer.evaluation.figures import summarize

RIGHT = " 1+1=2 </think> <answer> 2 </answer>"
WRONG = " 1+1=3 </think> <answer> 3 </answer>"
AT_K = ("pass_at", "maj_at")
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
    summary = score_and_write(arguments, data, [[RIGHT], [RIGHT], [WRONG], [UNTAGGED]])
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
    summary = score_and_write(arguments, data, [[RIGHT]] * 4)
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
    with pytest.raises(RunFailed, match="no response"):
        score_and_write(arguments, data, [[RIGHT]])
    assert read_results(tmp_path)[0]["response"] == RIGHT
    assert read_summary(tmp_path)["accuracy"] is None


def test_an_empty_evaluation_has_no_rates() -> None:
    summary = summarize([])
    assert summary["accuracy"] is None
    assert summary["avg_reward_interval"] is None


def test_the_completion_alone_is_scored_and_never_the_prompt(
    server: LiveServer, tmp_path: Path
) -> None:
    chat = [{"role": "system", "content": "Answer like \\boxed{2}."}]
    prompts: list[Any] = ["Answer like \\boxed{2}. 1+1=", "1+1="]
    rows = [{"id": f"r{n}", "prompt": p, "ground_truth": "2"} for n, p in enumerate(prompts)]
    chats = [{"id": "c", "prompt": chat, "ground_truth": "2"}]
    for number, some in enumerate((rows, chats)):
        data = load_rows(str(write_rows(tmp_path / f"rows{number}.jsonl", some)))
        arguments = EvalArguments(output=str(tmp_path), reward_url=[server.url])
        summary = score_and_write(arguments, data, [["It is \\boxed{3}."]] * len(some))
        assert (summary["num_failed"], summary["accuracy"]) == (0, 0.0)
        assert score_and_write(arguments, data, [["no answer"]] * len(some))["accuracy"] == 0.0
        assert score_and_write(arguments, data, [["\\boxed{2}"]] * len(some))["accuracy"] == 1.0


def test_several_responses_a_row_give_pass_and_majority_at_k(
    server: LiveServer, tmp_path: Path
) -> None:
    """Two of four are right; the two wrong ones are one answer, a half in two spellings."""
    rows = [{"id": "r", "prompt": "1+1=", "ground_truth": "2"}]
    data = load_rows(str(write_rows(tmp_path / "rows.jsonl", rows)))
    arguments = EvalArguments(output=str(tmp_path), reward_url=[server.url], k=[1, 2, 4])
    texts = ["\\boxed{2}", "\\boxed{\\frac{1}{2}}", "\\boxed{0.5}", "\\boxed{2.0}"]
    summary = score_and_write(arguments, data, [texts])
    assert (summary["num_examples"], summary["num_samples"]) == (1, 4)
    assert summary["accuracy"] == 0.5
    assert summary["pass_at"]["1"]["interval"] == summary["accuracy_interval"]
    at = {name: [each["value"] for each in summary[name].values()] for name in AT_K}
    assert at["pass_at"] == pytest.approx([0.5, 1 - 1 / 6, 1.0])
    # Two against two: always a tie, unless a pair is of one kind. As two answers it would be won.
    assert at["maj_at"] == pytest.approx([0.5, 0.5, 0.5])
    assert [row["id"] for row in read_results(tmp_path)] == ["r/0", "r/1", "r/2", "r/3"]


def test_what_failed_takes_no_part_in_pass_at_k(server: LiveServer, tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "prompt": "p", "ground_truth": [None, "2"][n]} for n in range(2)]
    data = load_rows(str(write_rows(tmp_path / "rows.jsonl", rows)))
    arguments = EvalArguments(output=str(tmp_path), reward_url=[server.url], k=[2])
    summary = score_and_write(arguments, data, [["\\boxed{2}", "\\boxed{3}"]] * 2)
    assert (summary["num_samples"], summary["num_failed"], summary["accuracy"]) == (4, 2, 0.5)
    assert summary["pass_at"]["2"] == {"value": 1.0, "interval": ANY, "rows": 1}


def test_a_profile_without_answers_has_no_majority(server: LiveServer, tmp_path: Path) -> None:
    rows = [{"id": "r", "prompt": "p", "ground_truth": "2"}]
    data = load_rows(str(write_rows(tmp_path / "rows.jsonl", rows)))
    arguments = EvalArguments(output=str(tmp_path), reward_url=[server.url], profile="dummy")
    summary = score_and_write(arguments, data, [["a", "b"]])
    assert summary["maj_at"] is None
    assert set(summary["pass_at"]) == {"1", "2"}


def test_the_source_projects_file_has_its_four_keys(server: LiveServer, tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "prompt": "1+1=", "ground_truth": [None, "2"][n]} for n in range(2)]
    data = load_rows(str(write_rows(tmp_path / "rows.jsonl", rows)))
    arguments = EvalArguments(output=str(tmp_path), profile="r1_zero", reward_url=[server.url])
    score_and_write(arguments, data, [[RIGHT]] * 2)
    assert json.loads((tmp_path / "eval_results.json").read_text()) == [
        {"prompt": "1+1=", "completion": RIGHT, "solution": truth, "reward": reward}
        for truth, reward in ((None, None), ("2", 1.0))
    ]


@pytest.mark.parametrize(
    ("name", "file", "rows", "template"),
    [
        ("gsm8k", "gsm8k_test.jsonl", 1319, "r1_zero"),
        ("math500", "math500.jsonl", 500, "question_only"),
        ("math500", "math500.jsonl", 500, "chat"),
    ],
)
def test_a_benchmark_knows_the_columns_of_its_file(
    shared_data: Path, name: str, file: str, rows: int, template: str
) -> None:
    arguments = EvalArguments(benchmark=name, dataset=[str(shared_data / file)])
    data = rows_of(arguments, PromptArguments(prompt_template=template))
    assert data.column_names == ["id", "prompt", "ground_truth"]
    assert len(data) == rows
    prompt, truth = data[0]["prompt"], data[0]["ground_truth"]
    question = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    assert "{question}" not in question
    assert len(question) > 50
    assert truth


def test_math500_of_the_hub_calls_its_question_problem(tmp_path: Path) -> None:
    row = {"problem": "1+1=?", "solution": "It is \\boxed{2}.", "answer": "2"}
    data = write_rows(tmp_path / "math.jsonl", [row])
    arguments = EvalArguments(benchmark="math500", dataset=[str(data)])
    rows = rows_of(arguments, PromptArguments(prompt_template="question_only"))
    assert (rows[0]["prompt"], rows[0]["ground_truth"]) == ("1+1=?", "2")


def test_a_benchmark_that_is_not_known_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    flags = [f"--model={tiny_model}", f"--output={tmp_path}", "--benchmark=gsm9k"]
    assert main(["eval", *flags]) == 2


def test_a_baseline_on_gsm8k_has_the_numbers_of_the_source_project(
    server: LiveServer, tiny_model: Path, shared_data: Path, tmp_path: Path
) -> None:
    flags = [f"--model={tiny_model}", "--benchmark=gsm8k", "--max_rows=8"]
    flags += [f"--dataset={shared_data / 'gsm8k_test.jsonl'}", "--prompt_template=r1_zero"]
    flags += ["--temperature=1", "--num_samples=2", "--stop", "</answer>", "--max_new_tokens=8"]
    flags += ["--profile=r1_zero", "--reward_url", server.url, f"--output={tmp_path / 'out'}"]
    assert main(["eval", *flags]) == 0
    summary = read_summary(tmp_path / "out")
    assert (summary["num_examples"], summary["num_samples"], summary["num_failed"]) == (8, 16, 0)
    assert [summary[key] for key in ("format_rate", "accuracy", "avg_reward")] == [0, 0, 0]
    assert summary["accuracy_interval"][1] > 0.2
    assert summary["results_path"] == str(tmp_path / "out" / "results.jsonl")


def test_a_killed_evaluation_generates_only_what_is_missing(
    server: LiveServer, tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    flags = [f"--model={tiny_model}", f"--dataset={rows_file}", f"--output={tmp_path / 'out'}"]
    flags += ["--reward_url", server.url, "--profile=dummy", "--max_new_tokens=4"]
    flags += ["--batch_size=2", "--temperature=1"]
    assert main(["eval", *flags]) == 0
    path = tmp_path / "out" / "generated.jsonl"
    lines = path.read_text().splitlines(True)
    uninterrupted = read_results(tmp_path / "out")
    kept = json.loads(lines[0])
    kept["responses"][0] = ["from before"]
    path.write_text(json.dumps(kept) + "\n" + lines[1][:10])  # killed while it wrote the second
    assert main(["eval", *flags]) == 0
    responses = [row["response"] for row in read_results(tmp_path / "out")]
    changed = [n for n, row in enumerate(uninterrupted) if row["response"] != responses[n]]
    assert [responses[place] for place in changed] == ["from before"]
    assert main(["eval", *flags, "--max_new_tokens=5"]) == 2


def test_the_list_goes_into_the_file_that_was_named_and_the_rest_beside_it(
    server: LiveServer,
    tiny_model: Path,
    rows_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Behave as `eval.py --output_file eval_results.json` did, in a folder with files of the
    user."""
    monkeypatch.chdir(tmp_path)
    mine = {"settings.json": "{}", "generated.jsonl": "mine", "summary.json": "mine"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    flags = [f"--model={tiny_model}", f"--dataset={rows_file}", "--split", "test[:50%]"]
    flags += ["--reward_url", server.url, "--profile=dummy", "--max_new_tokens=4"]
    assert main(["eval", *flags, "--output_file", "mine.json"]) == 0
    rows = json.loads((tmp_path / "mine.json").read_text())
    assert [set(row) for row in rows] == [{"prompt", "completion", "solution", "reward"}] * 3
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert read_summary(tmp_path / "mine")["num_examples"] == 3
    assert main(["eval", *flags, "--output_file", "mine.json"]) == 0  # the same one again
    for words, name in (
        (["--output=."], "generated.jsonl"),
        (["--output_file=other.json"], "other"),
    ):
        (tmp_path / "other.json").write_text("somebody else's")
        capsys.readouterr()
        assert main(["eval", *flags, *words]) == 2
        error = capsys.readouterr().err
        assert name in error
        assert "exists, but no evaluation of this command wrote it" in error
    assert (tmp_path / "generated.jsonl").read_text() == "mine"
