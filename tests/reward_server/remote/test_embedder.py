"""`similarity` and `story` score with embeddings behind an endpoint as with a local model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.peers import Action, Hang, Reply, Reset, Script, Seen
from tests.reward_server.models.test_embedding import sentence_folder
from tests.reward_server.remote.conftest import StartPeer, in_turn
from tests.started_engines import started_engines
from tests.waiting import longer_and_longer, until
from touchstone_rewards.reward_server.errors import ConfigError, InvalidRequest
from touchstone_rewards.reward_server.http.model_routes import check_changes
from touchstone_rewards.reward_server.models.config import EmbeddingConfig
from touchstone_rewards.reward_server.models.embedding import load_embedder
from touchstone_rewards.reward_server.remote import liveness
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scoring.engine import Engine

StartEngine = Callable[..., Awaitable[Engine]]
Vectors = Callable[[Sequence[Any]], list[list[float]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sentence")
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    return sentence_folder(made, ["Pooling", "Normalize"], pooling)


@pytest.fixture(scope="module")
def vectors(folder: Path) -> Vectors:
    model = load_embedder(EmbeddingConfig(model=str(folder), dtype="float32", device="cpu"))
    tokenizer: Any = model.reader.tokenizer

    def found(inputs: Sequence[Any]) -> list[list[float]]:
        ids = [tokenizer(one).input_ids if isinstance(one, str) else one for one in inputs]
        return [model.vector_alone(one).tolist() for one in ids]

    return found


def served(wire: str, vectors: Vectors) -> Script:
    def act(request: Seen) -> Action:
        if wire == "tei":
            return Reply(200, vectors(request.body["inputs"]))
        found = enumerate(vectors(request.body["input"]))
        data = [{"index": at, "embedding": vector} for at, vector in found]
        return Reply(200, {"object": "list", "model": "m", "data": data[::-1]})

    return act


@pytest.fixture
async def start_engine(tmp_path: Path) -> AsyncIterator[StartEngine]:
    async with started_engines(tmp_path) as start:

        def similarity(**config: Any) -> Awaitable[Engine]:
            entry = {"config": {"clip": [-1, 1], **config}}
            return start("near", {"scorers": {"similarity": entry}})

        yield similarity


async def scored(engine: Engine, *pairs: tuple[str, str]) -> list[SampleResult]:
    samples = [Sample(str(i), one, ground_truth=other) for i, (one, other) in enumerate(pairs)]
    return (await engine.score(ScoreRequest(samples, profile="near", explain=True))).results


PAIRS = [("one two three", "one two"), ("the story", "ten"), ("ten", "ten"), ("one", "five six")]


def base(url: str, wire: str = "openai") -> str:
    return url.removesuffix("/v1")


@pytest.mark.parametrize("wire", ["openai", "tei"])
async def test_similarity_is_that_of_the_local_model(
    start_peer: StartPeer, start_engine: StartEngine, folder: Path, vectors: Vectors, wire: str
) -> None:
    peer = await start_peer(served(wire, vectors))
    far = {"url": base(peer.url), "wire": wire, "model": "m", "local_folder": str(folder)}
    engine = await start_engine(**far, dtype="float32")
    found = [result.reward for result in await scored(engine, *PAIRS)]
    [info] = engine.models.info()
    assert info.ready
    assert info.about["parity_drift"] <= 1e-5
    near = await start_engine(model=str(folder), dtype="float32", name="near", device="cpu")
    expected = [result.reward for result in await scored(near, *PAIRS)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[2] == pytest.approx(1.0)
    asked = [seen.body.get("input") or seen.body["inputs"] for seen in peer.seen]
    assert sum(map(len, asked)) == 7 + 6, "a text is asked for once"


async def test_a_model_with_other_vectors_is_refused(
    start_peer: StartPeer, start_engine: StartEngine, folder: Path, vectors: Vectors
) -> None:
    def turned(inputs: Sequence[Any]) -> list[list[float]]:
        return [vector[1:] + vector[:1] for vector in vectors(inputs)]

    peer = await start_peer(served("openai", turned))
    far = {"url": base(peer.url), "model": "m", "local_folder": str(folder), "dtype": "float32"}
    with pytest.raises(ConfigError, match="fails the parity self-test"):
        await start_engine(**far)
    short = await start_peer(served("openai", lambda inputs: [[1.0, 2.0] for _ in inputs]))
    with pytest.raises(ConfigError, match="does not return embeddings of 32 numbers"):
        await start_engine(**far | {"url": base(short.url)})


def rows(*vectors: Any, model: str = "m") -> Reply:
    data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return Reply(200, {"model": model, "data": data})


BAD: dict[str, tuple[Action, str]] = {
    "too few": (rows([1.0, 2.0]), "no 2 embeddings"),
    "too many": (rows([1.0], [1.0], [1.0]), "no 2 embeddings"),
    "of two lengths": (rows([1.0, 2.0], [1.0]), "is not a list of 2 numbers"),
    "zero": (rows([0.0, 0.0], [1.0, 2.0]), "zero or not finite"),
    "null": (rows([None, 1.0], [1.0, 2.0]), "is not a list of"),
    "beyond fp32": (rows([1e300, 1.0], [1.0, 2.0]), "zero or not finite"),
    "base64": (rows("AACAPw==", "AACAPw=="), "is not a list of"),
    "indices that are none": (
        Reply(200, {"data": [{"index": []}, {"index": []}]}),
        "not a list of",
    ),
    "an error with 200": (Reply(200, {"error": "x"}), "no 2 embeddings"),
    "truncated JSON": (Reply(200, '{"data": ['), "no JSON"),
    "a storm of 429": (Reply(429, "busy"), "answered 429"),
    "a refusal": (Reply(413, {"error": "too long"}), "answered 413"),
    "a hang": (Hang(), "did not answer within"),
    "a reset": (Reset(), "gave no answer"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_an_endpoint_gets_wrong_is_null(
    start_peer: StartPeer, start_engine: StartEngine, name: str
) -> None:
    action, message = BAD[name]
    peer = await start_peer(in_turn(action))
    for timeout_s in longer_and_longer(0.2):
        engine = await start_engine(url=base(peer.url), model="m", timeout_s=timeout_s)
        [result] = await scored(engine, ("one", "two"))
        assert result.reward is None
        assert result.error is not None
        assert result.error.code == "upstream_failed"
        if message in result.error.message:
            return
    pytest.fail(f"no word of {message!r}")


async def test_a_batch_waits_no_longer_than_its_time_for_an_endpoint_that_hangs(
    start_peer: StartPeer, start_engine: StartEngine
) -> None:
    peer = await start_peer(lambda _: Hang())
    engine = await start_engine(url=base(peer.url), model="m", timeout_s=0.4)
    [result] = await scored(engine, ("one", "two"))
    assert result.error is not None
    assert "did not answer within 0.35 s" in result.error.message  # of 0.4, less a margin
    assert len(peer.seen) == 1  # nothing is left for a second try


async def test_ready_tells_of_a_dead_endpoint_of_embeddings_and_it_heals(
    start_peer: StartPeer, start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "EVERY_S", 0.0)
    broken = True

    def act(request: Seen) -> Action:
        if broken:
            return Reply(500, "no")
        return rows(*([1.0, 2.0] for _ in request.body["input"])) if request.body else Reply(404)

    peer = await start_peer(act)
    engine = await start_engine(url=base(peer.url), model="m", timeout_s=2)
    upstreams = engine.upstreams
    assert [each.scorer for each in upstreams.states()] == ["near.similarity"]
    assert not upstreams.down()
    while not upstreams.down():
        [result] = await scored(engine, ("one", "two"))
        assert result.reward is None
    assert upstreams.down() == {"near.similarity": "none of its 1 endpoints answers"}
    broken = False

    def is_back() -> bool:
        upstreams.look()
        return not upstreams.down()

    await until(is_back)
    [result] = await scored(engine, ("one", "two"))
    assert result.reward == pytest.approx(1.0)
    [state] = upstreams.states()
    assert [each.up for each in state.endpoints] == [True]


async def test_a_text_that_is_refused_spoils_no_other(
    start_peer: StartPeer, start_engine: StartEngine
) -> None:
    def act(request: Seen) -> Action:
        texts = request.body["inputs"]
        return Reply(422, "too long") if "bad" in texts else Reply(200, [[1.0, 2.0]] * len(texts))

    peer = await start_peer(act)
    engine = await start_engine(url=base(peer.url), wire="tei", model="m")
    found = await scored(engine, ("one", "two"), ("bad", "three"), ("four", "five"))
    assert [result.reward for result in found] == [pytest.approx(1.0), None, pytest.approx(1.0)]


async def test_another_model_than_before_gives_no_vectors(
    start_peer: StartPeer, start_engine: StartEngine
) -> None:
    two = [1.0, 2.0], [2.0, 1.0]
    peer = await start_peer(in_turn(rows(*two), rows(*two, model="m-2")))
    engine = await start_engine(url=base(peer.url), model="m")
    assert (await scored(engine, ("one", "two")))[0].reward == pytest.approx(0.8)
    [other] = await scored(engine, ("three", "four"))
    assert other.error is not None
    assert "as model 'm-2' where 'm' was expected" in other.error.message


def test_story_takes_an_endpoint_where_it_can_count_tokens(folder: Path) -> None:
    far = {"url": "http://x", "model": "m"}
    assert build_scorer("story", {"part": "coherence", **far}).runs_in == "model"
    with pytest.raises(ConfigError, match="part novelty counts tokens: set local_folder"):
        build_scorer("story", {"part": "novelty", **far})
    build_scorer("story", {"part": "novelty", **far, "local_folder": str(folder)})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"device": "cuda"}, "device: decided by the engine behind url"),
        ({"key_env": "sk-secret"}, "not the key itself"),
        ({"url": "ftp://x"}, "does not begin with http:// or https://"),
        ({"wire": "cohere"}, "wire"),
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_scorer("similarity", {"url": "http://x", "model": "m", **config})


@pytest.mark.parametrize("name", ["url", "key_env", "key_file"])
def test_a_request_cannot_send_the_key_elsewhere(name: str) -> None:
    with pytest.raises(InvalidRequest, match="can be set in the operator's profile only"):
        check_changes({name: "http://elsewhere"}, None)
