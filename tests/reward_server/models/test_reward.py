"""Reward models of every layout give the scores of a plain forward pass, batched or not."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
)

from tests.reward_server.models import tiny
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.files import folder_digest
from touchstone_rewards.reward_server.models.hardware import memory_errors
from touchstone_rewards.reward_server.models.reward import RewardModel
from touchstone_rewards.reward_server.models.text import Text, TokenIds
from touchstone_rewards.reward_server.models.thread import OutOfMemory
from touchstone_rewards.reward_server.schemas import Message, SampleError


def load(folder: Path, **changes: Any) -> RewardModel:
    settings: dict[str, Any] = {"model": str(folder), "dtype": "float32", "device": "cpu"} | changes
    model = load_model(RewardModelConfig(**settings))
    assert isinstance(model, RewardModel)
    return model


def scores(model: RewardModel, texts: list[Text]) -> list[float]:
    return [one.score for one in model.run(model.prepare(texts))]


def ids_of(text: str) -> torch.Tensor:
    return torch.tensor([tiny.tokenizer()(text)["input_ids"]])


def random_texts(count: int, seed: int = 0, longest: int = 200) -> list[Text]:
    choose = random.Random(seed)
    return [
        Text("Tell me one", " ".join(choose.choices(tiny.WORDS, k=choose.randint(1, longest))))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make one folder of each layout, once."""
    root = tmp_path_factory.mktemp("models")
    makers: dict[str, Callable[[Path], Path]] = {
        "classifier": tiny.classifier,
        "windowed": tiny.windowed,
        "encoder": tiny.encoder,
        "llama_factory": tiny.llama_factory,
        "trl": tiny.trl,
        "value_head_adapter": lambda p: tiny.value_head_adapter(p, root / "base of values"),
        "classifier_adapter": lambda p: tiny.classifier_adapter(p, root / "base of classifier"),
    }

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else makers[name](root / name)

    return folder


LAYOUTS = [
    "classifier",
    "windowed",
    "encoder",
    "llama_factory",
    "trl",
    "value_head_adapter",
    "classifier_adapter",
]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_padding_batch_size_and_order_change_no_score(
    folders: Callable[[str], Path], name: str, layout: str
) -> None:
    model = load(folders(name), layout=layout)
    texts = random_texts(17)
    alone = [scores(model, [text])[0] for text in texts]
    together = scores(model, texts)
    backwards = scores(model, texts[::-1])[::-1]
    in_pairs = [s for i in range(0, 17, 2) for s in scores(model, texts[i : i + 2])]
    for found in (together, backwards, in_pairs):
        assert found == pytest.approx(alone, abs=1e-5)
    assert len({round(score, 4) for score in alone}) > 10  # else this shows nothing


def test_a_classifier_scores_as_transformers_does(folders: Callable[[str], Path]) -> None:
    folder = folders("classifier")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    reference = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = random_texts(5)
    expected = []
    for text in texts:
        turns = [
            {"role": "user", "content": text.prompt},
            {"role": "assistant", "content": text.response},
        ]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected.append(float(reference(ids).logits[0, 0]))
    assert scores(load(folder), texts) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["llama_factory", "trl"])
def test_a_value_head_reads_the_last_hidden_state_of_the_last_token(
    folders: Callable[[str], Path], name: str
) -> None:
    folder = folders(name)
    causal = Qwen2ForCausalLM.from_pretrained(folder).eval()
    ids = PreTrainedTokenizerFast.from_pretrained(folder)("Tell me one two", return_tensors="pt")[
        "input_ids"
    ]
    head = tiny.value_head()
    with torch.no_grad():
        last = causal(ids, output_hidden_states=True).hidden_states[-1][0, -1]
        expected = float(
            (last * head["v_head.summary.weight"][0]).sum() + head["v_head.summary.bias"][0]
        )
    found = scores(load(folder, template="plain"), [Text("Tell me one", " two")])
    assert found == pytest.approx([expected], abs=1e-5)


