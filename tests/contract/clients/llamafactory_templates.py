"""LLaMA-Factory's templates: the text of every prompt and response that it makes of conversations.

Arguments: the checkout, then JSON of {"names": [...], "chats": [[{role, content}, ...], ...]}.
A token is a character here, so that equal tokens are equal texts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from stubs import pretend

CHECKOUT, ASKED = Path(sys.argv[1]), json.loads(sys.argv[2])
pretend("fsspec", "datasets", always=["llamafactory.data.mm_plugin", "llamafactory.extras.logging"])
# The packages without their own imports: those need everything that LLaMA-Factory trains with.
for package in ("llamafactory", "llamafactory.data", "llamafactory.extras"):
    module = sys.modules[package] = ModuleType(package)
    module.__path__ = [str(CHECKOUT / "src" / package.replace(".", "/"))]

from llamafactory.data.template import TEMPLATES  # noqa: E402  # pyright: ignore

SPECIAL = {1: "<s>", 2: "</s>"}
FIRST_CHARACTER = 10


class Characters:
    """As much of a tokenizer as a template needs."""

    bos_token_id, eos_token_id = 1, 2

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [ord(each) + FIRST_CHARACTER for each in text]

    def convert_tokens_to_ids(self, token: str) -> int:
        raise KeyError(f"a token of its own in a slot: {token}")


def text_of(ids: list[int]) -> str:
    return "".join(SPECIAL.get(each) or chr(each - FIRST_CHARACTER) for each in ids)


def turns(name: str, messages: list[dict[str, str]]) -> list[list[str]]:
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    tokenizer: Any = Characters()
    pairs = TEMPLATES[name].encode_multiturn(
        tokenizer, messages[1 if system is not None else 0 :], system, None
    )
    return [[text_of(prompt), text_of(response)] for prompt, response in pairs]


print(json.dumps({name: [turns(name, each) for each in ASKED["chats"]] for name in ASKED["names"]}))
