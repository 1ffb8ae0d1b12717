"""Generation from a real model of some ten thousand weights, and the stored responses."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GenerationConfig

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.evaluation.generated import (
    GENERATED,
    append_batch,
    identity,
    open_generated,
)
from touchstone_rewards.trainer.evaluation.generation import (
    ChatOrPrompt,
    Generation,
    cut,
    generate,
    own_config,
    plan_batches,
)
from touchstone_rewards.trainer.toy.arithmetic import Problem, plain_response
from touchstone_rewards.trainer.toy.tiny_model import make_model

Responses = list[list[str]]
VLLM_SHARE = 0.2  # of the memory, which the tests have not for themselves


def responses_of(model: Path, prompts: list[ChatOrPrompt], settings: Generation) -> Responses:
    """Return the responses by prompt, in the order of the prompts."""
    found: dict[int, list[str]] = {}
    batches = plan_batches(prompts, settings)
    for number, responses in generate(str(model), prompts, settings):
        found.update(zip(batches[number], responses, strict=True))
    return [found[place] for place in range(len(prompts))]


@pytest.fixture
def prompts(problems: list[Problem]) -> list[ChatOrPrompt]:
    return [problem.prompt[: 20 + 7 * place] for place, problem in enumerate(problems[:6])]


def test_batching_and_padding_change_no_greedy_response(
    tiny_model: Path, prompts: list[ChatOrPrompt]
) -> None:
    one = responses_of(tiny_model, prompts, Generation(max_new_tokens=6, batch_size=1))
    many = responses_of(tiny_model, prompts, Generation(max_new_tokens=6, batch_size=4))
    assert one == many
    assert len({each[0] for each in one}) > 1


def test_sampled_responses_differ_by_seed_alone(
    tiny_model: Path, prompts: list[ChatOrPrompt]
) -> None:
    def sampled(seed: int) -> Responses:
        fields = {"num_samples": 3, "temperature": 1.0, "batch_size": 6, "seed": seed}
        return responses_of(tiny_model, prompts, Generation(max_new_tokens=6, **fields))

    first = sampled(0)
    assert [len(each) for each in first] == [3] * 6
    assert any(len(set(each)) > 1 for each in first)
    assert first == sampled(0)
    assert first != sampled(1)


def test_batches_that_are_done_are_not_made_again_and_change_no_other(
    tiny_model: Path, prompts: list[ChatOrPrompt]
) -> None:
    settings = Generation(max_new_tokens=6, temperature=1.0, batch_size=2)
    everything = dict(generate(str(tiny_model), prompts, settings))
    rest = dict(generate(str(tiny_model), prompts, settings, done={0}))
    assert list(everything) == [0, 1, 2]
    assert rest == {number: everything[number] for number in (1, 2)}


def test_a_response_ends_with_its_stop_string(tiny_model: Path, problems: list[Problem]) -> None:
    prompts: list[ChatOrPrompt] = [problem.prompt for problem in problems[:6]]
    whole = responses_of(tiny_model, prompts, Generation(max_new_tokens=12))
    stop = next(each[0][2:4] for each in whole if len(each[0]) > 8)
    stopped = responses_of(tiny_model, prompts, Generation(max_new_tokens=12, stop=[stop]))
    assert any(len(short[0]) < len(long[0]) for short, long in zip(stopped, whole, strict=True))
    assert stopped == [[cut(each[0], [stop])] for each in whole]


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("<answer>5</answer>\n\nUser", ["</answer>"], "<answer>5</answer>"),
        ("a.b;c", [";", "."], "a."),
        ("none here", ["</answer>"], "none here"),
        ("as it is", [], "as it is"),
    ],
)
def test_text_is_cut_after_the_first_stop(text: str, stops: list[str], expected: str) -> None:
    assert cut(text, stops) == expected


def test_of_a_long_prompt_the_last_tokens_are_kept(
    tiny_model: Path, problems: list[Problem]
) -> None:
    prompt = problems[0].prompt
    settings = Generation(max_new_tokens=6, max_prompt_length=8)
    assert responses_of(tiny_model, ["Some words before. " + prompt], settings) == responses_of(
        tiny_model, [prompt], settings
    )


def test_the_folders_generation_config_does_not_change_a_response(
    tiny_model: Path, problems: list[Problem], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "model"
    shutil.copytree(tiny_model, own)
    path = own / "generation_config.json"
    said = json.loads(path.read_text()) if path.is_file() else {}
    said |= {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_new_tokens": 12}
    said |= {"do_sample": True, "top_k": 3, "temperature": 0.3}
    path.write_text(json.dumps(said))
    prompts: list[ChatOrPrompt] = [problem.prompt for problem in problems[:8]]
    for settings in (
        Generation(max_new_tokens=16),
        Generation(max_new_tokens=16, temperature=1.5, num_samples=2),
    ):
        plain = responses_of(tiny_model, prompts, settings)
        capsys.readouterr()
        assert responses_of(own, prompts, settings) == plain
        told = " ".join(capsys.readouterr().err.split())
        assert "end tokens: " in told
        assert "ignored settings of the model's generation config: " in told
        assert "repetition_penalty 5.0" in told


def test_the_end_tokens_are_those_of_the_folder_and_of_the_tokenizer(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config, said = own_config(GenerationConfig(eos_token_id=[5, 3], max_length=7), tokenizer)
    assert config.eos_token_id == sorted({3, 5, tokenizer.eos_token_id})
    assert config.pad_token_id == tokenizer.pad_token_id
    assert config.max_length is None or config.max_length == GenerationConfig().max_length
    assert "max_length 7" in said


def test_a_chat_needs_a_template_and_takes_the_one_that_is_named(tiny_model: Path) -> None:
    chat: list[ChatOrPrompt] = [[{"role": "user", "content": "1+1="}]]
    as_text = "<|im_start|>user\n1+1=<|im_end|>\n<|im_start|>assistant\n"
    templated = Generation(max_new_tokens=4, chat_template="chatml")
    plain = Generation(max_new_tokens=4)
    assert responses_of(tiny_model, chat, templated) == responses_of(tiny_model, [as_text], plain)
    with pytest.raises(InputError, match="no chat template 'nowhere'"):
        responses_of(tiny_model, chat, Generation(chat_template="nowhere"))


@pytest.mark.parametrize(
    "fields",
    [{"num_samples": 2}, {"num_samples": 0}, {"temperature": -1.0}, {"top_p": 0.0}],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"num_samples|temperature"):
        Generation(**fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_named(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="vLLM is not installed"):
        responses_of(tiny_model, ["1+1="], Generation(engine="vllm"))


@pytest.fixture(scope="module")
def vllm_model(tmp_path_factory: pytest.TempPathFactory, problems: list[Problem]) -> Path:
    """Make a model with heads of 32, the narrowest that vLLM has kernels for."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: the extra vllm")
    texts = [problem.prompt + plain_response(problem) for problem in problems]
    return make_model(tmp_path_factory.mktemp("vllm"), texts, hidden_size=128, layers=2)


