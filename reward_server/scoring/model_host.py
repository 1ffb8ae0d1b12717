"""The models that a server holds: one batcher each, by name; load, unload and exchange them.

The scorers of the profiles say which models they need. All callers of a model share its batches.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pydantic import ValidationError

from touchstone_rewards.reward_server.complaints import describe
from touchstone_rewards.reward_server.errors import (
    ConfigError,
    InvalidRequest,
    NotReady,
    UnknownModel,
)
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.batcher import Batcher, BatchLimits, GivenUp
from touchstone_rewards.reward_server.models.config import EmbeddingConfig, ModelConfig
from touchstone_rewards.reward_server.models.thread import Model, OutOfMemory
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.routes import link
from touchstone_rewards.reward_server.schemas import ModelInfo, Priority, Sample
from touchstone_rewards.reward_server.scorers.base import (
    ModelGroupScorer,
    ModelScorer,
    Score,
    UsesModel,
    has_model,
)
from touchstone_rewards.reward_server.scoring.model_scorer import judged, wanted_inputs


def batcher(config: ModelConfig) -> Batcher:
    """Return the queue and thread of a model, not yet started."""
    limits = BatchLimits(batch_tokens=config.batch_tokens, max_waiting=config.max_waiting)
    return Batcher(config.label, _loader(config), limits)


def _loader(config: ModelConfig, digest: str | None = None) -> Callable[[], Model]:
    """Return a function that loads this model, also after its thread has died. It always loads the
    same files: those with `digest`, or those of the first load."""

    def load() -> Model:
        nonlocal digest
        digest = digest or config.digest()
        model = load_model(config)
        if config.digest() != digest:
            model.close()
            raise ConfigError(
                f"the files of model {config.label} have changed since the server read them; "
                "call POST /models/load to exchange it, which updates its fingerprint"
            )
        return model

    return load


BatcherMaker = Callable[[ModelConfig], Batcher]


class ModelHost:
    """Every model of `profiles` and of `others`. Call its methods from one event loop only.

    Exchanging a model replaces the profiles that use it. The old profiles keep their fingerprint,
    and requests that still hold one are not answered by the new model.
    """

    def __init__(
        self,
        profiles: dict[str, Profile],
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
                    f"two models have the name {config.label!r} but different settings; give "
                    "one of them a different `name`"
                )
        self.batchers = {name: make_batcher(config) for name, config in self.configs.items()}
        # The digest of each model in use; a scorer with another digest was made for other files.
        self._digests: dict[str, str] = {}
        for _, scorer in _model_scorers(profiles):
            if self._digests.setdefault(scorer.model.label, _digest(scorer)) != _digest(scorer):
                raise ConfigError(
                    f"the files of model {scorer.model.label} changed while loading; start again"
                )
        self._put_away: set[str] = set()
        self._changes = asyncio.Lock()

    async def start(self) -> None:
        """Load every model, except those dropped or exchanged meanwhile.

        Raises:
            ConfigError: a model cannot be served.
        """
        try:
            for name, batcher in list(self.batchers.items()):
                if self.batchers.get(name) is batcher and name not in self._put_away:
                    with suppress(GivenUp):
                        await batcher.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await asyncio.gather(*(batcher.stop() for batcher in self.batchers.values()))

    @property
    def not_ready_reason(self) -> str | None:
        """Return why a model that was not unloaded is not ready, or None."""
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
        give_up_at_s: float | None,
        priority: Priority,
    ) -> list[Score]:
        """Return one score per sample, in order.

        Raises:
            NotReady, QueueFull: the model accepts no more now, or was exchanged since the request
                began.
        """
        self._check_current(scorer)
        wanted = [each async for each in wanted_inputs(scorer, samples)]
        inputs = [one for each in wanted if not isinstance(each, Score) for one in each]
        outputs = await self.run(scorer, inputs, give_up_at_s=give_up_at_s, priority=priority)
        return [each async for each in judged(scorer, samples, wanted, outputs, explain)]

    async def run(
        self,
        scorer: UsesModel,
        inputs: Sequence[Any],
        *,
        give_up_at_s: float | None,
        priority: Priority,
    ) -> list[Any]:
        """Return the model's output for each input, or a `SampleError`.

        Raises:
            NotReady, QueueFull: as for `score`.
        """
        self._check_current(scorer)
        batcher = self.batchers[scorer.model.label]
        return await batcher.run(inputs, give_up_at_s=give_up_at_s, priority=priority)

    def _check_current(self, scorer: UsesModel) -> None:
        label = scorer.model.label
        if self._digests.get(label) != _digest(scorer):
            raise NotReady(f"model {label} was exchanged while the request waited; send it again")

    async def embed(
        self,
        name: str | None,
        texts: Sequence[str],
        *,
        give_up_at_s: float | None,
        priority: Priority,
    ) -> tuple[str, list[Any]]:
        """Return the model's name, and an `Embedding` or a `SampleError` for each text.

        Raises:
            UnknownModel: there is no such embedding model.
            NotReady, QueueFull: the model accepts no more now.
        """
        known = [n for n, c in self.configs.items() if isinstance(c, EmbeddingConfig)]
        name = name if name is not None else next(iter(known), None)
        if name not in known:
            raise UnknownModel(
                f"embedding model {name!r} is not known; known: {', '.join(known) or 'none'}"
            )
        found = await self.batchers[name].run(texts, give_up_at_s=give_up_at_s, priority=priority)
        return name, found

    def info(self) -> list[ModelInfo]:
        """Return the models held and their state."""
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
                about=self.batchers[name].about,
            )
            for name, config in self.configs.items()
        ]

    async def unload(self, name: str) -> ModelInfo:
        """Unload a model and free its memory, after answering its waiting inputs.

        Raises:
            UnknownModel: there is no model of that name.
            InvalidRequest: it cannot be unloaded here.
        """
        batcher = self._known(name)
        async with self._changes:
            self._put_away.add(name)
            await batcher.stop()
        return self._info(name)

    async def load(self, name: str, changes: Mapping[str, Any]) -> ModelInfo:
        """Load a model again, with `changes` to its config, for example another checkpoint.

        Raises:
            UnknownModel: there is no model of that name.
            InvalidRequest: it cannot be served with this config; it then stays unloaded.
        """
        batcher = self._known(name)
        async with self._changes:
            try:
                config = _changed(self.configs[name], name, changes)
                digest = await asyncio.to_thread(config.digest)
                self._exchanged(name, config, digest)  # a trial run: raises before any change
                self._put_away.add(name)
                await batcher.stop()
                if self.batchers.get(name) is not batcher:
                    raise GivenUp("it was dropped by a reload meanwhile")
                batcher.load = _loader(config, digest)
                try:
                    await batcher.start(partial(self._exchange, name, config, digest))
                finally:  # a requested model that fails to load makes the server not ready
                    self._put_away.discard(name)
            except (ConfigError, ValidationError, OutOfMemory) as error:
                said = describe(error) if isinstance(error, ValidationError) else error
                raise InvalidRequest(f"model {name}: {said}") from error
        return self._info(name)

    async def prepare(self, profiles: Mapping[str, Profile]) -> list[str]:
        """Load the models that these profiles need in addition, and return their names.

        Raises:
            ConfigError: a model cannot be served, or clashes with one that is held.
        """
        loaded: list[str] = []
        try:
            for _, scorer in _model_scorers(profiles):
                config, name = scorer.model, scorer.model.label
                if name not in self.configs:
                    self.batchers[name] = self._make_batcher(config)
                    self.configs[name], self._digests[name] = config, _digest(scorer)
                    loaded.append(name)
                    await self.batchers[name].start()
                self._digests.setdefault(name, _digest(scorer))
            self.check(profiles)
        except BaseException:
            await self.drop(loaded)
            raise
        return loaded

    def check(self, profiles: Mapping[str, Profile]) -> None:
        """Check that the models held are the ones these profiles were made for.

        Raises:
            ConfigError: one is not.
        """
        for _, scorer in _model_scorers(profiles):
            name = scorer.model.label
            held = self.configs.get(name), self._digests.get(name)
            if held != (scorer.model, _digest(scorer)):
                raise ConfigError(
                    f"model {name!r} is held with other settings or files; exchange it by "
                    "POST /models/load, or give the new one a different `name`"
                )

    async def drop(self, names: Iterable[str]) -> None:
        """Remove these models, after answering their waiting inputs."""
        for name in names:
            batcher = self.batchers.pop(name, None)
            self.configs.pop(name, None)
            self._digests.pop(name, None)
            self._put_away.discard(name)
            if batcher is not None:
                await batcher.stop()

    def unused(self) -> list[str]:
        """Return the names of the models that no profile needs."""
        needed = {scorer.model.label for _, scorer in _model_scorers(self.profiles)} | self._always
        return [name for name in self.configs if name not in needed]

    def _exchange(self, name: str, config: ModelConfig, digest: str) -> None:
        """Replace the previous model; called before the new one answers anyone."""
        self.profiles.update(self._exchanged(name, config, digest))
        self.configs[name], self._digests[name] = config, digest
        self._put_away.discard(name)

    def _exchanged(self, name: str, config: ModelConfig, digest: str) -> dict[str, Profile]:
        """Return new versions of the profiles that use the model, made for its new files."""
        copies: dict[int, ModelScorer | ModelGroupScorer] = {}
        found: dict[str, Profile] = {}
        for profile in self.profiles.values():
            users = [each for each in with_model(profile) if each[1].model.label == name]
            for _, scorer in users:
                if id(scorer) not in copies:
                    copies[id(scorer)] = copy.copy(scorer)
                    copies[id(scorer)].use(config, digest)
            if users:
                changed = {key: copies[id(scorer)] for key, scorer in users}
                found[profile.name] = profile.with_scorers(changed)
        return found | link(self.profiles | found)

    def _known(self, name: str) -> Batcher:
        if name not in self.batchers:
            known = ", ".join(self.batchers) or "none"
            raise UnknownModel(f"model {name!r} is not known; known: {known}")
        if not self.batchers[name].exchangeable:
            raise InvalidRequest(f"model {name} runs on a cluster: deploy with another profile")
        return self.batchers[name]

    def _info(self, name: str) -> ModelInfo:
        found = next((info for info in self.info() if info.name == name), None)
        if found is None:
            raise UnknownModel(f"model {name!r} was dropped by a reload meanwhile")
        return found


def with_model(profile: Profile) -> list[tuple[str, ModelScorer | ModelGroupScorer]]:
    """Return the scorers of a profile that have a model, each with its key."""
    return [(key, scorer) for key, scorer in profile.scorers.items() if has_model(scorer)]


def _model_scorers(profiles: Mapping[str, Profile]) -> list[tuple[Profile, UsesModel]]:
    return [(profile, scorer) for profile in profiles.values() for _, scorer in with_model(profile)]


def _digest(scorer: UsesModel) -> str:
    return scorer.version.rpartition(" ")[2]


def _changed(config: ModelConfig, name: str, changes: Mapping[str, Any]) -> ModelConfig:
    return type(config).model_validate({**config.model_dump(), **changes, "name": name})
