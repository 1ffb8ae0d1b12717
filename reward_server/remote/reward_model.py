"""Score with a reward model behind an endpoint: vLLM, SGLang or TEI.

Concurrent inputs are combined into requests of several texts. With a local folder, an endpoint must
reproduce the local model's scores before it is used: see `reward_parity.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import threading
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from msgspec import json

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.models.files import folder_digest, resolve
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.remote.admission import AskOne
from touchstone_rewards.reward_server.remote.calls_endpoints import CallsEndpoints
from touchstone_rewards.reward_server.remote.endpoint import transport_to
from touchstone_rewards.reward_server.remote.failed import UpstreamFailed
from touchstone_rewards.reward_server.remote.gathered import Gathered
from touchstone_rewards.reward_server.remote.reported import ReportedModel
from touchstone_rewards.reward_server.remote.reward_config import RemoteRewardConfig, StepScores
from touchstone_rewards.reward_server.remote.reward_inputs import ReadyInput, RewardInputs
from touchstone_rewards.reward_server.remote.reward_parity import (
    KnownScores,
    compared,
    known_scores,
)
from touchstone_rewards.reward_server.remote.reward_wires import (
    REWARD_WIRES,
    Misshapen,
    RewardQuery,
    score_in,
    scores_in,
)
from touchstone_rewards.reward_server.remote.together import together
from touchstone_rewards.reward_server.schemas import Sample, SampleError, is_object
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.returned import MESSAGE_CHARS
from touchstone_rewards.reward_server.scorers.rules.rule import configured

logger = logging.getLogger(__name__)


class RewardAnswer(NamedTuple):
    """Result for one text: the score and its details, or the error."""

    value: float = 0.0
    steps: list[float] | None = None
    tokens: int | None = None
    cut: int = 0
    error: SampleError | None = None


class RemoteRewardModel(CallsEndpoints):
    """Score prompt and response with a reward model behind vLLM, SGLang or TEI.

    `about`: result of the last parity self-test.
    """

    runs_in: Literal["remote"] = "remote"
    range: tuple[float | None, float | None] = (None, None)
    reads = ("prompt", "response")
    deterministic = True
    config_type = RemoteRewardConfig

    def __init__(self, **config: Any) -> None:
        try:
            self.config: RemoteRewardConfig = configured(RemoteRewardConfig, config)
            self._wire = REWARD_WIRES[self.config.wire]
            proof = self._proof if self.config.local_folder and self.config.parity else None
            self.transport = transport_to(self.config, self._wire.path, proof)
        except ValueError as error:  # do not show the config: it may hold a key
            raise ConfigError(f"scorer 'remote_reward_model': {error}") from None
        self._query = RewardQuery(self.config.model, self.config.activation, self.config.task)
        self._inputs = RewardInputs(self.config)
        self._reading = threading.Lock()  # a tokenizer must stay on one thread at a time
        self._reported = ReportedModel(self.config.reported_model, self.transport.told)
        most = 1 if self.config.template == "engine" else self.config.batch_size
        self._gathered: Gathered[Text, RewardAnswer] = Gathered(most, self._answers)
        self._known: KnownScores | None = None
        self.about: dict[str, Any] = {"wire": self.config.wire, "template": self.config.template}
        self.max_in_flight = self.config.max_in_flight
        if self.config.activation:
            self.range = (0.0, 1.0)
        self.version = f"1-{self._digest()}"

    async def make_ready(self, give_up_at_s: float) -> None:
        """Compare every endpoint with the model in `local_folder`.

        Endpoints that are down are compared before their first use.

        Raises:
            ConfigError: an endpoint returns other scores, or the folder holds no model.
        """
        if not self.config.local_folder or not self.config.parity:
            logger.warning(
                "%s: its scores are not checked, because local_folder is not set", self.config.url
            )
            return
        await self._known_scores()
        refused = await self.transport.prove(give_up_at_s)
        for url, failure in refused.items():
            if failure is not None and failure.lasting:
                raise ConfigError(f"scorer 'remote_reward_model': {url} {failure.why}")
            if failure is not None:
                logger.warning("%s has not passed its check yet", url)
        self.about["unproven"] = [url for url, failure in refused.items() if failure is not None]

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
            found = await self._gathered.ask(Text(sample.prompt, sample.response), give_up_at_s)
        except UpstreamFailed as why:
            error = sample_error("upstream_failed", str(why), retryable=why.retryable)
            return Score(error=error)
        if found.error is not None:
            return Score(error=found.error)
        return Score(found.value, None, self._explanation(found) if explain else None)

    async def _answers(
        self, texts: Sequence[Text], give_up_at_s: float | None
    ) -> list[RewardAnswer]:
        """Score all readable texts in one request.

        Raises:
            UpstreamFailed: the answer does not have the engine's form.
        """
        inputs = await asyncio.to_thread(self._read, texts)
        ready = [one for one in inputs if isinstance(one, ReadyInput) and self._has_steps(one)]
        outputs = iter(await self._outputs(ready, give_up_at_s) if ready else [])
        return [
            RewardAnswer(error=one)
            if isinstance(one, SampleError)
            else self._answer(one, next(outputs))
            if self._has_steps(one)
            else RewardAnswer(0.0, [], one.tokens)
            for one in inputs
        ]

    def _has_steps(self, one: ReadyInput) -> bool:
        return self.config.step_scores is None or one.steps > 0

    def _read(self, texts: Sequence[Text]) -> list[ReadyInput | SampleError]:
        with self._reading:
            try:
                return self._inputs.read(texts)
            except Exception as error:  # noqa: BLE001 (a chat template may refuse a prompt)
                if len(texts) == 1:
                    why = f"this prompt cannot be read: {type(error).__name__}: {error}"
                    return [sample_error("scorer_failed", why[:MESSAGE_CHARS])]
        return [one for text in texts for one in self._read([text])]

    async def _outputs(self, ready: Sequence[ReadyInput], give_up_at_s: float | None) -> list[Any]:
        body = json.encode(self._wire.body([one.sent for one in ready], self._query))
        return self._found(await self.transport.ask(body, give_up_at_s), len(ready))

    def _found(self, answer: Any, count: int) -> list[Any]:
        try:
            outputs = self._wire.outputs(answer, count)
        except Misshapen as why:
            raise self.transport.misshapen(json.encode(answer), str(why)) from None
        if is_object(answer) and "model" in answer:
            self._reported.check(answer["model"])
        return outputs

    def _answer(self, one: ReadyInput, output: Any) -> RewardAnswer:
        config = self.config
        try:
            if config.step_scores is None:
                value, steps = score_in(output, config.label), None
            else:
                steps = _at_marks(scores_in(output, config.label), one)
                value = folded(steps, config.step_scores)
            if config.activation and not all(0 <= each <= 1 for each in steps or [value]):
                raise Misshapen("a score outside 0 to 1: the engine applied no activation")
        except Misshapen as why:
            said = self.transport.misshapen(json.encode(output), str(why))
            return RewardAnswer(error=sample_error("upstream_failed", str(said), retryable=False))
        return RewardAnswer(value, steps, one.tokens, one.cut)

    async def _proof(self, ask: AskOne) -> str | None:
        """Return why an endpoint's scores differ from those of the model in `local_folder`, or
        None.
        """
        known = await self._known_scores()
        found: list[float] = []
        inputs = await asyncio.to_thread(self._read, known.texts)
        ready = [one for one in inputs if isinstance(one, ReadyInput)]
        if len(ready) < len(inputs):
            return "cannot be compared with the local model: max_tokens is too small for its texts"
        most = 1 if self.config.template == "engine" else len(ready)
        for start in range(0, len(ready), most):
            batch = ready[start : start + most]
            body = json.encode(self._wire.body([one.sent for one in batch], self._query))
            for one, output in zip(batch, self._found(await ask(body), len(batch)), strict=True):
                answer = self._answer(one, output)
                if answer.error is not None:
                    return answer.error.message
                found.append(answer.value)
        parity = compared(known, found)
        self.about |= {"parity_drift": parity.drift, "parity_tolerance": parity.tolerance}
        if parity.holds:
            return None
        return (
            f"fails the parity self-test: its scores of known texts differ from those of "
            f"{self.config.local_folder} by up to {parity.drift:.3g}, where {self.config.dtype} "
            f"allows {parity.tolerance:.3g}; look at the chat template, the special tokens and the "
            "weights"
        )

    async def _known_scores(self) -> KnownScores:
        if self._known is None:
            self._known = await asyncio.to_thread(known_scores, self.config)
        return self._known

    def _explanation(self, found: RewardAnswer) -> dict[str, Any]:
        place = {
            "here": f"here, of {self.config.local_folder}",
            "engine": "the engine's",
            "plain": "none",
        }
        told = {
            "model": self.transport.told(self._reported.name or self.config.model or ""),
            "chat_template": place[self.config.template],
            "tokens": found.tokens,
            "tokens_cut": found.cut,
            "steps": None if found.steps is None else [round(each, 6) for each in found.steps],
        }
        return {name: value for name, value in told.items() if value is not None and value != ""}

    def _digest(self) -> str:
        """Return a hash of the local tokenizer, template and weights, on which scores depend."""
        if self.config.local_folder is None:
            return "0"
        content = folder_digest(resolve(self.config.local_folder))
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def folded(steps: Sequence[float], how: StepScores) -> float:
    """Combine the scores of steps into one.

    Example:
        >>> folded([0.5, 1.0, 0.8], "product")
        0.4
    """
    if how == "last":
        return steps[-1]
    if how == "min":
        return min(steps)
    return sum(steps) / len(steps) if how == "mean" else math.prod(steps)


def _at_marks(scores: Sequence[float], one: ReadyInput) -> list[float]:
    """Return the score of each step: those at the mark tokens, or all if there is one per step.

    Raises:
        Misshapen: the number of scores matches neither the tokens nor the steps.
    """
    if len(scores) == one.steps:
        return list(scores)
    if one.marks is not None and len(scores) == one.tokens:
        return [scores[at] for at in one.marks]
    raise Misshapen(f"{len(scores)} scores for {one.steps} steps and {one.tokens or '?'} tokens")
