from ray import data as data
from ray import serve as serve

class RuntimeContext:
    gcs_address: str

def init(
    *,
    log_to_driver: bool = ...,
    logging_level: int = ...,
    include_dashboard: bool = ...,
    num_cpus: int = ...,
    num_gpus: int = ...,
    object_store_memory: int = ...,
    runtime_env: dict[str, object] = ...,
) -> object: ...
def is_initialized() -> bool: ...
def shutdown() -> None: ...
def cluster_resources() -> dict[str, float]: ...
def get_runtime_context() -> RuntimeContext: ...
