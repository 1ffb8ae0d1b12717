"""A `generate` for transformers models that returns the samples' responses."""

from __future__ import annotations

from typing import Any

import torch
from held import END, Lookup
from transformers.generation.utils import GenerateDecoderOnlyOutput


def scripted(tokenizer: Any, lookup: Lookup) -> Any:
    """Return a replacement for `model.generate`. It returns prompts followed by their responses,
    padded on the right, as a tensor or, if the trainer asks for it, as transformers' output."""

    def generate(*_: Any, input_ids: torch.Tensor, **options: Any) -> Any:
        texts = tokenizer.batch_decode(input_ids)
        rows = [tokenizer(lookup.next(text) + END)["input_ids"] for text in texts]
        width = max(map(len, rows))
        padded = [row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows]
        sequences = torch.cat([input_ids, torch.tensor(padded)], dim=1)
        config = options.get("generation_config")
        if getattr(config, "return_dict_in_generate", False):
            return GenerateDecoderOnlyOutput(sequences=sequences)  # pyright: ignore
        return sequences

    return generate
