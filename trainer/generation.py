"""Greedy generation from a model folder, for evaluation: transformers, or vLLM where installed.

In: prompts, text or chats. Out: one response a prompt, in order, without the prompt. No sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.progress import track

from trainer.errors import InputError

Prompt = str | list[dict[str, Any]]


@dataclass
class Generation:
    """How responses are generated."""

    max_new_tokens: int = field(default=512, metadata={"help": "Longest response."})
    batch_size: int = field(default=64, metadata={"help": "Prompts at a time, transformers only."})
    use_vllm: bool = field(default=False, metadata={"help": "Generate with vLLM."})


def generate(model: str, prompts: Sequence[Prompt], settings: Generation) -> list[str]:
    """One greedy response a prompt.

    Raises:
        InputError: vLLM is wanted but not installed, or there is no model of that name.
    """
    if settings.use_vllm:
        return _with_vllm(model, prompts, settings)
    return _with_transformers(model, prompts, settings)


def _with_transformers(model: str, prompts: Sequence[Prompt], settings: Generation) -> list[str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
        network: Any = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    except OSError as error:
        raise InputError(f"no model at {model}: {str(error).partition(chr(10))[0]}") from error
    network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    texts = [_as_text(tokenizer, prompt) for prompt in prompts]
    # Prompts of about one length share a batch: least padding.
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    starts = range(0, len(order), settings.batch_size)
    responses = [""] * len(texts)
    for start in track(starts, description="generating"):
        places = order[start : start + settings.batch_size]
        inputs = tokenizer(
            [texts[place] for place in places],
            return_tensors="pt",
            padding=True,
            add_special_tokens=isinstance(prompts[0], str),
            return_token_type_ids=False,
        ).to(network.device)
        with torch.inference_mode():
            tokens = network.generate(
                **inputs,
                max_new_tokens=settings.max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = tokens[:, inputs["input_ids"].shape[1] :]
        for place, text in zip(
            places, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True
        ):
            responses[place] = text
    return responses


def _with_vllm(model: str, prompts: Sequence[Prompt], settings: Generation) -> list[str]:
    try:
        from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("use_vllm is set, but vLLM is not installed") from error
    engine = LLM(model=model)
    sampling = SamplingParams(temperature=0.0, max_tokens=settings.max_new_tokens)
    tokenizer = engine.get_tokenizer()
    outputs = engine.generate([_as_text(tokenizer, prompt) for prompt in prompts], sampling)
    return [output.outputs[0].text for output in outputs]


def _as_text(tokenizer: Any, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
