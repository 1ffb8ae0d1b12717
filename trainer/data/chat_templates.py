"""Chat templates by name: the files in trainer/prompts, and the names LLaMA-Factory has for them.

In: a name, a path, or a model that has a template. Out: what `chat_template_path` takes. The texts
equal those of LLaMA-Factory's templates, prompt by prompt; a contract test holds them against a
checkout. They have turns of system, user and assistant; for tools, use the tokenizer's own.

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
# File -> the token that ends a turn, where it takes the place of the tokenizer's own end of text.
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
    """Return every name of a chat template that is known here."""
    files = {path.stem for path in PROMPTS.glob("*.jinja")} - set(NOT_OF_CHATS)
    return sorted(files | SAME.keys())


def chat_template_file(name: str) -> str:
    """Return the file of a template by its name; a path or a folder is returned as it is.

    Example: `chat_template_file("qwen3_nothink")` is the path of `trainer/prompts/chatml.jinja`.

    Raises:
        InputError: neither a known name nor something that exists.
    """
    path = PROMPTS / f"{SAME.get(name, name)}.jinja"
    if name in template_names():
        return str(path)
    if Path(name).exists() or "/" in name:
        return name
    raise InputError(
        f"{name!r} is no chat template here; leave it out to use the tokenizer's own, or give a "
        f".jinja file, or one of {', '.join(template_names())}"
    )


def end_turns(tokenizer: Any, template: str | Path) -> None:
    """Make the token that ends a turn of one of our templates the tokenizer's end of text.

    Generation stops there then, as training ended there. A tokenizer without that token keeps its
    own.
    """
    path = Path(template)
    end = ENDS.get(path.stem) if path.parent == PROMPTS else None
    if end is not None and end in tokenizer.get_vocab():
        tokenizer.eos_token = end