def test_an_adapter_scores_as_peft_does_without_merging(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folders("classifier_adapter")
    base = folder.parent / "base of classifier"
    reference = PeftModel.from_pretrained(
        Qwen2ForSequenceClassification.from_pretrained(base, num_labels=1), str(folder)
    ).eval()
    ids = PreTrainedTokenizerFast.from_pretrained(base)("Tell me one two", return_tensors="pt")[
        "input_ids"
    ]
    with torch.no_grad():
        expected = float(reference(ids).logits[0, 0])
    assert scores(load(folder, template="plain"), [Text("Tell me", " one two")]) == pytest.approx(
        [expected], abs=1e-5
    )


@pytest.mark.parametrize("name", ["classifier", "llama_factory"])
def test_bf16_stays_within_its_stated_tolerance_and_the_head_is_fp32(
    folders: Callable[[str], Path], name: str
) -> None:
    exact = load(folders(name))
    half = load(folders(name), dtype="bfloat16")
    texts = random_texts(12)
    expected, found = scores(exact, texts), scores(half, texts)
    size = max(1.0, *map(abs, expected))
    assert found == pytest.approx(expected, abs=0.02 * size)
    assert next(half.checkpoint.head.parameters()).dtype == torch.float32
    assert len(set(found)) > 8  # a bf16 score has 8 bits: close ones would fall together
    for one, other in zip(heads(exact), heads(half), strict=True):
        assert torch.equal(one, other)


def heads(model: RewardModel) -> list[torch.Tensor]:
    return list(model.checkpoint.head.parameters())


def test_in_bf16_a_classifier_and_its_value_head_layout_score_the_same(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    plain, value_head = folders("classifier"), tmp_path / "value head"
    whole = Qwen2ForSequenceClassification.from_pretrained(plain)
    causal = Qwen2ForCausalLM(whole.config)
    causal.model.load_state_dict(whole.model.state_dict())
    causal.save_pretrained(value_head)
    tiny.tokenizer().save_pretrained(value_head)
    head = {"v_head.summary.weight": whole.score.weight.detach().clone()}
    save_file(head, value_head / "value_head.safetensors", metadata={"format": "pt"})
    texts = random_texts(12)
    expected, found = (scores(load(each, dtype="bfloat16"), texts) for each in (plain, value_head))
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_chat_template_brings_its_own_bos_and_none_is_doubled(
    folders: Callable[[str], Path],
) -> None:
    model = load(folders("classifier"))
    plain = load(folders("classifier"), template="plain")
    bos = 1
    [chat] = model.reader.read([Text("Tell me", "one two")])
    [text] = plain.reader.read([Text("Tell me", " one two")])
    [with_bos] = plain.reader.read([Text("<bos> Tell me", " one two")])
    for tokens in (chat, text, with_bos):
        assert isinstance(tokens, TokenIds)
        assert tokens.ids.count(bos) == 1
    assert text == with_bos


def test_thousands_of_leading_bos_tokens_come_to_one(folders: Callable[[str], Path]) -> None:
    plain = load(folders("classifier"), template="plain", truncation="right")
    [many] = plain.reader.read([Text("<bos> " * 5000 + "Tell me", " one two")])
    [one] = plain.reader.read([Text("Tell me", " one two")])
    assert many == one
    [alone] = plain.reader.read([Text("<bos> " * 5000, "")])
    assert isinstance(alone, TokenIds)
    assert alone.ids == [1]


def test_a_chat_prompt_keeps_its_turns(folders: Callable[[str], Path]) -> None:
    model = load(folders("classifier"))
    turns = [Message("system", "two"), Message("user", "Tell me")]
    tokens, nothing = model.reader.read([Text(turns, "one"), Text(None, "one")])
    assert isinstance(tokens, TokenIds)
    decoded = model.reader.tokenizer.decode(tokens.ids)
    assert decoded == "<bos> system two <eos> user Tell me <eos> assistant one <eos>"
    assert isinstance(nothing, SampleError)
    assert nothing.code == "missing_field"


def test_a_context_shorter_than_the_sample_is_an_error_unless_truncation_is_asked_for(
    folders: Callable[[str], Path],
) -> None:
    long = Text("Tell me", " one" * 600)
    refuse, left, right = (
        load(folders("classifier"), template="plain", truncation=side)
        for side in ("refuse", "left", "right")
    )
    [error] = refuse.prepare([long])
    assert error.code == "response_too_large"
    assert "has 603 tokens, the model reads 512" in error.message
    for model, kept in ((left, "<bos> one one"), (right, "<bos> Tell me one")):
        [prepared] = model.prepare([long])
        assert prepared.truncated
        assert prepared.tokens == 512
        assert str(model.reader.tokenizer.decode(prepared.content.ids)).startswith(kept)
        [out] = model.run([prepared])
        assert (out.tokens, out.cut) == (512, 91)


def test_an_appended_eos_is_scored_and_survives_truncation(
    folders: Callable[[str], Path],
) -> None:
    model = load(
        folders("llama_factory"),
        template="plain",
        append_eos=True,
        truncation="right",
        max_tokens=8,
    )
    short, long = model.reader.read([Text("", " one" * n) for n in (2, 50)])
    assert isinstance(short, TokenIds)
    assert isinstance(long, TokenIds)
    assert short.ids[-1] == long.ids[-1] == 2
    assert (len(short.ids), len(long.ids)) == (4, 8)


def test_an_empty_text_is_an_error(folders: Callable[[str], Path]) -> None:
    folder = folders("classifier")
    model = load(folder, template="plain")
    assert isinstance(model.reader.tokenizer, PreTrainedTokenizerFast)
    model.reader.tokenizer.backend_tokenizer.post_processor = None  # no BOS
    assert model.prepare([Text("", "")])[0].code == "missing_field"


def test_normalization_comes_from_the_checkpoint(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")
    texts = random_texts(3)
    raw = scores(load(folder), texts)
    with pytest.raises(ConfigError, match="has no numbers `mean` and `std`"):
        load(folder, normalize=True)
    tiny.edit_json(folder / "config.json", mean=0.5, std=2.0)
    expected = [(score - 0.5) / 2.0 for score in raw]
    assert scores(load(folder, normalize=True), texts) == pytest.approx(expected, abs=1e-5)


def test_a_model_whose_batches_differ_from_one_by_one_is_refused(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from touchstone_rewards.reward_server.models import packed

    def careless(backbone: Any, ids: Any, pad_id: int) -> torch.Tensor:
        return backbone(torch.tensor([[t for one in ids for t in one]])).last_hidden_state[0]

    monkeypatch.setitem(packed.LAYOUTS, "packed", careless)
    with pytest.raises(ConfigError, match=r"parity self-test.*packed: off by"):
        load(folders("classifier"), layout="packed")
    assert load(folders("classifier")).parity.layout == "padded"  # auto finds one that is right


def test_a_wrong_path_is_named() -> None:
    with pytest.raises(ConfigError, match="'/nowhere/model': there is no such folder"):
        load(Path("/nowhere/model"))


def test_a_model_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no head"):
        load(tiny.language_model(tmp_path / "lm"))


def test_a_model_with_several_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 3 outputs; a reward model has one"):
        load(tiny.classifier(tmp_path / "model", labels=3))


def test_a_tokenizer_without_a_pad_token_is_refused_until_one_is_named(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")
    tiny.tokenizer(pad_token=None).save_pretrained(folder)
    with pytest.raises(ConfigError, match="has no pad token"):
        load(folder)
    with pytest.raises(ConfigError, match="'<nope>' is not in the tokenizer's vocabulary"):
        load(folder, pad_token="<nope>")
    assert load(folder, pad_token="<pad>").parity.holds


def test_a_tokenizer_without_a_chat_template_is_refused_unless_plain(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template; set `template: plain`"):
        load(folder)
    assert load(folder, template="plain").parity.holds


def test_nan_weights_are_refused_by_name(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"1 weights hold NaN or infinity, .*norm.weight"):
        load(folder)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="lacks weights"):
        load(folder)


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"only pytorch_model.bin, which can run code"):
        load(folder)


def test_more_tokens_than_the_model_reads_are_refused(folders: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="max_tokens is 4000, but model classifier reads 512"):
        load(folders("classifier"), max_tokens=4000)


def test_torchs_ways_to_run_out_of_memory_are_one() -> None:
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ):
        with pytest.raises(OutOfMemory), memory_errors():
            raise error
    with pytest.raises(OutOfMemory), memory_errors():
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="other"), memory_errors():
        raise RuntimeError("other")


def test_the_digest_follows_what_a_score_depends_on(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")

    def digest(**changes: Any) -> str:
        settings: dict[str, Any] = {
            "model": str(folder),
            "dtype": "float32",
            "device": "cpu",
        } | changes
        return RewardModelConfig(**settings).digest()

    first = digest()
    assert digest(name="other", batch_tokens=64, threads=2) == first
    assert len({first, digest(dtype="bfloat16"), digest(truncation="left")}) == 3
    layouts = {digest(layout=layout, dtype="bfloat16") for layout in ("packed", "padded", "auto")}
    assert len(layouts) == 3  # in bf16 they score differently
    tiny.classifier(folder, rms_norm_eps=1e-3)
    assert digest() != first


def test_the_digest_does_not_follow_what_else_lies_in_the_folder(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "model")
    digest = folder_digest(folder)
    older = tiny.classifier(folder / "checkpoint-500", rms_norm_eps=1e-3)
    for name in ("run.json", "trainer_state.json", "generation_config.json", "notes.txt"):
        (folder / name).write_text("{}")
    (folder / "model_code.py").write_text("")
    assert folder_digest(folder) == digest
    shutil.rmtree(older)
    (folder / "run.json").unlink()
    assert folder_digest(folder) == digest
    assert folder_digest(folder, code=True) != digest


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        *("model.safetensors", "adapter_config.json", "spiece.model", "1_Dense/model.safetensors"),
    ],
)
def test_the_digest_follows_each_file_that_a_score_depends_on(tmp_path: Path, name: str) -> None:
    (tmp_path / "1_Dense").mkdir()
    (tmp_path / "modules.json").write_text('[{"path": ""}, {"path": "1_Dense"}]')
    found = {folder_digest(tmp_path)}
    for content in ("{}", '{"a": 1}'):
        (tmp_path / name).write_text(content)
        found.add(folder_digest(tmp_path))
    assert len(found) == 3


def test_the_layout_is_chosen_without_a_clock(folders: Callable[[str], Path]) -> None:
    model = load(folders("classifier"))
    packed = model.scores

    def slow_when_packed(ids: Any, layout: str) -> torch.Tensor:
        until_s = time.thread_time() + 0.05 * (layout == "packed")
        while time.thread_time() < until_s:
            pass
        return packed(ids, layout)

    model.scores = slow_when_packed  # type: ignore[method-assign]
    model.check_parity(["packed", "padded"])
    assert model.parity.layout == "packed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gpu_scores_as_the_cpu_does(
    folders: Callable[[str], Path], name: str, dtype: str
) -> None:
    texts = random_texts(17)
    expected = scores(load(folders(name)), texts)
    model = load(folders(name), device="cuda", dtype=dtype)
    size = max(1.0, *map(abs, expected))
    tolerance = 1e-3 if dtype == "float32" else 0.02
    assert scores(model, texts) == pytest.approx(expected, abs=tolerance * size)
