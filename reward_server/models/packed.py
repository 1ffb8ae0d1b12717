"""Run several sequences through a transformer at once, with or without padding.

The input is lists of token ids, the output the last hidden states of all tokens, one sequence after
the other, without padding. In the packed layout the sequences form one long row, and only the
attention keeps them apart, so no padding is computed. Models whose attention bypasses transformers'
interface, or is neither causal nor full, are padded instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

Ids = Sequence[int]
Forward = Callable[[PreTrainedModel, Sequence[Ids], int], torch.Tensor]
PACKED_ATTENTION = "touchstone_packed"
# Attention features that are not implemented here; a model that needs one is padded.
_UNSUPPORTED = ("softcap", "s_aux", "position_bias")


@dataclass(frozen=True)
class _Row:
    """The sequences of a packed row: the start of each, and the end of the last."""

    starts: list[int]
    longest: int
    on_device: torch.Tensor
    varlen: bool


@dataclass(frozen=True)
class _Attention:
    """Which tokens a token attends to: all, the earlier ones, or the last `window` of those."""

    scaling: float | None
    causal: bool
    window: int | None

    def band(self, tokens: int, device: torch.device) -> torch.Tensor | None:
        """Return the mask for a window narrower than the sequence; None if none is needed."""
        if self.window is None or self.window >= tokens:
            return None
        return (
            torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril().triu(1 - self.window)
        )


_current = threading.local()


def forward_packed(backbone: PreTrainedModel, ids: Sequence[Ids], pad_id: int) -> torch.Tensor:
    """Return hidden states (tokens, hidden) of the sequences in one row, attention one by one."""
    return _forward_row(backbone, ids, varlen=False)


def forward_varlen(backbone: PreTrainedModel, ids: Sequence[Ids], pad_id: int) -> torch.Tensor:
    """Return hidden states (tokens, hidden) of the sequences in one row, with one kernel."""
    return _forward_row(backbone, ids, varlen=True)


def forward_padded(backbone: PreTrainedModel, ids: Sequence[Ids], pad_id: int) -> torch.Tensor:
    """Return hidden states (tokens, hidden) of the sequences, padded on the right."""
    padded, mask = pad(ids, pad_id, backbone.device)
    return _hidden(backbone, input_ids=padded, attention_mask=mask)[mask.bool()]


LAYOUTS: dict[str, Forward] = {
    "packed": forward_packed,
    "varlen": forward_varlen,
    "padded": forward_padded,
}


def pad(ids: Sequence[Ids], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids (sequences, longest) and their mask, padded on the right."""
    longest = max(map(len, ids))
    rows = [[*one, *[pad_id] * (longest - len(one))] for one in ids]
    masks = [[1] * len(one) + [0] * (longest - len(one)) for one in ids]
    return torch.tensor(rows, device=device), torch.tensor(masks, device=device)


def _forward_row(backbone: PreTrainedModel, ids: Sequence[Ids], varlen: bool) -> torch.Tensor:
    device = backbone.device
    lengths = [len(one) for one in ids]
    starts = [0, *accumulate(lengths)]
    row = torch.tensor([token for one in ids for token in one], device=device)[None]
    first = _first_position(backbone)
    positions = torch.cat([torch.arange(first, first + n, device=device) for n in lengths])[None]
    on_device = torch.tensor(starts, device=device, dtype=torch.int32)
    config: Any = backbone.config  # the attention implementation has no public setter
    normal = config._attn_implementation
    _current.row = _Row(starts, max(lengths), on_device, varlen)
    try:
        config._attn_implementation = PACKED_ATTENTION
        return _hidden(backbone, input_ids=row, position_ids=positions)[0]
    finally:
        config._attn_implementation = normal
        _current.row = None


def _first_position(backbone: PreTrainedModel) -> int:
    """Return the first position id: RoBERTa and relatives count from after the padding id."""
    table = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1


def _hidden(backbone: PreTrainedModel, **inputs: torch.Tensor) -> torch.Tensor:
    if "use_cache" in backbone.config.to_dict():
        return backbone(**inputs, use_cache=False).last_hidden_state
    return backbone(**inputs).last_hidden_state


def _packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **asked: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention of each sequence of the row to itself. Tensors are (1, heads, tokens,
    head size), the result (1, tokens, heads, head size), as in transformers' interface."""
    unknown = [name for name in _UNSUPPORTED if asked.get(name) is not None]
    if unknown:
        raise NotImplementedError(f"packed attention does not support {', '.join(unknown)}")
    row: _Row = _current.row
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    attend = _attend_varlen if row.varlen else _attend_each
    kind = _Attention(scaling, causal, sliding_window if causal else None)
    return attend(row, kind, query[0], key[0], value[0])[None], None


def _attend_each(
    row: _Row, kind: _Attention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    heads, tokens, _ = query.shape
    out = query.new_empty(tokens, heads, value.shape[-1])
    gqa = key.shape[0] != heads
    for start, end in zip(row.starts, row.starts[1:], strict=False):
        band = kind.band(end - start, query.device)
        attended = functional.scaled_dot_product_attention(
            query[None, :, start:end],
            key[None, :, start:end],
            value[None, :, start:end],
            attn_mask=band,
            scale=kind.scaling,
            is_causal=kind.causal and band is None,
            enable_gqa=gqa,
        )
        out[start:end] = attended[0].transpose(0, 1)
    return out


def _attend_varlen(
    row: _Row, kind: _Attention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    back = -1 if kind.window is None else kind.window - 1
    out = varlen_attn(
        query.transpose(0, 1).contiguous(),
        key.transpose(0, 1).contiguous(),
        value.transpose(0, 1).contiguous(),
        row.on_device,
        row.on_device,
        row.longest,
        row.longest,
        scale=kind.scaling,
        window_size=(back, 0) if kind.causal else (-1, -1),
        enable_gqa=key.shape[0] != query.shape[0],
    )
    assert isinstance(out, torch.Tensor)
    return out


def _register(interface: Any, function: Callable[..., Any]) -> None:
    interface.register(PACKED_ATTENTION, function)


def _no_mask(*_: Any, **__: Any) -> None:
    """Return no mask: the attention function keeps the sequences of the row apart."""


_register(AttentionInterface, _packed_attention)
_register(AttentionMaskInterface, _no_mask)
