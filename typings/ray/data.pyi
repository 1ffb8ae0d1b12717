from collections.abc import Iterator, Sequence
from typing import Any

class DataContext:
    enable_progress_bars: bool
    max_errored_blocks: int
    @classmethod
    def get_current(cls) -> DataContext: ...

class ActorPoolStrategy:
    def __init__(self, *, size: int, max_tasks_in_flight_per_actor: int) -> None: ...

class Dataset:
    def map_batches(self, fn: type, **options: Any) -> Dataset: ...
    def iter_rows(self) -> Iterator[dict[str, Any]]: ...

def from_items(items: Sequence[Any], *, override_num_blocks: int) -> Dataset: ...
