"""Reward models behind endpoints: their answer is the score, a wrong answer gives null."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.peers import Action, Drip, Hang, Reply, Reset, Seen
from tests.reward_server.models import tiny
from tests.reward_server.remote.conftest import StartPeer, in_turn
from tests.reward_server.remote.engines import Scores, engine, model_scores
from tests.waiting import longer_and_longer
from touchstone_rewards.reward_server.commands.check import KNOWN_SAMPLES, check
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.reward import load_reward_model
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.remote.reward_model import RemoteRewardModel
from touchstone_rewards.reward_server.remote.reward_parity import TOLERANCE
from touchstone_rewards.reward_server.remote.reward_wires import REWARD_WIRES
from touchstone_rewards.reward_server.schemas import Message, Sample, ScoreRequest
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

Make = Callable[..., RemoteRewardModel]
PATHS = {str(name): wire.path for name, wire in REWARD_WIRES.items()}
TEXTS = ["one two three", "ten", "the reward of a story", "four " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.classifier(tmp_path_factory.mktemp("rm"), initializer_range=0.3)


@pytest.fixture(scope="module")
def scores(folder: Path) -> Scores:
    return model_scores(folder)


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[RemoteRewardModel] = []

    def scorer(url: str | list[str], **config: Any) -> RemoteRewardModel:
        given = {"wire": "vllm_classify", "model": "rm", "template": "plain", **config}
        built = build_scorer("remote_reward_model", {"url": url, **given})
        assert isinstance(built, RemoteRewardModel)
        made.append(built)
        return built

    yield scorer
    for built in made:
        await built.transport.aclose()


def base(url: str) -> str:
    return url.removesuffix("/v1")


def samples(*responses: str) -> list[Sample]:
    return [Sample(str(i), text, prompt="Tell me") for i, text in enumerate(responses)]


async def scored(scorer: RemoteRewardModel, *responses: str, within_s: float = 60.0) -> list[Score]:
    give_up_at_s = asyncio.get_running_loop().time() + within_s
    return await scorer.score(samples(*responses), explain=True, give_up_at_s=give_up_at_s)


async def ready(scorer: RemoteRewardModel) -> None:
    await scorer.make_ready(asyncio.get_running_loop().time() + 60)


def why(score: Score) -> str:
    assert score.value is None
    assert score.error is not None
    assert score.error.code == "upstream_failed"
    return score.error.message


@pytest.mark.parametrize("wire", PATHS)
async def test_each_wire_gives_what_the_local_model_gives(
    start_peer: StartPeer, make: Make, folder: Path, scores: Scores, wire: str
) -> None:
    peer = await start_peer(engine(wire, scores))
    scorer = make(
        base(peer.url), wire=wire, template="here", local_folder=str(folder), dtype="float32"
    )
    await ready(scorer)
    assert scorer.about["parity_drift"] <= 1e-4
    local = load_reward_model(RewardModelConfig(model=str(folder), dtype="float32", device="cpu"))
    prepared = local.prepare([Text("Tell me", text) for text in TEXTS])
    expected = [output.score for output in local.run(prepared)]
    assert max(expected) - min(expected) > 0.1
    found = await scored(scorer, *TEXTS)
    assert [score.value for score in found] == pytest.approx(expected, abs=1e-4)
    assert peer.seen[-1].path == PATHS[wire]
    assert len(peer.seen) == 2, "the proof and the four texts in one request each"
    told = found[0].explanation
    assert told is not None
    assert told["chat_template"] == f"here, of {folder}"


async def test_an_endpoint_that_scores_otherwise_is_refused(
    start_peer: StartPeer, make: Make, folder: Path, scores: Scores
) -> None:
    def biased(inputs: Any) -> list[float]:
        return [each + 0.5 for each in scores(inputs)]

    wrong, right = await start_peer(engine("vllm_classify", biased)), None
    named = {"template": "here", "local_folder": str(folder), "dtype": "float32"}
    scorer = make(base(wrong.url), **named)
    with pytest.raises(ConfigError, match=r"fails the parity self-test.*by up to 0\.5") as caught:
        await ready(scorer)
    assert str(folder) in str(caught.value)
    [score] = await scored(scorer, "one")
    assert "fails the parity self-test" in why(score)
    assert score.error is not None
    assert not score.error.retryable
    assert len(wrong.seen) == 1, "it was asked for its proof and for nothing else"
    right = await start_peer(engine("vllm_classify", scores))
    both = make([base(wrong.url), base(right.url)], **named)
    found = await scored(both, *TEXTS)
    assert all(score.error is None for score in found)
    assert len(wrong.seen) <= 2


async def test_an_engine_may_be_off_by_what_its_dtype_changes_in_the_local_model(
    start_peer: StartPeer, make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCE, "bfloat16", 1e-9)
    half = load_reward_model(
        RewardModelConfig(model=str(folder), dtype="bfloat16", device="cpu", layout="padded")
    )

    def rounded(inputs: Any) -> list[float]:
        return [half.scores([ids], "padded").item() for ids in inputs]

    peer = await start_peer(engine("vllm_classify", rounded))
    named = {"template": "here", "local_folder": str(folder), "dtype": "bfloat16"}
    scorer = make(base(peer.url), **named)
    await ready(scorer)
    assert 1e-6 < scorer.about["parity_drift"] <= scorer.about["parity_tolerance"] < 0.2
    other = await start_peer(
        engine("vllm_classify", lambda inputs: [each + 0.2 for each in rounded(inputs)])
    )
    with pytest.raises(ConfigError, match="fails the parity self-test"):
        await ready(make(base(other.url), **named))


async def test_a_restarted_engine_is_proven_again(
    start_peer: StartPeer, make: Make, folder: Path, scores: Scores
) -> None:
    offset, resets = 0.0, 0

    def act(request: Seen) -> Action:
        nonlocal resets
        if resets:
            resets -= 1
            return Reset()
        return engine("vllm_classify", lambda ids: [s + offset for s in scores(ids)])(request)

    peer = await start_peer(act)
    scorer = make(base(peer.url), template="here", local_folder=str(folder), dtype="float32")
    await ready(scorer)
    [first] = await scored(scorer, "one")
    offset, resets = 1.0, 1
    [second] = await scored(scorer, "two")
    assert first.error is None
    assert "fails the parity self-test" in why(second)


async def test_one_that_is_not_there_yet_is_proven_before_its_first_sample(
    start_peer: StartPeer, make: Make, folder: Path, scores: Scores
) -> None:
    up = False
    serve = engine("vllm_classify", scores)
    peer = await start_peer(lambda request: serve(request) if up else Reply(503, "loading"))
    scorer = make(base(peer.url), template="here", local_folder=str(folder), dtype="float32")
    await ready(scorer)
    assert scorer.about["unproven"] == [f"{base(peer.url)}/classify"]
    up = True
    [score] = await scored(scorer, "one")
    assert score.error is None
    assert scorer.about["parity_drift"] <= 1e-4


async def test_a_template_that_the_engine_applies_is_sent_as_a_chat(
    start_peer: StartPeer, make: Make
) -> None:
    peer = await start_peer(in_turn(Reply(200, {"data": [{"index": 0, "probs": [0.25]}]})))
    scorer = make(base(peer.url), template="engine")
    [score, other] = await scored(scorer, "one", "two")
    assert (score.value, other.value) == (0.25, 0.25)
    assert peer.seen[0].body["messages"] == [
        {"role": "user", "content": "Tell me"},
        {"role": "assistant", "content": "one"},
    ]
    assert peer.seen[0].body["use_activation"] is False
    assert len(peer.seen) == 2, "a chat a request"


async def test_callers_at_once_share_requests_and_each_gets_its_own(
    start_peer: StartPeer, make: Make
) -> None:
    def lengths(request: Seen) -> Action:
        data = [{"index": i, "probs": [float(len(t))]} for i, t in enumerate(request.body["input"])]
        return Reply(200, {"model": "rm", "data": data})

    peer = await start_peer(lengths)
    scorer = make(base(peer.url), batch_size=10)
    texts = ["x" * n for n in range(1, 26)]
    found = await asyncio.gather(*(scored(scorer, text) for text in texts))
    assert [score.value for [score] in found] == [len("Tell me") + n for n in range(1, 26)]
    assert [len(seen.body["input"]) for seen in peer.seen] == [10, 10, 5]


async def test_a_text_that_the_engine_refuses_spoils_no_other(
    start_peer: StartPeer, make: Make
) -> None:
    def act(request: Seen) -> Action:
        inputs = request.body["input"]
        if any("bad" in text for text in inputs):
            return Reply(400, {"error": {"message": "too long"}})
        data = [{"index": i, "probs": [1.0]} for i in range(len(inputs))]
        return Reply(200, {"data": data, "model": "rm"})

    peer = await start_peer(act)
    found = await scored(make(base(peer.url)), "one", "bad", "two")
    assert [score.value for score in found] == [1.0, None, 1.0]
    assert "answered 400" in why(found[1])


def data(*rows: Any, model: str = "rm") -> Reply:
    found = [{"index": i, "probs": row} for i, row in enumerate(rows)]
    return Reply(200, {"model": model, "data": found})


BAD: dict[str, tuple[Action, str]] = {
    "too few": (data(), "0 outputs for 1 inputs"),
    "too many": (data([1.0], [2.0]), "2 outputs for 1 inputs"),
    "the wrong index": (Reply(200, {"data": [{"index": 3, "probs": [1.0]}]}), "indices are not"),
    "null for a number": (data([None]), "not a finite number"),
    "NaN": (Reply(200, '{"data": [{"index": 0, "probs": [NaN]}]}'), "200 with no JSON"),
    "a huge number": (Reply(200, '{"data": [{"index": 0, "probs": [1e999]}]}'), "no"),
    "text for a number": (data(["1.0"]), "not a finite number"),
    "true for a number": (data([True]), "not a finite number"),
    "two classes": (data([0.1, 0.9]), "2 outputs (0, 1); set label"),
    "nothing for a text": (data([]), "0 outputs"),
    "a list": (Reply(200, [[1.0]]), "no list of outputs"),
    "an error with 200": (Reply(200, {"error": "CUDA out of memory"}), "CUDA out of memory"),
    "truncated JSON": (Reply(200, '{"data": [{"index"'), "200 with no JSON"),
    "a storm of 429": (Reply(429, "slow down"), "answered 429: 'slow down'"),
    "a refusal": (Reply(404, {"error": "no model rm"}), "answered 404"),
    "a hang": (Hang(), "did not answer within"),
    "a drip": (Drip(), "did not answer within"),
    "a reset": (Reset(), "gave no answer"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_an_engine_gets_wrong_is_null(
    start_peer: StartPeer, make: Make, name: str
) -> None:
    action, message = BAD[name]
    peer = await start_peer(in_turn(action))
    told = ""
    for within_s in longer_and_longer(1.0):
        scorer = make(base(peer.url), timeout_s=within_s / 5)
        [score] = await scored(scorer, "one", within_s=within_s)
        told = why(score)
        if message in told:
            break
    assert message in told
    assert len(told) < 450


async def test_another_model_than_before_is_another_scorer(
    start_peer: StartPeer, make: Make
) -> None:
    peer = await start_peer(in_turn(data([1.0]), data([1.0], model="rm-2")))
    scorer = make(base(peer.url))
    [first], [second] = await scored(scorer, "one"), await scored(scorer, "two")
    assert first.value == 1.0
    assert "as model 'rm-2' where 'rm' was expected" in why(second)


async def test_a_label_names_the_output_that_counts(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(in_turn(data([0.1, 0.9])))
    [score] = await scored(make(base(peer.url), label=1, activation=True), "one")
    assert score.value == 0.9
    named = [[{"label": "bad", "score": 0.75}, {"label": "good", "score": 0.25}]]
    tei = await start_peer(in_turn(Reply(200, named)))
    config = {"wire": "tei_predict", "label": "good", "activation": True}
    [score] = await scored(make(base(tei.url), **config), "one")
    assert score.value == 0.25
    assert tei.seen[0].body == {"inputs": [["Tell meone"]], "raw_scores": False, "truncate": False}


async def test_probabilities_that_are_none_are_refused(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(in_turn(data([3.5])))
    [score] = await scored(make(base(peer.url), activation=True), "one")
    assert "a score outside 0 to 1" in why(score)


async def test_the_last_token_counts_where_every_token_has_a_score(
    start_peer: StartPeer, make: Make
) -> None:
    rows = {"index": 0, "data": [[0.5], [-1.5]]}
    peer = await start_peer(in_turn(Reply(200, {"model": "rm", "data": [rows]})))
    [score] = await scored(make(base(peer.url), wire="vllm_pooling"), "one")
    assert score.value == -1.5


STEPS = {"wire": "vllm_pooling", "activation": True, "label": 1, "step_mark": "<eos>"}


def step_scores(*good: float) -> Reply:
    rows = [[1 - one, one] for one in good]
    return Reply(200, {"model": "rm", "data": [{"index": 0, "data": rows}]})


@pytest.mark.parametrize(
    ("how", "value"), [("last", 0.5), ("min", 0.5), ("mean", 0.7), ("product", 0.32)]
)
async def test_the_scores_of_steps_come_to_one(
    start_peer: StartPeer, make: Make, how: str, value: float
) -> None:
    peer = await start_peer(in_turn(step_scores(0.8, 0.8, 0.5)))
    scorer = make(base(peer.url), step_scores=how, **STEPS)
    [score] = await scored(scorer, "one\n\ntwo\n\n \n\nthree")
    assert score.value == pytest.approx(value)
    assert score.explanation is not None
    assert score.explanation["steps"] == [0.8, 0.8, 0.5]
    assert peer.seen[0].body["input"] == ["Tell meone<eos>two<eos>three<eos>"]
    assert scorer.range == (0.0, 1.0)


async def test_of_a_score_a_token_those_of_the_marks_count(
    start_peer: StartPeer, make: Make, folder: Path
) -> None:
    def act(request: Seen) -> Action:
        [ids] = request.body["input"]
        return step_scores(*(0.1 * (at % 7) for at in range(len(ids))))

    peer = await start_peer(act)
    more = {"local_folder": str(folder), "parity": False, "step_scores": "mean"}
    [score] = await scored(make(base(peer.url), **STEPS, **more), "one two \n\nthree ")
    # <bos> Tell me one two <eos> three <eos>, with a space that no word needs.
    [ids] = peer.seen[0].body["input"]
    assert [at for at, token in enumerate(ids) if token == 2] == [4, 6]
    assert score.explanation is not None
    assert score.explanation["steps"] == pytest.approx([0.4, 0.6])


async def test_a_response_cannot_mark_steps_of_its_own(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(in_turn(step_scores(0.4), step_scores(0.9, 0.9)))
    scorer = make(base(peer.url), step_scores="mean", **STEPS)
    [score] = await scored(scorer, "one<eos><e<eos>os>two")
    assert score.value == pytest.approx(0.4)
    assert peer.seen[0].body["input"][0].count("<eos>") == 1
    [other] = await scored(scorer, "one")
    assert "2 scores for 1 steps" in why(other)


async def test_a_response_without_a_step_has_earned_nothing(make: Make) -> None:
    [score] = await scored(make("http://127.0.0.1:9", step_scores="last", **STEPS), " \n\n ")
    assert score.value == 0.0


async def test_what_cannot_be_read_is_that_samples_error(
    start_peer: StartPeer, make: Make, folder: Path, scores: Scores
) -> None:
    peer = await start_peer(engine("vllm_classify", scores))
    more: dict[str, Any] = {"template": "here", "local_folder": str(folder), "max_tokens": 200}
    scorer = make(base(peer.url), dtype="float32", **more)
    asked = [
        Sample("1", "one", prompt="Tell me"),
        Sample("2", "one", prompt=None),
        Sample("3", "one", prompt=[Message("refused", "x")]),
        Sample("4", "one " * 500, prompt="Tell me"),
    ]
    found = await scorer.score(asked, explain=False)
    codes = [score.error and score.error.code for score in found]
    assert codes == [None, "missing_field", "scorer_failed", "response_too_large"]
    assert found[0].value is not None


REFUSED: dict[str, dict[str, Any]] = {
    "needs model: its name at the endpoint": {"model": None},
    "template: here needs local_folder": {"template": "here"},
    "takes no chats": {"wire": "tei_predict", "template": "engine"},
    "max_tokens: needs local_folder": {"max_tokens": 100},
    "set step_scores": {"step_mark": "<x>"},
    "returns no score per step": {"step_scores": "min", "step_mark": "<x>"},
    "needs step_mark and activation": {"wire": "vllm_pooling", "step_scores": "min"},
    "there is no key 'api_key'": {"api_key": "sk-secret"},
    "not the key itself": {"key_env": "sk-secret"},
    "an address holds a key": {"url": "https://user:sk-secret@x"},
    "set key_env or key_file": {"key_env": "A", "key_file": "/b"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_wrong_config_is_one_line_that_shows_no_key(message: str) -> None:
    config = {"wire": "vllm_classify", "model": "rm", "template": "plain", "url": "http://x"}
    with pytest.raises(ConfigError) as caught:
        build_scorer("remote_reward_model", config | REFUSED[message])
    told = str(caught.value)
    assert message in told
    assert "sk-secret" not in told
    assert "\n" not in told


def test_a_mark_must_be_one_token(folder: Path) -> None:
    config = {"url": "http://x", "model": "rm", "template": "plain", "local_folder": str(folder)}
    steps = STEPS | {"step_mark": "one-two", "step_scores": "min", "parity": False}
    build_scorer("remote_reward_model", config | steps)  # an unknown word is one token here
    with pytest.raises(ConfigError, match="is 2 tokens"):
        build_scorer("remote_reward_model", config | steps | {"step_mark": "<eos><eos>"})


def test_the_version_is_that_of_the_folder(folder: Path, tmp_path: Path) -> None:
    config = {"url": "http://x", "model": "rm", "wire": "vllm_classify"}
    other = tiny.classifier(tmp_path / "other", initializer_range=0.1)
    versions = {
        build_scorer("remote_reward_model", config | {"local_folder": str(each)}).version
        for each in (folder, other)
    }
    assert len(versions) == 2


def _profile(path: Path, url: str, folder: Path) -> Path:
    config = {"url": url, "wire": "vllm_pooling", "model": "rm", "local_folder": str(folder)}
    entry = {"deadline_s": 60, "config": config | {"dtype": "float32"}}
    (path / "far.yaml").write_text(yaml.safe_dump({"scorers": {"remote_reward_model": entry}}))
    return path


async def test_a_server_does_not_start_on_an_endpoint_that_scores_otherwise(
    start_peer: StartPeer, folder: Path, scores: Scores, tmp_path: Path
) -> None:
    wrong = await start_peer(engine("vllm_pooling", lambda ids: [0.0] * len(ids)))
    profiles = load_profiles([_profile(tmp_path, base(wrong.url), folder)])
    engine_ = create_engine(profiles, load_settings(overrides={"workers": 1}), Metrics())
    with pytest.raises(ConfigError, match="parity self-test"):
        await engine_.start()
    right = await start_peer(engine("vllm_pooling", scores))
    profiles = load_profiles([_profile(tmp_path, base(right.url), folder)])
    engine_ = create_engine(profiles, load_settings(overrides={"workers": 1}), Metrics())
    await engine_.start()
    answer = await engine_.score(ScoreRequest(samples(*TEXTS), profile="far", explain=True))
    assert [result.reward is not None for result in answer.results] == [True] * 4
    await engine_.stop()


async def test_check_says_how_an_endpoint_did(
    start_peer: StartPeer, folder: Path, scores: Scores, tmp_path: Path
) -> None:
    settings = load_settings(overrides={"workers": 1, "profiles_dir": str(tmp_path)})
    right = await start_peer(engine("vllm_pooling", scores))
    _profile(tmp_path, base(right.url), folder)
    findings = {each.what: each for each in await check(settings, KNOWN_SAMPLES)}
    endpoint = findings["endpoint far.remote_reward_model"]
    assert endpoint.good
    assert "parity_drift" in endpoint.said
    down = await start_peer(in_turn(Reply(404, "no such route")))
    _profile(tmp_path, base(down.url), folder)
    findings = {each.what: each for each in await check(settings, KNOWN_SAMPLES)}
    assert not findings["endpoint far.remote_reward_model"].good
    wrong = await start_peer(engine("vllm_pooling", lambda ids: [1.0] * len(ids)))
    _profile(tmp_path, base(wrong.url), folder)
    [refused] = await check(settings, KNOWN_SAMPLES)
    assert (refused.what, refused.good) == ("loading", False)
    assert "parity self-test" in refused.said
