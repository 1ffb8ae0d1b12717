"""Which extra of this package brings a module that is not installed."""

from __future__ import annotations

# Modules that the bare server does without.
NEURAL = frozenset({"torch", "transformers", "peft", "safetensors"})
RULES = frozenset(
    [
        "re2",
        "jsonschema_rs",
        "py3langid",
        "punkt",
        "nltk",
        "syllapy",
        "emoji",
        "rouge_score",
        "sacrebleu",
        "tokenizers",
    ]
)


def advice(error: ModuleNotFoundError, extra: str) -> str | None:
    """Return one line that says what to install, or None if no extra would help.

    `extra` is what the caller belongs to: `server` or `train`.

    Example:
        >>> advice(ModuleNotFoundError(name="uvicorn"), "server")
        "uvicorn is not installed: pip install '.[server]' in the checkout"
    """
    module = (error.name or "").partition(".")[0]
    if module in ("", "touchstone_rewards"):
        return None
    if module in NEURAL and extra == "server":
        extra = "server,neural"
    elif module in RULES and extra == "server":
        extra = "server,rules"
    return f"{module} is not installed: pip install '.[{extra}]' in the checkout"
