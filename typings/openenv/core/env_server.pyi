from collections.abc import Callable
from typing import Any, Generic, TypeVar

A = TypeVar("A", bound=Action)
O = TypeVar("O", bound=Observation)
S = TypeVar("S", bound=State)

class Action:
    def __init__(self, **fields: Any) -> None: ...

class Observation:
    def __init__(self, **fields: Any) -> None: ...

class State:
    episode_id: str | None
    step_count: int
    def __init__(self, *, episode_id: str | None, step_count: int) -> None: ...

class Environment(Generic[A, O, S]):
    def __init__(self) -> None: ...
    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> O: ...
    def step(self, action: A, timeout_s: float | None = None, **kwargs: Any) -> O: ...
    async def step_async(self, action: A, timeout_s: float | None = None, **kwargs: Any) -> O: ...
    @property
    def state(self) -> S: ...

def create_fastapi_app(
    env: Callable[[], Environment[A, O, S]],
    action_cls: type[A],
    observation_cls: type[O],
    max_concurrent_envs: int | None = None,
    *,
    env_name: str | None = None,
) -> Any: ...
