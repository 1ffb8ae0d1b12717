"""Other engines for an embedding model's transformer on a CPU: OpenVINO and ONNX Runtime.

Each turns a loaded backbone into a forward function like those of `packed.py`, with padding. Each
is an extra, used only if the config asks for it, and must pass the same parity self-test.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.packed import Forward, Ids, pad

RunBackbone = Callable[[np.ndarray, np.ndarray], np.ndarray]
BACKENDS = ("openvino", "onnxruntime")
_NAMES = ["input_ids", "attention_mask"]
_PRECISION = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def backend_forward(
    name: str, backbone: PreTrainedModel, dtype: torch.dtype, threads: int
) -> Forward:
    """Return the forward of `backbone` (fp32, on the CPU), run by the backend called `name`.

    Raises:
        ConfigError: it is not installed, or cannot run this model.
    """
    if find_spec(name) is None:
        raise ConfigError(f"layout {name!r} needs {name}, which is not installed; pip install it")
    make = _openvino if name == "openvino" else _onnxruntime
    try:
        run = make(_Traced(backbone).eval(), dtype, threads)
    except (RuntimeError, ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{name} cannot run this model: {str(error)[:300]}") from error

    def forward(_: PreTrainedModel, ids: Sequence[Ids], pad_id: int) -> torch.Tensor:
        padded, mask = pad(ids, pad_id, torch.device("cpu"))
        hidden = run(padded.numpy(), mask.numpy())
        return torch.as_tensor(hidden)[mask.bool()]

    return forward


class _Traced(torch.nn.Module):
    """The backbone with the two inputs and the single output that exporters expect."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def _example() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0
    return torch.ones(2, 8, dtype=torch.long), mask


def _openvino(traced: _Traced, dtype: torch.dtype, threads: int) -> RunBackbone:
    import openvino

    ids, mask = _example()
    example = dict(zip(_NAMES, (ids, mask), strict=True))
    model = openvino.convert_model(traced, example_input=example)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": _PRECISION[dtype]}
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.array(compiled({"input_ids": ids, "attention_mask": mask})[0])

    return run


def _onnxruntime(traced: _Traced, dtype: torch.dtype, threads: int) -> RunBackbone:
    import onnxruntime

    axes = {name: {0: "sequences", 1: "tokens"} for name in _NAMES}
    file: Any = io.BytesIO()
    options: dict[str, Any] = {"input_names": _NAMES, "output_names": ["hidden"]}
    onnx: Any = torch.onnx  # its options have mixed types
    onnx.export(traced, _example(), file, dynamic_axes=axes, dynamo=False, **options)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(file.getvalue(), settings, providers=providers)

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]  # type: ignore

    return run
