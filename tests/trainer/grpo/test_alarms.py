"""An alarm of the server's watch stops a run: ours with a checkpoint, TRL's by an exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.trainer.conftest import GrpoFlags
from touchstone_rewards.clients import Alarm, RemoteRewardClient, StoppedByAlarm
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import step_files

FIRST = 20  # points that the watch learns what to expect from
WORDS = ["what", "is", "asked", "here", "taken", "apart", "and", "each", "part", "of", "it"]
MOST_STEPS = 400


@pytest.fixture
def watching(start_server: Callable[..., LiveServer], tmp_path: Path) -> LiveServer:
    """Start a server whose watch has seen the first part of `run-1`: long responses, all wrong. The
    tiny model's later responses are as wrong and very short."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "lenient.yaml").write_text("scorers: {contains: {}}\n")
    server = start_server("--profiles_dir", str(tmp_path / "profiles"))
    with httpx2.Client(base_url=server.url) as client:
        for step in range(FIRST + 1):
            samples = [
                {
                    "id": f"{step}/{place}",
                    "group_id": str(place % 4),
                    "prompt": f"How much is {place % 4} and {step}?",
                    "response": " ".join(WORDS[place % 7 :] * 8),
                    "ground_truth": "-1",
                }
                for place in range(32)
            ]
            request = {"profile": "lenient", "run": "run-1", "step": step, "samples": samples}
            client.post("/score", json=request).raise_for_status()
    return server


def fields(**more: Any) -> dict[str, Any]:
    common = {"reward_profile": "lenient", "per_device_train_batch_size": 32, "run_name": "run-1"}
    return {**common, "num_generations": 8, "max_steps": MOST_STEPS, **more}


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_our_trainers_stop_with_a_checkpoint_and_one_line(
    kind: str,
    watching: LiveServer,
    grpo_flags: GrpoFlags,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = grpo_flags(watching.url, **fields(on_alarm="stop"))
    flags += ["--limr.enabled=false"] if kind == "ppo" else []
    assert main([kind, *flags]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "by an alarm: run 'run-1' under lenient" in said
    assert "continue with --resume_from_checkpoint true" in said
    [checkpoint] = (tmp_path / "run").glob("checkpoint-*")
    step = json.loads((checkpoint / "trainer_state.json").read_text())["global_step"]
    assert f"stopped after update {step} " in said
    assert step < MOST_STEPS
    assert len(step_files(tmp_path / "run" / "samples")) == step
    # Resuming is a choice: an alarm from before the checkpoint does not stop the run again.
    more = [*flags, "--resume_from_checkpoint=true", f"--max_steps={step + 2}", "--on_alarm=log"]
    assert main([kind, *more]) == 0


@pytest.mark.parametrize("on_alarm", ["stop", "callback"])
def test_trl_is_stopped_or_told(
    watching: LiveServer, tiny_model: Path, rows_file: Path, tmp_path: Path, on_alarm: str
) -> None:
    from datasets import load_dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    told: list[Alarm] = []

    def tell(alarm: Alarm) -> None:
        told.append(alarm)
        trainer.control.should_training_stop = True

    with RemoteRewardClient(watching.url) as client:
        hook: Any = "stop" if on_alarm == "stop" else tell
        reward = client.as_trl_reward("lenient", preflight=False, run="run-1", on_alarm=hook)
        trainer = GRPOTrainer(
            str(tiny_model),
            reward_funcs=[reward],
            train_dataset=load_dataset("json", data_files=str(rows_file), split="train"),
            args=GRPOConfig(
                output_dir=str(tmp_path / "trl"),
                per_device_train_batch_size=32,
                num_generations=8,
                max_completion_length=6,
                max_steps=MOST_STEPS,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
        )
        if on_alarm == "stop":
            with pytest.raises(StoppedByAlarm, match="run 'run-1' under lenient"):
                trainer.train()
        else:
            trainer.train()
            assert {(alarm.run, alarm.profile) for alarm in told} == {("run-1", "lenient")}
            assert len({alarm.id for alarm in told}) == len(told)
    assert trainer.state.global_step < MOST_STEPS


def test_on_alarm_needs_a_word_that_there_is_and_a_run() -> None:
    client = RemoteRewardClient("http://127.0.0.1:1")
    hook: Any = "halt"
    with pytest.raises(ValueError, match='expected "log", "stop" or a function'):
        client.as_trl_reward("math", run="r", on_alarm=hook)
    with pytest.raises(ValueError, match="needs the name of the run"):
        client.as_trl_reward("math", on_alarm="stop")
