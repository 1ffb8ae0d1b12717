"""Print LLaMA-Factory's prompts and responses as its own code makes them.

Arguments: the checkout, then JSON of {"names", "chats"}: every template on every chat; or of
{"dataset", "template", "rows"}: its first rows, by their registry, converter and template. A
token is a character here, so that equal tokens are equal texts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from stubs import pretend

CHECKOUT, ASKED = Path(sys.argv[1]), json.loads(sys.argv[2])
pretend(
    "fsspec",
    "datasets",
    "huggingface_hub",
    always=[f"llamafactory.{name}" for name in ("data.mm_plugin", "extras.logging", "extras.misc")],
)
# The packages without their own imports: those need everything that LLaMA-Factory trains with.
for package in ("llamafactory", "llamafactory.data", "llamafactory.extras"):
    module = sys.modules[package] = ModuleType(package)
    module.__path__ = [str(CHECKOUT / "src" / package.replace(".", "/"))]

from llamafactory.data.converter import get_dataset_converter  # noqa: E402  # pyright: ignore
from llamafactory.data.parser import get_dataset_list  # noqa: E402  # pyright: ignore
from llamafactory.data.template import TEMPLATES  # noqa: E402  # pyright: ignore

SPECIAL = {1: "<s>", 2: "</s>"}
FIRST_CHARACTER = 10
TOKENIZER: Any


class Characters:
    """The part of a tokenizer that a template uses."""

    bos_token_id, eos_token_id = 1, 2

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [ord(each) + FIRST_CHARACTER for each in text]

    def convert_tokens_to_ids(self, token: str) -> int:
        raise KeyError(f"a token of its own in a slot: {token}")


TOKENIZER = Characters()


def text_of(ids: list[int]) -> str:
    return "".join(SPECIAL.get(each) or chr(each - FIRST_CHARACTER) for each in ids)


def turns(name: str, messages: list[dict[str, str]]) -> list[list[str]]:
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    pairs = TEMPLATES[name].encode_multiturn(
        TOKENIZER, messages[1 if system is not None else 0 :], system, None
    )
    return [[text_of(prompt), text_of(response)] for prompt, response in pairs]


def first_rows(name: str, template: str, count: int) -> list[list[str]]:
    """Return, for each row, the prompt and every response to it: one, or chosen and rejected."""
    folder = CHECKOUT / "data"
    [entry] = get_dataset_list([name], str(folder))
    rows = json.loads((folder / entry.dataset_name).read_text(encoding="utf-8"))
    convert = get_dataset_converter(entry.formatting, entry, None)
    found = []
    for row in rows[:count]:
        made = convert(row)
        texts: list[str] = []
        for response in made["_response"]:
            prompt_ids, response_ids = TEMPLATES[template].encode_oneturn(
                TOKENIZER, [*made["_prompt"], response], made["_system"], None
            )
            texts = [text_of(prompt_ids), *texts[1:], text_of(response_ids)]
        found.append(texts)
    return found


if "names" in ASKED:
    print(json.dumps({each: [turns(each, c) for c in ASKED["chats"]] for each in ASKED["names"]}))
else:
    print(json.dumps(first_rows(ASKED["dataset"], ASKED["template"], ASKED["rows"])))
