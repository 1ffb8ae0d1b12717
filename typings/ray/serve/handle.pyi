from typing import Any

class DeploymentHandle:
    def __getattr__(self, name: str) -> Any: ...
