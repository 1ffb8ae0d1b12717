"""Use a chat model behind any OpenAI-compatible `/chat/completions` endpoint as a judge.

Each sample gets the judge's verdict from 0 to 1, or null with the reason. An answer without
the requested form is not a verdict, and never counts as 0.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from msgspec import json
from pydantic import Field, model_validator

from touchstone_rewards.reward_server.addresses import EndpointUrl, KeyVariable, urls_of
from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.remote.budget import Budget, CallCost, Price
from touchstone_rewards.reward_server.remote.calls_endpoints import CallsEndpoints
from touchstone_rewards.reward_server.remote.chat import ChatAnswers, tokens_used
from touchstone_rewards.reward_server.remote.failed import UpstreamFailed
from touchstone_rewards.reward_server.remote.keys import read_key
from touchstone_rewards.reward_server.remote.prompts import JudgePrompt
from touchstone_rewards.reward_server.remote.questions import Question, questions_of
from touchstone_rewards.reward_server.remote.together import outcomes, together
from touchstone_rewards.reward_server.remote.transport import Endpoints, UpstreamTransport
from touchstone_rewards.reward_server.remote.verdicts import (
    TOP_LOGPROBS,
    WORDS,
    NoVerdict,
    VerdictForm,
    VerdictWay,
    read_logprobs,
    read_verdict,
    schema,
)
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import ReportsModel, Score
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    RuleConfig,
    Unscorable,
    configured,
)

SAID_CHARS = 300
FREE: CallCost = {"tokens": 0, "cost": 0.0}
# Tokens are rarely shorter. Used to reserve a prompt's cost before the endpoint reports it.
BYTES_A_TOKEN = 3


class JudgeConfig(RuleConfig):
    """Config of the `judge` scorer."""

    url: EndpointUrl
    model: str = Field(min_length=1, description="name of the model at the endpoint")
    reported_model: str | None = Field(
        default=None,
        description="name in the replies, if it differs; null: that of the first reply",
    )
    key_env: KeyVariable = None
    key_file: str | None = Field(default=None, description="file with the API key")
    prompt: str = Field(
        default="equivalence",
        description="equivalence, rubric, quality, pairwise, or the path of a Jinja file",
    )
    form: VerdictForm | None = Field(
        default=None,
        description="form of your own prompt's verdict; null: that of the named prompt",
    )
    guided: bool = Field(default=False, description="enforce a JSON schema by response_format")
    verdict: Literal["text", "logprobs"] = Field(
        default="text", description="read the reply's text, or the log-probabilities of yes and no"
    )
    least_mass: float = Field(
        default=0.5, gt=0, le=1, description="smallest total probability of the verdict words"
    )
    inconsistent: Literal["half"] | None = Field(
        default="half", description="score when swapping a pair changes the verdict"
    )
    part: ResponsePart = "said"
    votes: int = Field(default=1, ge=1, le=25, description="samples of the judge; odd")
    temperature: float = Field(
        default=0.0, ge=0, le=2, description="sampling temperature; at 0, verdicts are cached"
    )
    seed: int = Field(
        default=0, description="seed of the first vote; the next ones have seed + 1, seed + 2, …"
    )
    max_tokens: int = Field(
        default=512, ge=1, description="tokens per reply; a truncated reply is not a verdict"
    )
    max_chars: int = Field(default=16_000, ge=100, description="cut each text to this length")
    timeout_s: float = Field(default=60.0, gt=0, description="limit per attempt")
    max_in_flight: int = Field(default=64, ge=1, description="samples in progress at a time")
    requests_per_s: float | None = Field(
        default=None, gt=0, description="limit on requests per second"
    )
    tokens_per_hour: int | None = Field(default=None, ge=1, description="budget in tokens per hour")
    tokens_per_run: int | None = Field(
        default=None,
        ge=1,
        description="budget in tokens for as long as the server keeps this scorer",
    )
    prices: dict[str, Price] = Field(default={}, description="per million tokens, by model")
    cost_per_hour: float | None = Field(
        default=None, gt=0, description="budget per hour, in the currency of prices"
    )
    cost_per_run: float | None = Field(
        default=None,
        gt=0,
        description="budget for as long as the server keeps this scorer, likewise",
    )

    @model_validator(mode="after")
    def _check(self) -> JudgeConfig:
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("set key_env or key_file, not both")
        if self.votes % 2 == 0:
            raise ValueError(f"votes is {self.votes}; set an odd number to avoid ties")
        if self.verdict == "logprobs" and (self.guided or self.votes > 1):
            raise ValueError(
                "verdict logprobs reads one token and one vote: remove guided and votes"
            )
        limited = self.cost_per_hour is not None or self.cost_per_run is not None
        if (limited or self.prices) and self.model not in self.prices:
            known = ", ".join(self.prices) or "it is empty"
            raise ValueError(f"prices has no price for model {self.model!r:.80}: {known}")
        return self


class Vote(NamedTuple):
    """One verdict of the judge, its cost and its duration."""

    value: float
    said: str
    prompt_tokens: int
    completion_tokens: int
    cost: float
    took_s: float


class Judge(CallsEndpoints, ReportsModel):
    """Score a response by the verdict of a chat model.

    The verdict says whether the response matches a reference, meets criteria, deserves a mark from
    1 to 10, or is better than the other response in the sample's ground truth. `usage` counts
    calls, unreadable answers, tokens, cost and seconds.
    """

    runs_in: Literal["remote"] = "remote"
    range = (0.0, 1.0)
    reads: tuple[str, ...] = ("response", "prompt", "ground_truth", "metadata")  # upper bound
    config_type = JudgeConfig

    def __init__(self, **config: Any) -> None:
        try:
            self.config: JudgeConfig = configured(JudgeConfig, config)
            self._prompt = JudgePrompt(self.config.prompt)
            key = read_key(self.config.key_env, self.config.key_file)
        except ValueError as error:  # do not show the config: it may hold a key
            raise ConfigError(f"scorer 'judge': {error}") from None
        form = self.config.form or self._prompt.form
        if form is None or self._prompt.form not in (None, form):
            raise ConfigError(
                f"scorer 'judge': prompt {self.config.prompt!r} with form {self.config.form!r}; "
                "set the form of your own prompt: yes_no, scale, rubric or pair"
            )
        if (form == "pair") != self._prompt.compares:
            raise ConfigError(
                f"scorer 'judge': prompt {self.config.prompt!r} with form {form}; a prompt of form "
                "pair uses {{ other }}, and no other prompt does"
            )
        if self.config.verdict == "logprobs" and form not in WORDS:
            raise ConfigError(
                f"scorer 'judge': verdict logprobs needs a form of one word, not {form}"
            )
        self.form: VerdictForm = form
        self.way: VerdictWay = "json" if self.config.guided else "line"
        if self.config.verdict == "logprobs":
            self.way = "logprobs"
        self.reads = ("response", *self._prompt.reads)
        self.version = f"1-{self._prompt.digest}"
        self.deterministic = self.config.temperature == 0
        self.max_in_flight = self.config.max_in_flight
        self.budget = Budget(
            tokens_per_hour=self.config.tokens_per_hour,
            tokens_per_run=self.config.tokens_per_run,
            cost_per_hour=self.config.cost_per_hour,
            cost_per_run=self.config.cost_per_run,
        )
        self._counts: defaultdict[str, float] = defaultdict(float)
        self.transport = UpstreamTransport(
            Endpoints(
                urls_of(self.config.url, "/chat/completions"),
                key,
                timeout_s=self.config.timeout_s,
                requests_per_s=self.config.requests_per_s,
            )
        )
        self._answers = ChatAnswers(self.transport, self.config.reported_model)

    @property
    def usage(self) -> defaultdict[str, float]:
        """Counts of the calls so far: calls, unreadable answers, tokens, cost, seconds."""
        return self._counts

    @property
    def reported(self) -> str:
        """Model name in the endpoint's answers; "" before the first answer."""
        return self._answers.model or ""

    async def score(
        self, samples: Sequence[Sample], *, explain: bool = False, give_up_at_s: float | None = None
    ) -> list[Score]:
        """Score each sample; the scores have the order and length of `samples`."""
        return await together([self._score(each, explain, give_up_at_s) for each in samples])

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()

    async def _score(self, sample: Sample, explain: bool, give_up_at_s: float | None) -> Score:
        try:
            about = self.form, self.way, self.config.part, self.config.max_chars
            questions = questions_of(sample, self._prompt, *about)
            if not questions:
                return Score(0.0, None, {"judge": "there is nothing to judge"} if explain else None)
            orders = await outcomes([self._votes(each, give_up_at_s) for each in questions])
            if wrong := next((each for each in orders if isinstance(each, BaseException)), None):
                raise wrong
            votes = [each for each in orders if not isinstance(each, BaseException)]
            value = self._of_orders([self._decided([one.value for one in each]) for each in votes])
        except Unscorable as why:
            return Score(error=sample_error(why.code, str(why)))
        except UpstreamFailed as why:
            error = sample_error("upstream_failed", str(why), retryable=why.retryable)
            return Score(error=error, undecided="response" if why.undecided else None)
        told = self._explanation([one for each in votes for one in each]) if explain else None
        return Score(value, None, told)

    async def _votes(self, question: Question, give_up_at_s: float | None) -> list[Vote]:
        """Return the readable votes.

        Raises:
            UpstreamFailed: too few votes are readable.
        """
        asked = [self._vote(question, i, give_up_at_s) for i in range(self.config.votes)]
        given = await outcomes(asked)
        votes = [each for each in given if isinstance(each, Vote)]
        # Report an outage before an unreadable vote: then the judge is not undecided.
        for each in sorted(given, key=lambda each: getattr(each, "undecided", False)):
            wrong = isinstance(each, BaseException)
            if wrong and (2 * len(votes) <= len(given) or not isinstance(each, UpstreamFailed)):
                raise each
        return votes

    async def _vote(self, question: Question, number: int, give_up_at_s: float | None) -> Vote:
        body = json.encode(self._body(question, self.config.seed + number))
        loop = asyncio.get_running_loop()
        most = self._cost(len(body) // BYTES_A_TOKEN, self.config.max_tokens)
        sent_at_s = loop.time()
        if (lack := self.budget.lacks(most, sent_at_s)) is not None:
            self._counts["over_budget"] += 1
            raise UpstreamFailed(lack, retryable="per_hour" in lack)
        held, cost = self.budget.hold(most, sent_at_s), most
        self._counts["calls"] += 1
        try:
            answer = await self.transport.post(body, give_up_at_s, partial(self._lose, most))
            used = tokens_used(answer)
            cost = self._cost(*used, str(answer.get("model"))) if any(used) else most
            took_s = loop.time() - sent_at_s
            self._counts["prompt_tokens"] += used[0]
            self._counts["completion_tokens"] += used[1]
            self._counts["seconds"] += took_s
            value, said = self._read(answer, question)
        except NoVerdict as why:
            self._counts["unreadable"] += 1
            again = self.config.temperature > 0
            message = f"the judge gave no verdict: {why}"
            raise UpstreamFailed(message, retryable=again, undecided=True) from None
        except UpstreamFailed as why:
            self._counts["failed"] += 1
            cost = cost if why.answered else FREE
            raise
        finally:
            self.budget.settle(held, most, cost)
            self._counts["cost"] += cost["cost"]
        return Vote(value, said, *used, cost["cost"], round(took_s, 3))

    def _lose(self, cost: CallCost) -> None:
        """Count a failed attempt, which may be billed all the same."""
        self.budget.hold(cost, asyncio.get_running_loop().time())
        self._counts["cost"] += cost["cost"]

    def _cost(self, prompt_tokens: int, completion_tokens: int, model: str = "") -> CallCost:
        """Return the cost of these tokens, at the answering model's price if it has one."""
        price = self.config.prices.get(model) or self.config.prices.get(self.config.model)
        money = price.of(prompt_tokens, completion_tokens) if price else 0.0
        return {"tokens": prompt_tokens + completion_tokens, "cost": money}

    def _body(self, question: Question, seed: int) -> dict[str, Any]:
        config = self.config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": [{"role": "user", "content": question.prompt}],
            "temperature": config.temperature,
            "seed": seed,
            "max_tokens": config.max_tokens,
        }
        if self.way == "logprobs":
            body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if self.way == "json":
            wanted = schema(self.form, len(question.rubric.criteria))
            form = {"name": "verdict", "strict": True, "schema": wanted}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body

    def _read(self, answer: dict[str, Any], question: Question) -> tuple[float, str]:
        """Return the verdict in an answer, and the judge's text.

        Raises:
            UpstreamFailed: the answer has another shape or comes from another model.
            NoVerdict: the answer has no verdict in the requested form.
        """
        if self.way == "logprobs":
            tokens = self._answers.first_tokens(answer)
            value, said = read_logprobs(tokens, self.form, self.config.least_mass), ""
        else:
            said = self._answers.text(answer, self.config.max_tokens)
            value = read_verdict(said, self.form, self.config.guided, question.rubric.weights)
        return 1.0 - value if question.turned else value, said

    def _decided(self, values: Sequence[float]) -> float:
        """Combine the votes: the majority for yes and no, otherwise the mean; a single vote as it
        is.

        Raises:
            UpstreamFailed: neither yes nor no has a majority of all votes.
        """
        if self.form != "yes_no" or self.config.votes == 1:
            return sum(values) / len(values)
        value, count = Counter(values).most_common(1)[0]
        if 2 * count <= self.config.votes:
            raise UpstreamFailed(f"no majority among {self.config.votes} votes")
        return value

    def _of_orders(self, values: Sequence[float]) -> float:
        """Combine the verdicts on both orders of a pair: their mean if they prefer the same
        response.

        Raises:
            UpstreamFailed: they disagree, and `inconsistent` is null.
        """
        if len({(value > 0.5) - (value < 0.5) for value in values}) == 1:
            return sum(values) / len(values)
        if self.config.inconsistent == "half":
            return 0.5
        message = "the judge's verdict changes when the two responses are swapped"
        raise UpstreamFailed(message, retryable=False, answered=True)

    def _explanation(self, votes: Sequence[Vote]) -> dict[str, Any]:
        judge = self.transport.told(self.reported or self.config.model)
        return {
            "judge": judge[:SAID_CHARS],
            "votes": [round(vote.value, 4) for vote in votes],
            "said": votes[0].said[-SAID_CHARS:],
            "prompt_tokens": sum(vote.prompt_tokens for vote in votes),
            "completion_tokens": sum(vote.completion_tokens for vote in votes),
            "cost": sum(vote.cost for vote in votes) if self.config.prices else None,
            "latency_s": max(vote.took_s for vote in votes),
        }
