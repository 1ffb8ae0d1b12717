"""Engines of one profile each, in this process, for tests that call an engine without HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

# Takes a profile's name and the content of its YAML.
StartProfile = Callable[[str, dict[str, Any]], Awaitable[Engine]]


@asynccontextmanager
async def started_engines(folder: Path, **settings: Any) -> AsyncGenerator[StartProfile]:
    """Return a function that starts an engine with one worker and these settings; stop all at the
    end.
    """
    engines: list[Engine] = []

    async def start(name: str, profile: dict[str, Any]) -> Engine:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(profile))
        known = load_settings(overrides={"workers": 1, **settings})
        engines.append(create_engine(load_profiles([folder]), known, Metrics()))
        await engines[-1].start()
        return engines[-1]

    try:
        yield start
    finally:
        for engine in engines:
            await engine.stop()
