from typing import Any

class OpenReward:
    environments: Any
    def __init__(self, *, api_key: str) -> None: ...
