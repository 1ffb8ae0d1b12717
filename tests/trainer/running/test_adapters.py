"""LoRA adapters between stages: continued, merged, given as a model, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.trainer.conftest import GrpoFlags
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.evaluation.generation import Generation, generate
from touchstone_rewards.trainer.preference.reward_folder import load_reward_model
from touchstone_rewards.trainer.running.lora import MERGED
from touchstone_rewards.trainer.running.merging import base_of, plain_folder

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
TEXT = "Tom has 3 pens"


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an adapter that changes its base's output, with a chat template of its own."""
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "sft", LORA)


def make_adapter(base: Path, folder: Path, config: Any) -> Path:
    torch.manual_seed(1)
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    tokens = torch.tensor([[5, 9, 30, 31, 12]])
    with torch.no_grad():
        return model.eval()(tokens).logits


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def with_adapter(base: Path, adapter: Path) -> Any:
    return PeftModel.from_pretrained(plain(base), str(adapter))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_what_merge_writes_says_what_the_adapter_on_its_base_says(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    assert main(["merge", f"--model={adapter}", f"--output={tmp_path / 'merged'}"]) == 0
    merged = logits(plain(tmp_path / "merged"))
    torch.testing.assert_close(merged, logits(with_adapter(tiny_model, adapter)))
    assert not torch.allclose(merged, logits(plain(tiny_model)), atol=1e-3)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == TEMPLATE
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert not list(tmp_path.glob("*.part"))


def test_a_base_that_moved_is_named_and_can_be_given(
    tiny_model: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(adapter, tmp_path / "moved")
    config = json.loads((moved / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "gone")
    (moved / "adapter_config.json").write_text(json.dumps(config))
    words = ["merge", f"--output={tmp_path / 'merged'}"]
    assert main([*words, f"--model={moved}"]) == 2
    assert "which does not exist: give the base as model_name_or_path" in capsys.readouterr().err
    assert main([*words, f"--model={tiny_model}", f"--adapter_name_or_path={moved}"]) == 0
    expected = logits(with_adapter(tiny_model, adapter))
    torch.testing.assert_close(logits(plain(tmp_path / "merged")), expected)


def test_a_base_that_moved_with_its_adapter_is_found(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(adapter, tmp_path / "run")
    config = json.loads((run / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"elsewhere/{MERGED}"
    (run / "adapter_config.json").write_text(json.dumps(config))
    shutil.copytree(tiny_model, run / MERGED)
    assert base_of(str(run)) == str(run / MERGED)


def test_what_cannot_be_merged_is_refused_in_a_line(
    tiny_model: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reward = shutil.copytree(adapter, tmp_path / "reward")
    config = json.loads((reward / "adapter_config.json").read_text()) | {"task_type": "SEQ_CLS"}
    (reward / "adapter_config.json").write_text(json.dumps(config))
    broken = shutil.copytree(adapter, tmp_path / "broken")
    (broken / "adapter_config.json").write_text("{")
    for model, output, said in (
        (tiny_model, "new", "no adapter at"),
        (reward, "new", "the adapter of a reward model"),
        (broken, "new", "is not JSON"),
        (adapter, "reward", "exists already: choose a new folder"),
    ):
        assert main(["merge", f"--model={model}", f"--output={tmp_path / output}"]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_an_adapter_is_evaluated_as_the_model_that_it_makes(adapter: Path, tmp_path: Path) -> None:
    with plain_folder(str(adapter)) as folder:
        settings = Generation(max_new_tokens=8)
        [(_, merged)] = generate(folder, [TEXT], settings)
    [(_, own)] = generate(str(adapter), [TEXT], settings)
    assert own == merged
    assert not Path(folder).exists()


def test_grpo_goes_on_training_the_adapter_whose_folder_it_is_given(
    server: LiveServer, grpo_flags: GrpoFlags, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    fields = {"model_name_or_path": adapter, "max_steps": 1, "learning_rate": 0.0}
    assert main(["grpo", *grpo_flags(server.url, **fields)]) == 0
    run = tmp_path / "run"
    after, before = weights(run), weights(adapter)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert json.loads((run / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        tiny_model
    )
    assert AutoTokenizer.from_pretrained(run).chat_template == TEMPLATE


def test_a_new_adapter_stands_on_the_old_one_merged_and_can_be_merged_itself(
    server: LiveServer, grpo_flags: GrpoFlags, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    flags = grpo_flags(server.url, max_steps=1, learning_rate=0.0, create_new_adapter=True)
    flags += [f"--adapter_name_or_path={adapter}", "--lora_r=2", "--lora_target_modules=k_proj"]
    assert main(["grpo", *flags]) == 0
    run = tmp_path / "run"
    expected = logits(with_adapter(tiny_model, adapter))
    torch.testing.assert_close(logits(plain(run / MERGED)), expected)
    assert {name.split(".")[-3] for name in weights(run)} == {"k_proj"}
    assert main(["merge", f"--model={run}", f"--output={tmp_path / 'merged'}"]) == 0
    torch.testing.assert_close(logits(plain(tmp_path / "merged")), expected)


def test_the_reference_of_ppo_is_the_adapter_that_it_starts_from(
    server: LiveServer, grpo_flags: GrpoFlags, adapter: Path, tmp_path: Path
) -> None:
    fields = {"model_name_or_path": adapter, "max_steps": 1, "critic": "shared"}
    assert main(["ppo", *grpo_flags(server.url, **fields)]) == 0
    log = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    assert log[0]["kl"] == pytest.approx(0.0, abs=1e-5)


def test_what_contradicts_itself_is_refused_before_anything_is_loaded(
    grpo_flags: GrpoFlags, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = "http://127.0.0.1:9"
    for fields, said in (
        ({"model_name_or_path": adapter, "adapter_name_or_path": adapter}, "an adapter itself"),
        ({"create_new_adapter": True}, "set adapter_name_or_path"),
        ({"adapter_name_or_path": "./nosuch"}, "no adapter at ./nosuch"),
        ({"model_name_or_path": adapter, "use_peft": True}, "or set create_new_adapter: true"),
    ):
        assert main(["grpo", *grpo_flags(nowhere, **fields)]) == 2
        assert said in capsys.readouterr().err


def test_a_reward_model_starts_from_an_adapter_as_from_the_merged_model(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    with plain_folder(str(adapter)) as folder:
        expected: Any = load_reward_model(folder, 1, seed=3)
    found: Any = load_reward_model(str(adapter), 1, seed=3)
    ours, theirs = found.base_model.state_dict(), expected.base_model.state_dict()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)
