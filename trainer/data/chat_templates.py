"""Chat templates by name: the files in trainer/prompts, and LLaMA-Factory's names for them.

The rendered texts equal those of LLaMA-Factory's templates; a contract test compares them with a
checkout. The templates support the roles system, user and assistant; for tools, use the tokenizer's
own template.

Source: hiyouga/LLaMA-Factory, src/llamafactory/data/template.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from touchstone_rewards.trainer.errors import InputError

PROMPTS = Path(__file__).parents[1] / "prompts"
NOT_OF_CHATS = ("story_generation", "story_generation_zh")
# LLaMA-Factory's name -> the file with the same text.
SAME = {
    "qwen3_nothink": "chatml",
    "qwen3_5_nothink": "chatml",
    "yi": "chatml",
    "smollm": "chatml",
    "qwen3_5": "qwen3",
    "qwen3_6": "qwen3",
    "gemma3": "gemma",
    "phi_small": "phi",
}
# File -> the end-of-turn token, where it replaces the tokenizer's own end-of-text token.
ENDS = {
    "chatml": "<|im_end|>",
    "qwen": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "phi": "<|end|>",
    "phi4": "<|im_end|>",
}


def template_names() -> list[str]:
    """Return the names of all chat templates that ship with the trainer."""
    files = {path.stem for path in PROMPTS.glob("*.jinja")} - set(NOT_OF_CHATS)
    return sorted(files | SAME.keys())


def chat_template_file(name: str) -> str:
    """Return the file of a template by its name; return a path or a folder unchanged.

    Example: `chat_template_file("qwen3_nothink")` is the path of `trainer/prompts/chatml.jinja`.

    Raises:
        InputError: `name` is neither a known name nor an existing path.
    """
    path = PROMPTS / f"{SAME.get(name, name)}.jinja"
    if name in template_names():
        return str(path)
    if Path(name).exists() or "/" in name:
        return name
    raise InputError(
        f"no chat template {name!r}: leave it out to use the tokenizer's own, or give a "
        f".jinja file, or one of {', '.join(template_names())}"
    )


def end_turns(tokenizer: Any, template: str | Path) -> None:
    """Set the tokenizer's end-of-text token to the end-of-turn token of one of our templates.

    Generation then stops at the token that ended each turn in training. A tokenizer that lacks the
    token keeps its own.
    """
    path = Path(template)
    end = ENDS.get(path.stem) if path.parent == PROMPTS else None
    if end is not None and end in tokenizer.get_vocab():
        tokenizer.eos_token = end