def test_vllm_and_transformers_give_the_same(vllm_model: Path, prompts: list[ChatOrPrompt]) -> None:
    def greedy(**fields: Any) -> Responses:
        settings = Generation(max_new_tokens=6, gpu_memory_utilization=VLLM_SHARE, **fields)
        return responses_of(vllm_model, prompts, settings)

    whole = greedy(engine="vllm")
    assert whole == greedy()
    stop = next(each[0][1:3] for each in whole if len(each[0]) > 3)
    assert greedy(engine="vllm", stop=[stop]) == greedy(stop=[stop])
    assert greedy(engine="vllm", max_prompt_length=8) == greedy(max_prompt_length=8)


def test_vllm_samples_by_seed(vllm_model: Path, prompts: list[ChatOrPrompt]) -> None:
    def sampled(seed: int) -> Responses:
        fields = {"num_samples": 3, "temperature": 1.0, "max_new_tokens": 6, "seed": seed}
        settings = Generation(engine="vllm", gpu_memory_utilization=VLLM_SHARE, **fields)
        return responses_of(vllm_model, prompts, settings)

    first = sampled(0)
    assert [len(each) for each in first] == [3] * 6
    assert any(len(set(each)) > 1 for each in first)
    assert first == sampled(0)
    assert first != sampled(1)


def test_what_was_generated_is_found_again_without_a_torn_line(tmp_path: Path) -> None:
    assert open_generated(tmp_path, {"seed": 1}) == {}
    append_batch(tmp_path, 4, [["a\n", "b"]])
    with open(tmp_path / GENERATED, "a") as file:
        file.write('{"batch": 5, "resp')
    assert open_generated(tmp_path, {"seed": 1}) == {4: [["a\n", "b"]]}
    append_batch(tmp_path, 5, [["c"]])
    assert open_generated(tmp_path, {"seed": 1}) == {4: [["a\n", "b"]], 5: [["c"]]}
    assert all(map(json.loads, (tmp_path / GENERATED).read_text().splitlines()))


def test_responses_of_two_evaluations_are_never_mixed(tmp_path: Path) -> None:
    open_generated(tmp_path, {"seed": 1, "model": "m"})
    append_batch(tmp_path, 0, [["a"]])
    with pytest.raises(InputError, match="another seed: choose another output"):
        open_generated(tmp_path, {"seed": 2, "model": "m"})


def test_an_evaluation_whose_chat_template_or_tokenizer_changed_is_another(tmp_path: Path) -> None:
    model, template = tmp_path / "model", tmp_path / "chat.jinja"
    model.mkdir()
    for path in (template, model / "tokenizer_config.json", model / "model.safetensors"):
        path.write_text("one")
    there = identity(str(model), ["?"], str(template))
    open_generated(tmp_path / "out", there)
    append_batch(tmp_path / "out", 0, [["!"]])
    (model / "run.json").write_text("{}")
    (model / "checkpoint-2").mkdir()
    assert identity(str(model), ["?"], str(template)) == there
    template.write_text("two")
    with pytest.raises(InputError, match="with another content_of_chat_template:"):
        open_generated(tmp_path / "out", identity(str(model), ["?"], str(template)))
    template.write_text("one")
    (model / "tokenizer_config.json").write_text("two")
    with pytest.raises(InputError, match="with another config_and_tokenizer:"):
        open_generated(tmp_path / "out", identity(str(model), ["?"], str(template)))
