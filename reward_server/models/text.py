"""Turn texts, or prompts and responses, into the token ids that a model reads.

Pure except for the tokenizer. A text that cannot be read becomes its sample's error; tokens removed
by truncation are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.schemas import Message, SampleError, text_of_turn
from touchstone_rewards.reward_server.turn_texts import text_of_message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Prompt = str | list[Message] | None


class Text(NamedTuple):
    """A text for a model to read; an embedding model gets no prompt."""

    prompt: Prompt
    response: str


class TokenIds(Struct):
    """The ids of one text, and how many tokens truncation removed."""

    ids: list[int]
    cut: int = 0


class TextReader:
    """Turns texts into tokens: with the tokenizer's chat template, or by plain concatenation.

    `max_tokens` is the most that the model reads; `truncation` says how to handle longer texts.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: Literal["chat", "plain"],
        max_tokens: int,
        truncation: Literal["refuse", "left", "right"],
        append_eos: bool = False,
    ) -> None:
        known: Any = tokenizer  # some of its attributes are untyped
        if template == "chat" and not known.chat_template:
            raise ConfigError(
                "the tokenizer has no chat template; set `template: plain` to concatenate prompt "
                "and response, or add chat_template.jinja to the model's folder"
            )
        if append_eos and tokenizer.eos_token_id is None:
            raise ConfigError("append_eos is set, but the tokenizer has no EOS token")
        self.tokenizer = tokenizer
        self.template = template
        self.max_tokens = max_tokens
        self.truncation = truncation
        self.append_eos = append_eos
        self._special = frozenset(tokenizer.all_special_ids)

    def read(self, texts: Sequence[Text]) -> list[TokenIds | SampleError]:
        """Return the tokens of each text, or its error.

        Raises:
            Exception: a chat template refused a prompt.
        """
        plain = self.template == "plain"
        rendered = self._rendered(texts)
        strings = [string for string in rendered if isinstance(string, str)]
        # A chat template writes the special tokens itself.
        ids = iter(self._encode(strings, special=plain) if strings else [])
        return [
            self._within_limit(next(ids)) if isinstance(string, str) else string
            for string in rendered
        ]

    def rendered(self, texts: Sequence[Text]) -> list[str | SampleError]:
        """Return each text for an engine that tokenizes itself; a BOS that the engine will add is
        left out.

        Raises:
            Exception: a chat template refused a prompt.
        """
        bos: Any = self.tokenizer.bos_token
        [bare] = self._encode([""], special=True)
        added = bos is not None and bare[:1] == [self.tokenizer.bos_token_id]
        return [
            one.removeprefix(str(bos)) if added and isinstance(one, str) else one
            for one in self._rendered(texts)
        ]

    def _rendered(self, texts: Sequence[Text]) -> list[str | SampleError]:
        plain = self.template == "plain"
        return [_concatenated(text) if plain else self._chat(text) for text in texts]

    def _encode(self, strings: list[str], *, special: bool) -> list[list[int]]:
        encoded = self.tokenizer(
            strings,
            add_special_tokens=special,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return encoded["input_ids"]  # type: ignore[return-value]

    def _chat(self, text: Text) -> str | SampleError:
        if text.prompt is None:
            return sample_error(
                "missing_field", "the chat template needs a prompt, but there is none"
            )
        turns: list[dict[str, Any]] = (
            [{"role": "user", "content": text.prompt}]
            if isinstance(text.prompt, str)
            else [_as_dict(turn) for turn in text.prompt]
        )
        turns.append({"role": "assistant", "content": _begun(turns) + text.response})
        tokenizer: Any = self.tokenizer
        rendered = tokenizer.apply_chat_template(turns, tokenize=False)
        assert isinstance(rendered, str)
        # Many templates end with a newline after the end token. With `append_eos` that end token
        # must be the last one, and no second one may follow.
        return rendered.rstrip("\n") if self.append_eos else rendered

    def _within_limit(self, ids: list[int]) -> TokenIds | SampleError:
        ids = self._one_bos(ids)
        eos = self.tokenizer.eos_token_id
        if self.append_eos and (not ids or ids[-1] != eos):
            ids = [*ids, eos]  # type: ignore[list-item]
        if not ids:
            return sample_error("missing_field", "prompt and response are empty: nothing to score")
        over = len(ids) - self.max_tokens
        if over <= 0:
            return TokenIds(ids)
        if self.truncation == "refuse":
            return sample_error(
                "response_too_large",
                f"the sample has {len(ids)} tokens, the model reads {self.max_tokens}; set "
                "`truncation: left` or `right` in the profile to score a part of it",
            )
        return TokenIds(self._cut(ids, over), over)

    def _one_bos(self, ids: list[int]) -> list[int]:
        """Remove a repeated BOS, which would change the score."""
        bos = self.tokenizer.bos_token_id
        if bos is None or len(ids) < 2 or ids[0] != bos or ids[1] != bos:
            return ids
        others = (place for place, token in enumerate(ids) if token != bos)
        return ids[next(others, len(ids)) - 1 :]

    def _cut(self, ids: list[int], over: int) -> list[int]:
        """Cut on the side that `truncation` names, but keep a special token at that end."""
        if self.truncation == "left":
            keep = int(ids[0] in self._special)
            return ids[:keep] + ids[keep + over :]
        keep = int(ids[-1] in self._special)
        return ids[: len(ids) - over - keep] + ids[len(ids) - keep :]


def _as_dict(turn: Message) -> dict[str, Any]:
    calls = {} if turn.tool_calls is None else {"tool_calls": turn.tool_calls}
    return {"role": turn.role, "content": turn.content, **calls}


def _begun(turns: list[dict[str, Any]]) -> str:
    """Remove the assistant turn that a prompt begins, and return its text."""
    if turns and turns[-1]["role"] == "assistant":
        return text_of_turn(turns.pop()["content"])
    return ""


def _concatenated(text: Text) -> str:
    return plain_text(text.prompt) + text.response


def plain_text(prompt: Prompt) -> str:
    """Return a prompt as one string; the turns of a chat are joined by newlines."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(text_of_message(turn) for turn in prompt or ())
