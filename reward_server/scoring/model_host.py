"""The models that a server holds: one batcher each, by name; loaded, unloaded and exchanged.

In: the profiles, whose scorers say which model they need. Out: scores and vectors, through batches
that all callers share.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol, cast

from pydantic import ValidationError

from touchstone_rewards.reward_server.errors import (
    ConfigError,
    InvalidRequest,
    UnknownModel,
    sample_error,
)
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.batcher import Batcher, BatchLimits
from touchstone_rewards.reward_server.models.config import EmbeddingConfig, ModelConfig
from touchstone_rewards.reward_server.models.thread import OutOfMemory
from touchstone_rewards.reward_server.profiles import Profile, describe
from touchstone_rewards.reward_server.schemas import ModelInfo, Priority, Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import RunsIn, Score


class ModelScorer(Protocol):
    """A scorer whose numbers come from a model: it says what to run and judges what comes out.

    `version` names the model's digest: `use` sets both, when it is built and when it changes.
    """

    version: str
    range: tuple[float | None, float | None]
    runs_in: ClassVar[RunsIn]
    reads: tuple[str, ...]
    model: ModelConfig

    def use(self, model: ModelConfig, digest: str) -> None:
        """From now on, score with this model."""
        ...

    def inputs(self, sample: Sample) -> Sequence[Any] | SampleError:
        """What the model must run for this sample."""
        ...

    def judge(self, outputs: Sequence[Any], explain: bool) -> Score:
        """The score, from the model's outputs of a sample's inputs."""
        ...


def batcher(config: ModelConfig) -> Batcher:
    """The queue and the thread of a model, not yet started."""
    limits = BatchLimits(batch_tokens=config.batch_tokens, max_waiting=config.max_waiting)
    return Batcher(config.label, partial(load_model, config), limits)


BatcherMaker = Callable[[ModelConfig], Batcher]


class ModelHost:
    """Every model of `profiles` and of `others`; its methods belong to one event loop."""

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        others: Sequence[ModelConfig] = (),
        make_batcher: BatcherMaker = batcher,
    ) -> None:
        self.profiles = profiles
        self._make_batcher = make_batcher
        self._always = {config.label for config in others}
        self.configs: dict[str, ModelConfig] = {}
        for config in [*(scorer.model for _, scorer in _model_scorers(profiles)), *others]:
            if self.configs.setdefault(config.label, config) != config:
                raise ConfigError(
                    f"two models go by the name {config.label!r} with different settings; give "
                    "one a `name` of its own"
                )
        self.batchers = {name: make_batcher(config) for name, config in self.configs.items()}
        self._put_away: set[str] = set()
        self._changes = asyncio.Lock()

    async def start(self) -> None:
        """Load every model.

        Raises:
            ConfigError: one cannot be served.
        """
        try:
            for batcher in self.batchers.values():
                await batcher.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await asyncio.gather(*(batcher.stop() for batcher in self.batchers.values()))

    @property
    def not_ready_reason(self) -> str | None:
        """Why a model turns callers away though no one put it away, or None."""
        reasons = (
            batcher.not_ready_reason
            for name, batcher in self.batchers.items()
            if name not in self._put_away
        )
        return next(filter(None, reasons), None)

    async def score(
        self,
        scorer: ModelScorer,
        samples: Sequence[Sample],
        *,
        explain: bool,
        give_up_at: float | None,
        priority: Priority,
    ) -> list[Score]:
        """One score a sample, in their order.

        Raises:
            NotReady, QueueFull: the model takes no more now.
        """
        wanted = [scorer.inputs(sample) for sample in samples]
        inputs = [one for each in wanted if not isinstance(each, SampleError) for one in each]
        batcher = self.batchers[scorer.model.label]
        outputs = iter(await batcher.run(inputs, give_up_at=give_up_at, priority=priority))
        return [
            Score(error=each)
            if isinstance(each, SampleError)
            else _judged(scorer, [next(outputs) for _ in each], explain)
            for each in wanted
        ]

    async def embed(
        self,
        name: str | None,
        texts: Sequence[str],
        *,
        give_up_at: float | None,
        priority: Priority,
    ) -> tuple[str, list[Any]]:
        """The model's name, and an `Embedding` or a `SampleError` for each text.

        Raises:
            UnknownModel: there is no such embedding model.
            NotReady, QueueFull: the model takes no more now.
        """
        known = [n for n, c in self.configs.items() if isinstance(c, EmbeddingConfig)]
        name = name if name is not None else next(iter(known), None)
        if name not in known:
            raise UnknownModel(
                f"embedding model {name!r} is not known; known: {', '.join(known) or 'none'}"
            )
        found = await self.batchers[name].run(texts, give_up_at=give_up_at, priority=priority)
        return name, found

    def info(self) -> list[ModelInfo]:
        """What is held, and how it does."""
        users: dict[str, list[str]] = {name: [] for name in self.configs}
        for profile, scorer in _model_scorers(self.profiles):
            users[scorer.model.label].append(profile.name)
        return [
            ModelInfo(
                name=name,
                kind=config.kind,
                model=config.model,
                ready=self.batchers[name].not_ready_reason is None,
                reason=self.batchers[name].not_ready_reason,
                profiles=sorted(set(users[name])),
                about=getattr(self.batchers[name].model, "about", {}),
            )
            for name, config in self.configs.items()
        ]

    async def unload(self, name: str) -> ModelInfo:
        """Give a model's memory back; what waits for it is answered first.

        Raises:
            UnknownModel: there is none of that name.
            InvalidRequest: it cannot be unloaded here.
        """
        batcher = self._known(name)
        async with self._changes:
            self._put_away.add(name)
            await batcher.stop()
        return self._info(name)

    async def load(self, name: str, changes: Mapping[str, Any]) -> ModelInfo:
        """Load a model again, with `changes` to its config: another checkpoint under its name.

        Raises:
            UnknownModel: there is none of that name.
            InvalidRequest: it cannot be served so; it then stays unloaded.
        """
        batcher = self._known(name)
        async with self._changes:
            try:
                config = _changed(self.configs[name], name, changes)
                digest = await asyncio.to_thread(config.digest)
                self._put_away.add(name)
                await batcher.stop()
                batcher.load = partial(load_model, config)
                try:
                    await batcher.start()
                finally:  # one that was asked for and does not load makes the server not ready
                    self._put_away.discard(name)
            except (ConfigError, ValidationError, OutOfMemory) as error:
                said = describe(error) if isinstance(error, ValidationError) else error
                raise InvalidRequest(f"model {name}: {said}") from error
            self._exchange(name, config, digest)
        return self._info(name)

    async def prepare(self, profiles: Mapping[str, Profile]) -> list[str]:
        """Load what these profiles need beside the models held; the names of what was loaded.

        Raises:
            ConfigError: a model cannot be served, or not together with one held.
        """
        held = {scorer.model.label: _digest(scorer) for _, scorer in _model_scorers(self.profiles)}
        loaded: list[str] = []
        try:
            for _, scorer in _model_scorers(profiles):
                config, name = scorer.model, scorer.model.label
                known = self.configs.get(name)
                if known is None:
                    batcher = self.batchers[name] = self._make_batcher(config)
                    self.configs[name] = config
                    loaded.append(name)
                    await batcher.start()
                elif known != config or held.get(name, _digest(scorer)) != _digest(scorer):
                    raise ConfigError(
                        f"model {name!r} is held with other settings or files; exchange it by "
                        "POST /models/load, or give the new one a `name` of its own"
                    )
        except BaseException:
            await self.drop(loaded)
            raise
        return loaded

    async def drop(self, names: Iterable[str]) -> None:
        """Forget these models; what waits for one is answered first."""
        for name in names:
            await self.batchers[name].stop()
            del self.batchers[name], self.configs[name]

    def unused(self) -> list[str]:
        """The models that no profile needs."""
        needed = {scorer.model.label for _, scorer in _model_scorers(self.profiles)} | self._always
        return [name for name in self.configs if name not in needed]

    def _exchange(self, name: str, config: ModelConfig, digest: str) -> None:
        self.configs[name] = config
        for profile, scorer in _model_scorers(self.profiles):
            if scorer.model.label == name:
                scorer.use(config, digest)
                profile.refresh()

    def _known(self, name: str) -> Batcher:
        if name not in self.batchers:
            known = ", ".join(self.batchers) or "none"
            raise UnknownModel(f"model {name!r} is not known; known: {known}")
        if not self.batchers[name].exchangeable:
            raise InvalidRequest(f"model {name} stands on a cluster: deploy with another profile")
        return self.batchers[name]

    def _info(self, name: str) -> ModelInfo:
        return next(info for info in self.info() if info.name == name)


def _model_scorers(profiles: Mapping[str, Profile]) -> list[tuple[Profile, ModelScorer]]:
    return [
        (profile, cast(ModelScorer, scorer))
        for profile in profiles.values()
        for scorer in profile.scorers.values()
        if scorer.runs_in == "model"
    ]


def _digest(scorer: ModelScorer) -> str:
    return scorer.version.rpartition(" ")[2]


def _changed(config: ModelConfig, name: str, changes: Mapping[str, Any]) -> ModelConfig:
    return type(config).model_validate({**config.model_dump(), **changes, "name": name})


def _judged(scorer: ModelScorer, outputs: Sequence[Any], explain: bool) -> Score:
    error = next((one for one in outputs if isinstance(one, SampleError)), None)
    if error is not None:
        return Score(error=error)
    score = scorer.judge(outputs, explain)
    if score.value is not None and not math.isfinite(score.value):
        return Score(error=sample_error("scorer_failed", f"the model returned {score.value}"))
    return score
