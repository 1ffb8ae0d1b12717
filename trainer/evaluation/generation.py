"""Generate responses with a model: greedily or sampled, with transformers or vLLM.

Prompts are texts or chats. Batches and their seeds depend only on prompts and settings, so that
batches generated before a crash can be reused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track

from touchstone_rewards.trainer.data.chats import ChatOrPrompt, prompt_tokens
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.merging import (
    base_of,
    is_adapter,
    merged_model,
    plain_folder,
    tokenizer_folder,
)

# (prompts of a batch, its seed) -> the responses to each prompt.
Respond = Callable[[Sequence[ChatOrPrompt], int], list[list[str]]]
BATCH_SIZES = {"transformers": 64, "vllm": 4096}
MOST_SAMPLES = 1000
# Fields of a model's generation config that are used, or do not affect generation.
NOT_GENERATION = {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"}
NOT_GENERATION |= {"use_cache", "output_attentions", "output_hidden_states", "output_scores"}
TEMPLATES = Path(__file__).parents[1] / "prompts"


@dataclass
class Generation:
    """Settings of the generation."""

    engine: Literal["transformers", "vllm"] = field(
        default="transformers", metadata={"help": "Inference engine; vllm needs the extra [vllm]."}
    )
    max_new_tokens: int = field(default=512, metadata={"help": "Longest response, in tokens."})
    max_prompt_length: int | None = field(
        default=None,
        metadata={"help": "Longest prompt, in tokens; of a longer one the last tokens are kept."},
    )
    num_samples: int = field(default=1, metadata={"help": "Responses per prompt."})
    temperature: float = field(default=0.0, metadata={"help": "Sampling temperature; 0: greedy."})
    top_p: float = field(default=1.0, metadata={"help": "Probability mass for nucleus sampling."})
    stop: list[str] | None = field(
        default=None, metadata={"help": "Texts that end a response; they are kept in it."}
    )
    batch_size: int | None = field(
        default=None,
        metadata={"help": "Responses generated at once. Default: 64, with vLLM 4096."},
    )
    chat_template: str | None = field(
        default=None,
        metadata={"help": "A .jinja file, or a name in trainer/prompts, for models without one."},
    )
    gpu_memory_utilization: float = field(
        default=0.9, metadata={"help": "Share of the GPU's memory for vLLM."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the sampling."})

    def __post_init__(self) -> None:
        if not 1 <= self.num_samples <= MOST_SAMPLES:
            raise ValueError(f"num_samples must be 1 to {MOST_SAMPLES}, not {self.num_samples}")
        least = {"max_new_tokens": self.max_new_tokens, "batch_size": self.batch_size}
        for name, value in (least | {"max_prompt_length": self.max_prompt_length}).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError("gpu_memory_utilization must be above 0 and at most 1")
        if self.num_samples > 1 and self.temperature <= 0:
            raise ValueError("num_samples above 1 needs a temperature: greedy responses are equal")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature must not be negative, top_p above 0 and at most 1")


def plan_batches(prompts: Sequence[ChatOrPrompt], settings: Generation) -> list[list[int]]:
    """Return the indices of each batch's prompts; prompts of similar length share a batch."""
    size = settings.batch_size or BATCH_SIZES[settings.engine]
    size = max(1, size // settings.num_samples)
    lengths = [len(each if isinstance(each, str) else json.dumps(each)) for each in prompts]
    order = sorted(range(len(prompts)), key=lambda place: lengths[place])
    return [order[start : start + size] for start in range(0, len(order), size)]


def generate(
    model: str, prompts: Sequence[ChatOrPrompt], settings: Generation, done: Collection[int] = ()
) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield the number and the responses of each batch that is not in `done`.

    Raises:
        InputError: the engine is not installed, or there is no such model or template.
    """
    batches = plan_batches(prompts, settings)
    missing = [number for number in range(len(batches)) if number not in done]
    if not missing:
        return
    respond = (_vllm if settings.engine == "vllm" else _transformers)(model, settings)
    for number in track(missing, description="generating"):
        chosen = [prompts[place] for place in batches[number]]
        responses = respond(chosen, settings.seed * 1_000_003 + number)
        yield number, [[cut(text, settings.stop or ()) for text in each] for each in responses]


def cut(text: str, stops: Sequence[str]) -> str:
    """Return the text up to the end of its first stop; an engine's last token may extend beyond
    it."""
    ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text


def _transformers(model: str, settings: Generation) -> Respond:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteriaList

    adapter = model if is_adapter(model) else None
    base = base_of(model) if adapter else model
    try:
        folder = tokenizer_folder(base, adapter)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        network: Any = (
            merged_model(base, adapter)
            if adapter
            else AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        )
    except OSError as error:
        raise InputError(f"no model at {model}: {str(error).partition(chr(10))[0]}") from error
    network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    set_chat_template(tokenizer, settings.chat_template)
    network.generation_config, told = own_config(network.generation_config, tokenizer)
    Console(stderr=True).print(told, style="dim", highlight=False)
    fields = {**_sampling(settings), "max_new_tokens": settings.max_new_tokens}

    def respond(prompts: Sequence[ChatOrPrompt], seed: int) -> list[list[str]]:
        tokens = [encode(tokenizer, prompt, settings.max_prompt_length) for prompt in prompts]
        inputs = tokenizer.pad({"input_ids": tokens}, return_tensors="pt").to(network.device)
        start = inputs["input_ids"].shape[1]
        ends = StoppingCriteriaList()
        if settings.stop:
            ends.append(said(tokenizer, settings.stop, start))
        torch.manual_seed(seed)
        with torch.inference_mode():
            made = network.generate(**inputs, **fields, stopping_criteria=ends)
        new = made[:, start:]
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        each = settings.num_samples
        return [texts[place : place + each] for place in range(0, len(texts), each)]

    return respond


def said(tokenizer: Any, stops: Sequence[str], start: int) -> Any:
    """Return a stopping criterion that is true for rows whose response ends with a stop.

    transformers' own `stop_strings` also matches a stop that begins in the prompt.
    """
    import torch

    window = 1 + max(len(stop.encode()) for stop in stops)

    def criterion(tokens: Any, scores: Any, **kwargs: Any) -> Any:
        tails = tokenizer.batch_decode(tokens[:, start:][:, -window:])
        found = [any(stop in tail for stop in stops) for tail in tails]
        return torch.tensor(found, device=tokens.device)

    return criterion


def own_config(folders: Any, tokenizer: Any) -> tuple[Any, str]:
    """Return a generation config with all end tokens, and a line that reports used and ignored
    settings.

    The end tokens are those of the model's folder and of its tokenizer, as in vLLM. Other settings
    of the folder are ignored: a repetition penalty would change even greedy responses, and in one
    engine only.
    """
    from transformers import GenerationConfig

    ends = folders.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    ends = sorted({each for each in [*ends, tokenizer.eos_token_id] if each is not None})
    kept = {"bos_token_id": folders.bos_token_id, "eos_token_id": ends or None}
    config = GenerationConfig(**kept, pad_token_id=tokenizer.pad_token_id)
    left = {
        name: value
        for name, value in folders.to_diff_dict().items()
        if name not in NOT_GENERATION and value is not None and not name.startswith("_")
    }
    told = f"end tokens: {', '.join(map(str, tokenizer.convert_ids_to_tokens(ends))) or 'none'}"
    if left:
        unused = ", ".join(f"{name} {value}" for name, value in sorted(left.items()))
        told += f"; ignored settings of the model's generation config: {unused}"
    return config, told


def _sampling(settings: Generation) -> dict[str, object]:
    """Return the sampling fields for `generate`."""
    if settings.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": 0,
        "num_return_sequences": settings.num_samples,
    }


def _vllm(model: str, settings: Generation) -> Respond:
    try:
        from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "engine is vllm, but vLLM is not installed: install the extra [vllm] on a machine "
            "with a GPU, or use --engine transformers"
        ) from error
    try:
        with plain_folder(model) as folder:
            engine = LLM(model=folder, gpu_memory_utilization=settings.gpu_memory_utilization)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"vLLM does not start with {model}: {str(error).partition(chr(10))[0]}; see its output "
            f"above. If memory is short, gpu_memory_utilization is "
            f"{settings.gpu_memory_utilization:g}"
        ) from error
    tokenizer = engine.get_tokenizer()
    set_chat_template(tokenizer, settings.chat_template)

    def respond(prompts: Sequence[ChatOrPrompt], seed: int) -> list[list[str]]:
        tokens = [encode(tokenizer, prompt, settings.max_prompt_length) for prompt in prompts]
        sampling = [
            SamplingParams(
                n=settings.num_samples,
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_new_tokens,
                stop=settings.stop,
                include_stop_str_in_output=True,
                seed=None if settings.temperature == 0 else seed * 1_000_003 + place,
            )
            for place in range(len(prompts))
        ]
        outputs = engine.generate([{"prompt_token_ids": each} for each in tokens], sampling)
        return [[one.text for one in each.outputs] for each in outputs]

    return respond


def encode(tokenizer: object, prompt: ChatOrPrompt, most: int | None) -> list[int]:
    """Return the last `most` tokens of a prompt; a chat is rendered by its template.

    Raises:
        InputError: the prompt is a chat, and there is no template.
    """
    tokens = prompt_tokens(tokenizer, prompt)
    return tokens[-most:] if most else tokens


def set_chat_template(tokenizer: Any, name: str | None) -> None:
    """Give the tokenizer a chat template from a file, or by a name in trainer/prompts.

    Raises:
        InputError: there is no such template.
    """
    path = template_path(name)
    if path is not None:
        tokenizer.chat_template = path.read_text(encoding="utf-8")


def template_path(name: str | None) -> Path | None:
    """Return the file of a chat template; None if `name` is None.

    Raises:
        InputError: there is no such template.
    """
    if name is None:
        return None
    named = TEMPLATES / f"{name}.jinja"
    path = named if named.is_file() else Path(name)
    if not path.is_file():
        raise InputError(
            f"no chat template {name!r}: give a .jinja file, or a name in trainer/prompts"
        )
    return path
