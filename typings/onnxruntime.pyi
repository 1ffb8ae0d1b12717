from collections.abc import Mapping, Sequence
from typing import Any

class SessionOptions:
    intra_op_num_threads: int

class InferenceSession:
    def __init__(
        self, model: bytes, options: SessionOptions, *, providers: Sequence[str]
    ) -> None: ...
    def run(self, outputs: None, inputs: Mapping[str, object]) -> list[Any]: ...
