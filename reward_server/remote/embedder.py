"""Use an embedding model behind an endpoint in place of a local one.

Batches of texts from all callers are embedded in the model's own thread; each text gets a vector or
an error. The thread runs its own event loop, in which the requests of a batch run concurrently.
Vectors of texts seen before come from a cache.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import json

from touchstone_rewards.reward_server.addresses import urls_of
from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.models.config import RemoteEmbeddingConfig
from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.text import Text, TextReader, TokenIds
from touchstone_rewards.reward_server.models.thread import Prepared
from touchstone_rewards.reward_server.models.vector_cache import Embedding, VectorCache
from touchstone_rewards.reward_server.remote.admission import AskOne
from touchstone_rewards.reward_server.remote.calls_endpoints import CallsEndpoints
from touchstone_rewards.reward_server.remote.failed import UpstreamFailed
from touchstone_rewards.reward_server.remote.gathered import Gathered
from touchstone_rewards.reward_server.remote.keys import read_key
from touchstone_rewards.reward_server.remote.reported import ReportedModel
from touchstone_rewards.reward_server.remote.transport import Endpoints, UpstreamTransport
from touchstone_rewards.reward_server.schemas import SampleError, is_list, is_object
from touchstone_rewards.reward_server.scorers.embedded import cosine
from touchstone_rewards.reward_server.scorers.returned import text_of

PATHS = {"openai": "/v1/embeddings", "tei": "/embed"}
# Largest accepted cosine distance between the endpoint's and the local model's vector.
TOLERANCE = {"float32": 1e-4, "float16": 1e-3, "bfloat16": 1e-2, "auto": 1e-2}
BYTES_A_TOKEN = 4
PROOF_S = 30.0

logger = logging.getLogger(__name__)


class AskedText(NamedTuple):
    """A text to embed: as sent, with its token count and the number of tokens cut off."""

    key: bytes
    sent: str | list[int]
    tokens: int
    cut: int


class RemoteEmbedder(CallsEndpoints):
    """Embedding model behind the endpoints of one config. `about`: result of the parity self-test.

    Call all methods from the same thread.
    """

    pads = False

    def __init__(self, config: RemoteEmbeddingConfig) -> None:
        self.config = config
        self.cache = VectorCache(config.digest(), config.cache_bytes)
        self.about: dict[str, Any] = {"wire": config.wire, "dtype": config.dtype}
        self._reader = _reader(config) if config.local_folder else None
        self._known = _known_vectors(config) if config.local_folder and config.parity else None
        endpoints = Endpoints(
            urls_of(config.url, PATHS[config.wire]),
            read_key(config.key_env, config.key_file),
            timeout_s=config.timeout_s,
            requests_per_s=config.requests_per_s,
        )
        self.transport = UpstreamTransport(endpoints, self._proof if self._known else None)
        self._reported = ReportedModel(None, self.transport.told)
        self._dimensions = 0
        self._loop = asyncio.Runner()
        self._turns = asyncio.Semaphore(config.max_in_flight)
        self._gathered: Gathered[AskedText, np.ndarray | str] = Gathered(
            config.batch_size, self._vectors
        )

    def prepare(self, inputs: Sequence[str]) -> list[Any]:
        keys = [self.cache.key(text) for text in inputs]
        answers: list[Any] = [self.cache.get(key) for key in keys]
        for at, (key, text) in enumerate(zip(keys, inputs, strict=True)):
            if answers[at] is None:
                asked = self._asked(key, self.config.prefix + text_of(text))
                answers[at] = (
                    asked
                    if isinstance(asked, SampleError)
                    else Prepared(asked.tokens, asked, truncated=asked.cut > 0)
                )
        return answers

    def run(self, batch: Sequence[Prepared]) -> list[Embedding | SampleError]:
        wanted: dict[bytes, AskedText] = {one.content.key: one.content for one in batch}
        todo = [one for key, one in wanted.items() if self.cache.get(key) is None]
        found = dict(zip((one.key for one in todo), self._loop.run(self._all(todo)), strict=True))
        for key, one in found.items():
            if isinstance(one, Embedding):
                self.cache.put(key, one)
        answers = [found.get(p.content.key) or self.cache.get(p.content.key) for p in batch]
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        self._loop.run(self.transport.aclose())
        self._loop.close()

    def prove(self) -> None:
        """Compare each endpoint's vectors with the local model's.

        Endpoints that are down are compared before their first use.

        Raises:
            ConfigError: an endpoint returns other vectors.
        """
        if self._known is None:
            logger.warning(
                "%s: its vectors are not checked, because local_folder is not set",
                self.config.label,
            )
            return
        found = self._loop.run(self._proofs())
        for url, failure in found.items():
            if failure is not None and failure.lasting:
                raise ConfigError(f"embedding model {self.config.label}: {url} {failure.why}")
            if failure is not None:
                logger.warning("%s has not passed its check yet", url)
        if unproven := [url for url, failure in found.items() if failure is not None]:
            self.about["unproven"] = unproven

    async def _proofs(self) -> dict[str, Any]:
        return await self.transport.prove(asyncio.get_running_loop().time() + PROOF_S)

    def _asked(self, key: bytes, text: str) -> AskedText | SampleError:
        if self._reader is None:
            return AskedText(key, text, len(text.encode()) // BYTES_A_TOKEN + 1, 0)
        [read] = self._reader.read([Text(None, text)])
        if not isinstance(read, TokenIds):
            return read
        sent = read.ids if self.config.wire == "openai" else text
        return AskedText(key, sent, len(read.ids), read.cut)

    async def _all(self, asked: Sequence[AskedText]) -> list[Embedding | SampleError]:
        give_up_at_s = asyncio.get_running_loop().time() + self.config.timeout_s
        return await asyncio.gather(*(self._one(each, give_up_at_s) for each in asked))

    async def _one(self, asked: AskedText, give_up_at_s: float) -> Embedding | SampleError:
        try:
            found = await self._gathered.ask(asked, give_up_at_s)
        except UpstreamFailed as why:
            return sample_error("upstream_failed", str(why), retryable=why.retryable)
        if isinstance(found, str):
            return sample_error("upstream_failed", found, retryable=False)
        return Embedding(found, asked.tokens, asked.cut)

    async def _vectors(
        self, asked: Sequence[AskedText], give_up_at_s: float | None
    ) -> list[np.ndarray | str]:
        async with self._turns:
            answer = await self.transport.ask(self._body([one.sent for one in asked]), give_up_at_s)
        return self._read(answer, len(asked))

    def _body(self, texts: Sequence[str | list[int]]) -> bytes:
        config = self.config
        if config.wire == "tei":
            cut = config.truncation == "right"
            return json.encode({"inputs": texts, "truncate": cut, "normalize": True})
        body = {"model": config.model, "input": texts, "encoding_format": "float"}
        return json.encode(body)

    def _read(self, answer: Any, count: int) -> list[np.ndarray | str]:
        """Return for each text its vector, or the reason why it has none.

        Raises:
            UpstreamFailed: the vectors cannot be assigned to the texts, or another model answered.
        """
        rows = answer if self.config.wire == "tei" else _by_index(answer)
        if not is_list(rows) or len(rows) != count:
            raise self.transport.misshapen(json.encode(answer), f"no {count} embeddings")
        if is_object(answer):
            self._reported.check(answer.get("model"))
        return [self._vector(row) for row in rows]

    def _vector(self, row: Any) -> np.ndarray | str:
        plain = is_list(row) and all(isinstance(n, float) or type(n) is int for n in row)
        with np.errstate(over="ignore"):  # values beyond fp32 become infinite and are refused below
            vector = np.array(row if plain else [], dtype=np.float32)
        self._dimensions = self._dimensions or len(vector)
        if not len(vector) or len(vector) != self._dimensions:
            return f"an embedding that is not a list of {self._dimensions or 'some'} numbers"
        if not np.isfinite(vector).all() or not vector.any():
            return "an embedding that is zero or not finite"
        return vector

    async def _proof(self, ask: AskOne) -> str | None:
        """Return why the endpoint's vectors differ from the local model's, or None."""
        from touchstone_rewards.reward_server.models.parity import KNOWN_TEXTS

        texts = [self._asked(b"", self.config.prefix + text) for text in KNOWN_TEXTS]
        sent = [one.sent for one in texts if isinstance(one, AskedText)]
        found = self._read(await ask(self._body(sent)), len(sent))
        drift = 0.0
        for vector, known in zip(found, self._known or (), strict=True):
            if isinstance(vector, str) or len(vector) != len(known):
                return (
                    f"does not return embeddings of {len(known)} numbers, as "
                    f"{self.config.local_folder} does"
                )
            drift = max(drift, 1 - cosine(vector, known))
        tolerance = TOLERANCE[self.config.dtype]
        self.about |= {"parity_drift": drift, "parity_tolerance": tolerance}
        if drift <= tolerance and not math.isnan(drift):
            return None
        return (
            "fails the parity self-test: its embeddings of known texts differ from those of "
            f"{self.config.local_folder} by up to {drift:.3g} (cosine distance), where "
            f"{self.config.dtype} allows {tolerance:g}; look at the model, the pooling and prefix"
        )


def load_remote_embedder(config: RemoteEmbeddingConfig) -> RemoteEmbedder:
    """Return the model behind the endpoint of `config`, bound to the calling thread.

    Raises:
        ConfigError: its vectors differ from the local model's, or the key is missing.
    """
    try:
        model = RemoteEmbedder(config)
    except ValueError as error:
        raise ConfigError(f"embedding model {config.label}: {error}") from None
    try:
        model.prove()
    except BaseException:
        model.close()
        raise
    return model


def _reader(config: RemoteEmbeddingConfig) -> TextReader:
    # Deferred: imports torch.
    from touchstone_rewards.reward_server.models.checkpoint import read_tokenizer
    from touchstone_rewards.reward_server.models.files import read_json

    folder = resolve(config.local_folder or "")
    tokenizer = read_tokenizer(folder, None, pad_token=None)
    known: Any = tokenizer
    said = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    context = read_json(folder / "config.json").get("max_position_embeddings")
    most = min(int(limit) for limit in (said, context, known.model_max_length) if limit)
    truncation = config.truncation
    return TextReader(tokenizer, template="plain", max_tokens=most, truncation=truncation)


def _known_vectors(config: RemoteEmbeddingConfig) -> list[np.ndarray]:
    """Embed the known texts with the model in `local_folder`, one at a time in fp32."""
    from touchstone_rewards.reward_server.models.config import EmbeddingConfig
    from touchstone_rewards.reward_server.models.embedding import load_embedder
    from touchstone_rewards.reward_server.models.parity import KNOWN_TEXTS

    local = EmbeddingConfig(
        model=config.local_folder or "",
        device="cpu",
        dtype="float32",
        prefix=config.prefix,
        truncation=config.truncation,
        cache_bytes=0,
    )
    model = load_embedder(local)
    try:
        prepared: list[Any] = model.prepare(KNOWN_TEXTS)
        return [found.vector for one in prepared for found in model.run([one])]
    finally:
        model.close()


def _by_index(answer: Any) -> list[Any] | None:
    data = answer.get("data") if is_object(answer) else None
    if not is_list(data):
        return None
    rows = [row for row in data if is_object(row) and type(row.get("index")) is int]
    found: dict[int, Any] = {row["index"]: row.get("embedding") for row in rows}
    return [found.get(at) for at in range(len(data))]
