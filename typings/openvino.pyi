from collections.abc import Callable, Mapping
from typing import Any

class Core:
    def compile_model(
        self, model: object, device: str, settings: Mapping[str, object]
    ) -> Callable[[Mapping[str, object]], Any]: ...

def convert_model(model: object, *, example_input: Mapping[str, object]) -> object: ...
