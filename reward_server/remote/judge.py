"""A chat model as judge: any endpoint that speaks OpenAI's `/chat/completions`.

In: samples. Out: the judge's verdict on each from 0 to 1, or null with the reason. What the judge
did not say in the form that was asked for is no verdict, and never a 0.
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
from touchstone_rewards.reward_server.remote.failed import UpstreamFailed
from touchstone_rewards.reward_server.remote.keys import read_key
from touchstone_rewards.reward_server.remote.prompts import (
    JudgePrompt,
    Rubric,
    mark_of,
    question_of,
    quoted,
    rubric_of,
)
from touchstone_rewards.reward_server.remote.transport import Endpoints, UpstreamTransport
from touchstone_rewards.reward_server.remote.verdicts import (
    NoVerdict,
    VerdictForm,
    instruction,
    read_verdict,
    schema,
)
from touchstone_rewards.reward_server.schemas import Sample, is_list, is_object
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    RuleConfig,
    Unscorable,
    configured,
    part_of,
    truths,
)

SAID_CHARS = 300
FREE: CallCost = {"tokens": 0, "cost": 0.0}
# A token is seldom shorter: what a prompt may cost before the endpoint says what it did.
BYTES_A_TOKEN = 3


class JudgeConfig(RuleConfig):
    """`url`: of the API, such as http://host:8000/v1; several are replicas of one model.

    `model`: its name there; `reported_model`: the name that answers must bear, where it is another.
    `key_env` or `key_file`: where the key is. `prompt`: equivalence, rubric, quality or a Jinja
    file, whose `form` is to be said."""

    url: EndpointUrl
    model: str = Field(min_length=1)
    reported_model: str | None = None
    key_env: KeyVariable = None
    key_file: str | None = None
    prompt: str = "equivalence"
    form: VerdictForm | None = None
    guided: bool = Field(default=False, description="ask for a JSON schema by response_format")
    part: ResponsePart = "said"
    votes: int = Field(default=1, ge=1, le=25, description="an odd number")
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = 0
    max_tokens: int = Field(default=512, ge=1)
    max_chars: int = Field(default=16_000, ge=100, description="of a response, and of a question")
    timeout_s: float = Field(default=60.0, gt=0)
    max_in_flight: int = Field(default=64, ge=1)
    requests_per_s: float | None = Field(default=None, gt=0)
    tokens_per_hour: int | None = Field(default=None, ge=1)
    tokens_per_run: int | None = Field(default=None, ge=1)
    prices: dict[str, Price] = Field(default={}, description="of a million tokens, by model")
    cost_per_hour: float | None = Field(default=None, gt=0)
    cost_per_run: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> JudgeConfig:
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("say key_env or key_file, not both")
        if self.votes % 2 == 0:
            raise ValueError(f"votes is {self.votes}; say an odd number, so that there is no tie")
        limited = self.cost_per_hour is not None or self.cost_per_run is not None
        if (limited or self.prices) and self.model not in self.prices:
            known = ", ".join(self.prices) or "it is empty"
            raise ValueError(f"prices has no price for model {self.model!r:.80}: {known}")
        return self


class Vote(NamedTuple):
    """What the judge said once, what it cost and the seconds it took."""

    value: float
    said: str
    prompt_tokens: int
    completion_tokens: int
    cost: float
    took_s: float


class Question(NamedTuple):
    """What is asked about one sample."""

    prompt: str
    rubric: Rubric


class Judge:
    """A chat model's verdict on a response: as right as a reference, by criteria, or from 1 to 10.

    `usage` counts calls, unreadable answers, tokens, cost and seconds.
    """

    runs_in: Literal["remote"] = "remote"
    range = (0.0, 1.0)
    reads: tuple[str, ...] = ("response", "prompt", "ground_truth", "metadata")  # at most
    config_type = JudgeConfig

    def __init__(self, **config: Any) -> None:
        try:
            self.config: JudgeConfig = configured(JudgeConfig, config)
            self._prompt = JudgePrompt(self.config.prompt)
            key = read_key(self.config.key_env, self.config.key_file)
        except ValueError as error:  # the config itself is not shown: it may hold a key
            raise ConfigError(f"scorer 'judge': {error}") from None
        form = self.config.form or self._prompt.form
        if form is None or self._prompt.form not in (None, form):
            raise ConfigError(
                f"scorer 'judge': prompt {self.config.prompt!r} with form {self.config.form!r}; "
                "say the form of a prompt of your own: yes_no, scale or rubric"
            )
        self.form: VerdictForm = form
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
        self.usage: defaultdict[str, float] = defaultdict(float)
        self._reported = self.config.reported_model
        self.transport = UpstreamTransport(
            Endpoints(
                urls_of(self.config.url, "/chat/completions"),
                key,
                timeout_s=self.config.timeout_s,
                requests_per_s=self.config.requests_per_s,
            )
        )

    async def score(
        self, samples: Sequence[Sample], *, explain: bool = False, give_up_at_s: float | None = None
    ) -> list[Score]:
        """Score each sample: same order, same length."""
        asked = (self._score(sample, explain, give_up_at_s) for sample in samples)
        return list(await asyncio.gather(*asked))

    async def _score(self, sample: Sample, explain: bool, give_up_at_s: float | None) -> Score:
        try:
            question = self._question(sample)
            if question is None:
                return Score(0.0, None, {"judge": "there is nothing to judge"} if explain else None)
            votes = await self._votes(question, give_up_at_s)
            value = self._decided([vote.value for vote in votes])
        except Unscorable as why:
            return Score(error=sample_error(why.code, str(why)))
        except UpstreamFailed as why:
            error = sample_error("upstream_failed", str(why), retryable=why.retryable)
            return Score(error=error, undecided="response" if why.undecided else None)
        return Score(value, None, self._explanation(votes) if explain else None)

    def _question(self, sample: Sample) -> Question | None:
        """What to ask about a sample; None where the response has nothing to judge.

        Raises:
            Unscorable: the sample lacks something.
        """
        most = self.config.max_chars
        rubric = rubric_of(sample.metadata) if self.form == "rubric" else Rubric([], [])
        accepted = truths(sample) if "ground_truth" in self.reads else []
        judged = part_of(sample.response, self.config.part)
        if judged is None or not judged.strip():
            return None
        count = len(rubric.criteria)
        prompt = self._prompt.fill(
            {
                "response": quoted(judged, most),
                "question": quoted(question_of(sample.prompt), most),
                "reference": quoted("\nor: ".join(accepted), most),
                "criteria": [quoted(each, most) for each in rubric.criteria],
                "metadata": sample.metadata,
                "mark": mark_of(judged),
                "instruction": instruction(self.form, self.config.guided, count),
            }
        )
        return Question(prompt, rubric)

    async def _votes(self, question: Question, give_up_at_s: float | None) -> list[Vote]:
        """The votes that can be read.

        Raises:
            UpstreamFailed: too few can.
        """
        asked = (self._vote(question, i, give_up_at_s) for i in range(self.config.votes))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        votes = [each for each in outcomes if isinstance(each, Vote)]
        # An outage is told before a vote that cannot be read: then the judge is not undecided.
        for each in sorted(outcomes, key=lambda each: getattr(each, "undecided", False)):
            wrong = isinstance(each, BaseException)
            if wrong and (2 * len(votes) <= len(outcomes) or not isinstance(each, UpstreamFailed)):
                raise each
        return votes

    async def _vote(self, question: Question, number: int, give_up_at_s: float | None) -> Vote:
        body = json.encode(self._body(question, self.config.seed + number))
        loop = asyncio.get_running_loop()
        most = self._cost(len(body) // BYTES_A_TOKEN, self.config.max_tokens)
        sent_at_s = loop.time()
        if (lack := self.budget.lacks(most, sent_at_s)) is not None:
            self.usage["over_budget"] += 1
            raise UpstreamFailed(lack, retryable="per_hour" in lack)
        held, cost = self.budget.hold(most, sent_at_s), most
        self.usage["calls"] += 1
        try:
            answer = await self.transport.post(body, give_up_at_s, partial(self._lose, most))
            used = _tokens(answer)
            cost = self._cost(*used, str(answer.get("model"))) if any(used) else most
            took_s = loop.time() - sent_at_s
            self.usage["prompt_tokens"] += used[0]
            self.usage["completion_tokens"] += used[1]
            self.usage["seconds"] += took_s
            said = self._said(answer)
            weights = question.rubric.weights
            value = read_verdict(said, self.form, self.config.guided, weights)
        except NoVerdict as why:
            self.usage["unreadable"] += 1
            again = self.config.temperature > 0
            message = f"the judge gave no verdict: {why}"
            raise UpstreamFailed(message, retryable=again, undecided=True) from None
        except UpstreamFailed as why:
            self.usage["failed"] += 1
            cost = cost if why.answered else FREE
            raise
        finally:
            self.budget.settle(held, most, cost)
            self.usage["cost"] += cost["cost"]
        return Vote(value, said, *used, cost["cost"], round(took_s, 3))

    def _lose(self, cost: CallCost) -> None:
        """Count a try that came to nothing and may be billed all the same."""
        self.budget.hold(cost, asyncio.get_running_loop().time())
        self.usage["cost"] += cost["cost"]

    def _cost(self, prompt_tokens: int, completion_tokens: int, model: str = "") -> CallCost:
        """What so many tokens cost, by the price of the model that answered where it has one."""
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
        if config.guided:
            wanted = schema(self.form, len(question.rubric.criteria))
            form = {"name": "verdict", "strict": True, "schema": wanted}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body

    def _said(self, answer: dict[str, Any]) -> str:
        """The text in an answer, if the judge is the one that was asked and came to its end.

        Raises:
            UpstreamFailed: the answer is of another shape or by another model.
            NoVerdict: it was cut off.
        """
        choices = answer.get("choices")
        choice = choices[0] if is_list(choices) and len(choices) == 1 else None
        message = choice.get("message") if is_object(choice) else None
        content = message.get("content") if is_object(message) else None
        if not is_object(choice) or not isinstance(content, str):
            raise self.transport.misshapen(json.encode(answer), "no text in one choice")
        self._check_model(answer.get("model"))
        if choice.get("finish_reason") == "length":
            raise NoVerdict(f"it was cut off at max_tokens {self.config.max_tokens}")
        return self.transport.told(content)

    def _check_model(self, name: object) -> None:
        """See that the same model answers as before: another one would be another judge.

        Raises:
            UpstreamFailed: it does not.
        """
        if self._reported is None and isinstance(name, str):
            self._reported = name
        if name != self._reported and (name is not None or self.config.reported_model):
            other, known = (self.transport.told(str(each))[:80] for each in (name, self._reported))
            message = f"the endpoint answered as model {other!r} where {known!r} was expected"
            raise UpstreamFailed(message, retryable=False, answered=True)

    def _decided(self, values: Sequence[float]) -> float:
        """What the votes come to: of yes and no what most of all votes say, else their mean.

        Raises:
            UpstreamFailed: neither yes nor no has more than half of all votes.
        """
        if self.form != "yes_no":
            return sum(values) / len(values)
        value, count = Counter(values).most_common(1)[0]
        if 2 * count <= self.config.votes:
            raise UpstreamFailed(f"of {self.config.votes} votes none has a majority")
        return value

    def _explanation(self, votes: Sequence[Vote]) -> dict[str, Any]:
        judge = self.transport.told(self._reported or self.config.model)
        return {
            "judge": judge[:SAID_CHARS],
            "votes": [round(vote.value, 4) for vote in votes],
            "said": votes[0].said[-SAID_CHARS:],
            "prompt_tokens": sum(vote.prompt_tokens for vote in votes),
            "completion_tokens": sum(vote.completion_tokens for vote in votes),
            "cost": sum(vote.cost for vote in votes) if self.config.prices else None,
            "latency_s": max(vote.took_s for vote in votes),
        }


def _tokens(answer: dict[str, Any]) -> tuple[int, int]:
    """The tokens of prompt and completion as the endpoint counts them; 0 where it does not."""
    usage = answer.get("usage")
    found = [usage.get(name) if is_object(usage) else 0 for name in _COUNTS]
    numbers = [n if type(n) is int and 0 <= n < 2**40 else 0 for n in found]
    return numbers[0], numbers[1]


_COUNTS = ("prompt_tokens", "completion_tokens")
