"""Hot reload: replace the set of profiles without losing a request.

The new set is first read, checked and built completely, with its scorers in the workers and its
models loaded. If that fails, the old profiles stay, and the reason is kept. Running requests finish
with the profile that they began with. Python code is not reloaded: restart the server for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import Profile, load_profiles
from touchstone_rewards.reward_server.schemas import ReloadReport
from touchstone_rewards.reward_server.scorers.plugins import NO_PLUGINS, Plugins
from touchstone_rewards.reward_server.scoring.elsewhere import served_here
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.scoring.groups import check_group_sizes
from touchstone_rewards.reward_server.scoring.remote import (
    built_scorers,
    close_connections,
    prove_endpoints,
)
from touchstone_rewards.reward_server.scoring.worker_specs import worker_specs
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

logger = logging.getLogger(__name__)


class Reloader:
    """Reloads profiles. `refusal`: why the current files could not be loaded, or None.
    `on_reloaded` is awaited after an exchange, before the reload is reported."""

    def __init__(
        self, engine: Engine, directories: Sequence[Path], plugins: Plugins = NO_PLUGINS
    ) -> None:
        self.engine = engine
        self.plugins = plugins
        self.directories = directories
        self.on_reloaded: Callable[[], Awaitable[None]] | None = None
        self.refusal: str | None = None
        self.counts = Counter(done=0, refused=0)
        self._seen = self._look()
        self._one_at_a_time = asyncio.Lock()
        self._asked: set[asyncio.Task[None]] = set()

    async def reload(self) -> ReloadReport:
        """Load the profiles' files and serve them.

        Raises:
            ConfigError: they cannot be served; nothing has changed.
        """
        async with self._one_at_a_time:
            self._seen = self._look()
            try:
                report = await self._exchange()
            # A plug-in's module may raise anything; the server reports it and keeps running.
            except Exception as error:
                self.counts["refused"] += 1
                known = isinstance(error, ConfigError)
                self.refusal = str(error) if known else f"{type(error).__name__}: {error}"
                logger.error("profiles not reloaded: %s", self.refusal, exc_info=not known)
                raise ConfigError(f"the old profiles stay in service: {self.refusal}") from error
            if self.on_reloaded is not None:
                await self.on_reloaded()
        self.counts["done"] += 1
        self.refusal = None
        logger.info("profiles reloaded: %s", told(report))
        return report

    def ask(self) -> None:
        """Reload soon; the log and the metrics show the outcome."""
        task = asyncio.get_running_loop().create_task(self._try())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def watch(self, every_s: float) -> None:
        """Reload whenever a file has changed, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            if self._look() != self._seen:
                await self._try()

    def readings(self) -> list[MetricReading]:
        """Return the metrics of the reloads."""
        total, now = "Reloads of the profiles, by outcome", "1 while the last reload was refused"
        return [
            MetricReading(
                CounterMetricFamily, "reward_profile_reloads", total, "outcome", lambda: self.counts
            ),
            MetricReading(
                GaugeMetricFamily,
                "reward_profiles_refused",
                now,
                "source",
                lambda: {"files": float(self.refusal is not None)},
            ),
        ]

    async def _try(self) -> None:
        try:
            await self.reload()
        except ConfigError:
            return  # it is logged

    def _look(self) -> dict[Path, tuple[int, int]]:
        found: dict[Path, tuple[int, int]] = {}
        for directory in self.directories:
            for path in [*directory.glob("*.yaml"), *directory.glob("*.yml")]:
                try:
                    stat = path.stat()
                except OSError:
                    continue
                found[path] = stat.st_mtime_ns, stat.st_size
        return found

    async def _exchange(self) -> ReloadReport:
        engine = self.engine
        old = dict(engine.profiles)
        built = {key: scorer for profile in old.values() for key, scorer in profile.built().items()}
        new = await asyncio.to_thread(load_profiles, self.directories, built, self.plugins)
        check_group_sizes(new, engine.limits.max_samples)
        ours = served_here(new, engine.elsewhere)
        old_specs = worker_specs(served_here(old, engine.elsewhere))
        new_specs = worker_specs(ours)
        engine.normalizers.load(ours)
        models = await engine.models.prepare(ours)
        try:
            await prove_endpoints(ours)
            added = {key: spec for key, spec in new_specs.items() if key not in old_specs}
            await engine.pool.add(added, old_specs.keys() - new_specs.keys())
            engine.models.check(ours)  # a model may have been exchanged meanwhile
        except BaseException:
            await engine.models.drop(models)
            raise
        engine.profiles.clear()
        engine.profiles.update(new)
        await engine.models.drop(engine.models.unused())
        before, now = built_scorers(old), built_scorers(new)
        await close_connections(before[one] for one in before.keys() - now.keys())
        return _report(old, new)


def told(report: ReloadReport) -> str:
    """Return the changes of a reload on one line for people.

    Example:
        >>> told(ReloadReport(["a", "b"], [], ["c"], {}))
        'added a, b; removed c'
    """
    parts = {"added": report.added, "changed": report.changed, "removed": report.removed}
    said = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
    return "; ".join(said) or "nothing has changed"


def _report(old: Mapping[str, Profile], new: Mapping[str, Profile]) -> ReloadReport:
    both = new.keys() & old.keys()
    changed = [
        name
        for name in new
        if name in both
        and (old[name].config != new[name].config or _leads(old[name]) != _leads(new[name]))
    ]
    return ReloadReport(
        added=sorted(new.keys() - old.keys()),
        changed=changed,
        removed=sorted(old.keys() - new.keys()),
        fingerprints={name: profile.fingerprint for name, profile in new.items()},
    )


def _leads(profile: Profile) -> dict[str, str]:
    """Return the fingerprints of a route's targets; it changes when they do."""
    return {name: target.fingerprint for name, target in profile.targets.items()}
