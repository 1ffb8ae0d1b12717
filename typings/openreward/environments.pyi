from collections.abc import Callable, Sequence
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
JSONObject = dict[str, Any]

class Split:
    def __init__(self, **fields: str) -> None: ...

class TextBlock:
    text: str
    def __init__(self, *, text: str) -> None: ...

class Message:
    role: str
    blocks: Sequence[Any]
    def __init__(self, *, role: str, blocks: Sequence[Any]) -> None: ...

class GroupCandidate:
    messages: list[Message]

class GroupScore:
    def __init__(self, *, reward: float, metadata: JSONObject | None = None) -> None: ...

class ToolOutput:
    def __init__(
        self,
        *,
        blocks: Sequence[TextBlock],
        reward: float | None,
        finished: bool,
        metadata: JSONObject | None,
    ) -> None: ...

class Environment:
    task_spec: JSONObject
    @classmethod
    def name(cls) -> str: ...
    @classmethod
    def list_splits(cls) -> Sequence[Split | str]: ...
    @classmethod
    def list_tasks(cls, split: str) -> Sequence[JSONObject]: ...
    def get_prompt(self) -> list[TextBlock]: ...
    async def score_group(
        self, candidates: Sequence[GroupCandidate]
    ) -> Sequence[GroupScore | float]: ...

class Server:
    app: Any
    def __init__(self, environments: list[type[Environment]]) -> None: ...

def tool(function: F) -> F: ...
def terminal(function: F) -> F: ...
