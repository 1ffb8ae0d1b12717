"""A judge by log-probabilities and of pairs, and its win rates: swaps, ties, failures, names."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.peers import Action, Reply, Seen
from tests.reward_server.remote.conftest import StartPeer, in_turn
from tests.reward_server.remote.test_judge import YES, MakeJudge, make, said, sample, verdict, why
from tests.started_engines import started_engines
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scoring.engine import Engine

__all__ = ["make"]
StartEngine = Callable[[dict[str, Any]], Awaitable[Engine]]


def likely(**probabilities: float) -> Reply:
    """Return an answer of one token, together with its other candidates."""
    top = [{"token": each, "logprob": math.log(share)} for each, share in probabilities.items()]
    content = [{**top[0], "top_logprobs": top}]
    reply = said(top[0]["token"], finish="length")
    reply.body["choices"][0]["logprobs"] = {"content": content}
    return reply


def shown(request: Seen) -> tuple[str, str]:
    """Return the two responses of a prompt, in their order."""
    prompt = request.body["messages"][0]["content"]
    first, second = re.findall(r"\[response [AB] \w+ begins\]\n(.*?)\n\[", prompt, re.DOTALL)
    return first, second


def longer(request: Seen) -> Action:
    """Judge the longer response to be the better one."""
    first, second = map(len, shown(request))
    return said(f"Verdict: {'tie' if first == second else 'A' if first > second else 'B'}")


async def test_the_share_of_yes_is_the_verdict(start_peer: StartPeer, make: MakeJudge) -> None:
    peer = await start_peer(in_turn(likely(Yes=0.6, No=0.2), likely(The=0.9, No=0.1), YES))
    judge = make(peer.url, verdict="logprobs")
    assert (await verdict(judge, sample())).value == pytest.approx(0.75)
    body = peer.seen[0].body
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)
    assert body["messages"][0]["content"].rstrip().endswith("nothing else: yes or no.")
    told = why(await verdict(judge, sample("47")))
    assert "yes and no have 0.1 of the probability; its likeliest tokens are ['The', 'No']" in told
    assert "no choices[0].logprobs.content[0].top_logprobs" in why(await verdict(judge, sample()))
    assert (await verdict(make(peer.url), sample())).value == 1.0


async def test_a_pair_is_judged_in_both_orders(start_peer: StartPeer, make: MakeJudge) -> None:
    peer = await start_peer(longer)
    judge = make(peer.url, prompt="pairwise")
    for response, other, value in (("long", "no", 1.0), ("no", "long", 0.0), ("ab", "cd", 0.5)):
        score = await verdict(judge, sample(response, ground_truth=other))
        assert score.value == value
    assert [shown(seen) for seen in peer.seen[:2]] == [("long", "no"), ("no", "long")]
    marks = {tuple(re.findall(r"response [AB] (\w+)", _prompt(seen))) for seen in peer.seen[:2]}
    assert len({mark for each in marks for mark in each}) == 1


def _prompt(seen: Seen) -> str:
    return seen.body["messages"][0]["content"]


async def test_who_stands_first_wins_nothing(start_peer: StartPeer, make: MakeJudge) -> None:
    peer = await start_peer(in_turn(said("Verdict: A")))
    pair = sample("one", ground_truth="another")
    assert (await verdict(make(peer.url, prompt="pairwise"), pair)).value == 0.5
    strict = make(peer.url, prompt="pairwise", inconsistent=None)
    assert "changes when the two responses are swapped" in why(await verdict(strict, pair))


async def test_one_order_without_an_answer_is_no_verdict(
    start_peer: StartPeer, make: MakeJudge
) -> None:
    peer = await start_peer(lambda seen: said("Verdict: A" if shown(seen)[0] == "one" else "hm"))
    told = why(await verdict(make(peer.url, prompt="pairwise"), sample("one", ground_truth="two")))
    assert "its last line is 'hm'" in told


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"verdict": "logprobs", "prompt": "quality"}, "verdict logprobs needs a form of one word"),
        ({"verdict": "logprobs", "guided": True}, "remove guided and votes"),
        ({"verdict": "logprobs", "votes": 3}, "remove guided and votes"),
        ({"prompt": "equivalence", "form": "pair"}, "with form 'pair'"),
    ],
)
def test_what_does_not_go_together_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_scorer("judge", {"url": "http://x/v1", "model": "m", **config})


def test_a_prompt_of_form_pair_has_the_other_response(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{{ response }} {{ instruction }}")
    config = {"url": "http://x/v1", "model": "m", "prompt": str(tmp_path / "own.jinja")}
    with pytest.raises(ConfigError, match="pair uses"):
        build_scorer("judge", config | {"form": "pair"})


@pytest.fixture
async def start_engine(tmp_path: Path) -> AsyncIterator[StartEngine]:
    async with started_engines(tmp_path) as start:
        yield partial(start, "p")


async def ranked(engine: Engine, *responses: str) -> list[SampleResult]:
    samples = [
        Sample(str(at), text, prompt="Say something.", group_id="g")
        for at, text in enumerate(responses)
    ]
    return (await engine.score(ScoreRequest(samples, profile="p", explain=True))).results


def rank_by(url: str, **config: Any) -> dict[str, Any]:
    judge = {"url": url, "model": "m", **config}
    return {"scorers": {"place": {"scorer": "rank", "deadline_s": 60, "config": {"judge": judge}}}}


async def test_win_rates_by_a_judge(start_peer: StartPeer, start_engine: StartEngine) -> None:
    peer = await start_peer(longer)
    engine = await start_engine(rank_by(peer.url))
    results = await ranked(engine, "a", "abc", "ab", "", "xyz", "ab")
    # five others each: one beats "", two are alike with "ab" (once) or as long ("abc", "xyz")
    assert [one.reward for one in results] == [0.2, 0.9, 0.5, 0.0, 0.9, 0.5]
    assert len(peer.seen) == 2 * 6  # four texts that say something, and differ
    turned = await ranked(engine, "ab", "xyz", "", "ab", "abc", "a")
    assert [one.reward for one in turned] == [0.5, 0.9, 0.0, 0.5, 0.9, 0.2]
    assert len(peer.seen) == 2 * 6  # the verdict cache has them
    metrics = engine.metrics.render()[0].decode()
    assert 'reward_judge_calls_total{scorer="p.place"} 12.0' in metrics


async def test_pairs_without_a_verdict_are_left_out_and_too_many_are_null(
    start_peer: StartPeer, start_engine: StartEngine
) -> None:
    def refusing(request: Seen) -> Action:
        return said("I will not.") if "odd" in shown(request) else longer(request)

    peer = await start_peer(refusing)
    results = await ranked(await start_engine(rank_by(peer.url)), "odd", "b", "cc", "dddd")
    assert [one.reward for one in results] == [None, 0.0, 0.5, 1.0]
    assert results[0].error is not None
    assert results[0].error.code == "upstream_failed"
    assert (results[1].explanation or {})["place"] == {"compared": 2, "without_verdict": 1}


def test_rank_takes_one_of_both_and_a_judges_config(tmp_path: Path) -> None:
    for config, message in (
        ({}, "set either of or judge"),
        ({"of": "a", "judge": {}}, "set either of or judge"),
        ({"judge": "m"}, "expected the config of a judge scorer"),
        ({"judge": {"url": "x", "model": "m"}}, "does not begin with http:// or https://"),
        ({"judge": {"url": "http://x", "model": "m", "prompt": "quality"}}, "with form 'pair'"),
    ):
        scorers = {"place": {"scorer": "rank", "config": config}}
        (tmp_path / "p.yaml").write_text(yaml.safe_dump({"scorers": scorers}))
        with pytest.raises(ConfigError, match=re.escape(message)):
            load_profiles([tmp_path])


async def test_the_name_that_a_model_reports_belongs_to_the_fingerprint(
    start_peer: StartPeer, start_engine: StartEngine
) -> None:
    prints: list[str] = []
    for model in ("m-1", "m-2", "m-1"):
        peer = await start_peer(in_turn(said("Verdict: yes", model=model)))
        judge = {"url": "http://127.0.0.1:9/v1", "model": "m"}
        engine = await start_engine({"scorers": {"judge": {"config": judge}}})
        before = engine.profiles["p"].fingerprint
        scorer: Any = engine.profiles["p"].scorers["judge"]
        scorer.transport.endpoints.urls[0] = f"{peer.url}/chat/completions"
        one = Sample("1", "46", ground_truth="46")
        for _ in range(2):
            answer = await engine.score(ScoreRequest([one], profile="p"))
            assert answer.results[0].reward == 1.0
            assert answer.fingerprint == engine.profiles["p"].fingerprint != before
        assert len(peer.seen) == 1
        prints.append(engine.profiles["p"].fingerprint)
    assert prints[0] == prints[2] != prints[1]
