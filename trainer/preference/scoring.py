"""Score texts with a reward model from a folder or a hub, for `trainer rm` and `trainer rm --eval`.

Each text is read as the model was trained to read it. Nothing is ranked or written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig
from trl.data_utils import _tokenize

from touchstone_rewards.trainer.data.shapes import ChatTurn
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.reward_folder import (
    VALUE_HEAD,
    is_openrlhf,
    is_reward_model,
    load_reward_model,
)
from touchstone_rewards.trainer.preference.reward_head import head_facts, score_at_last_token
from touchstone_rewards.trainer.running.merging import is_adapter

OUTPUTS = {"pairwise": 1, "disco": 2}


class TextScore(NamedTuple):
    """The score of one text; `std` is the standard deviation from a distributional model."""

    score: float
    std: float | None = None


def load_for_scores(name: str, **kwargs: Any) -> Any:
    """Return the reward model in a folder, ready to score.

    A model of `trainer rm` and a value head are read at the last token, others by transformers' own
    forward, as in the reward server.

    Raises:
        InputError: the model has no classification or value head.
    """
    outputs = 1
    if not is_adapter(name):
        config: Any = AutoConfig.from_pretrained(name)
        if not (is_reward_model(config) or is_openrlhf(config) or _has_value_head(name)):
            kind = " or ".join(config.architectures or ["model"])
            raise InputError(
                f"{name} is a {kind}, not a known reward model: expected a folder of "
                f"AutoModelForSequenceClassification, one of OpenRLHF, or one with {VALUE_HEAD}"
            )
        outputs = OUTPUTS[head_facts(config).get("loss", "pairwise")]
    model: Any = load_reward_model(name, outputs, **kwargs)
    if head_facts(model.config):
        score_at_last_token(model)
    return model.eval()


def _has_value_head(name: str) -> bool:
    return (Path(name) / VALUE_HEAD).is_file()


def token_ids(tokenizer: Any, text: str | list[ChatTurn], *, append_eos: bool = False) -> list[int]:
    """Tokenize a complete text or conversation as TRL's reward trainer does.

    A text ends with the end token. A conversation ends as the chat template ends it or, with
    `append_eos`, with the end token and no trailing line break.
    """
    end = tokenizer.eos_token or ""
    if isinstance(text, str):
        ids: Any = _tokenize(tokenizer, text if text.endswith(end) else text + end)
    elif append_eos:
        rendered = tokenizer.apply_chat_template(text, tokenize=False).rstrip("\n")
        rendered = rendered if rendered.endswith(end) else rendered + end
        ids = tokenizer(rendered, add_special_tokens=False)
    else:
        ids = _tokenize(tokenizer, text)
    return ids["input_ids"]


def scores_of(
    model: Any, texts: Sequence[Sequence[int]], batch_size: int, *, quiet: bool = True
) -> list[TextScore]:
    """Return the score of each text, in their order; texts of like length share a batch.

    Example: `scores_of(model, [[5, 7, 2], [5, 2]], 8)[0].score`.
    """
    pad_id = model.config.get_text_config().pad_token_id
    # Without a padding token transformers' classifiers take one text at a time.
    batch_size = batch_size if pad_id is not None or head_facts(model.config) else 1
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found: dict[int, TextScore] = {}
    starts = range(0, len(order), batch_size)
    for first in track(starts, "scoring", console=Console(stderr=True), disable=quiet):
        places = order[first : first + batch_size]
        ids = [torch.tensor(texts[place]) for place in places]
        batch = pad_sequence(ids, batch_first=True, padding_value=pad_id or 0)
        mask = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True)
        with torch.no_grad():
            output = model(batch.to(model.device), attention_mask=mask.to(model.device))
        scores = output.logits.float().squeeze(-1).tolist()
        variance = getattr(output, "variance", None)
        stds = [None] * len(places) if variance is None else variance.sqrt().tolist()
        found.update(zip(places, map(TextScore, scores, stds), strict=True))
    return [found[place] for place in range(len(texts))]
