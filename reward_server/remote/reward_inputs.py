"""Turn samples into engine inputs: token ids, a text, or a chat for the engine's own template.

Token ids are made here whenever the tokenizer's folder is available, which guarantees a single BOS
and a known length limit with every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.models.files import read_json, resolve
from touchstone_rewards.reward_server.models.text import Text, TextReader, TokenIds, plain_text
from touchstone_rewards.reward_server.remote.reward_config import RemoteRewardConfig
from touchstone_rewards.reward_server.remote.reward_wires import (
    REWARD_WIRES,
    EngineInput,
    TokenSequence,
)
from touchstone_rewards.reward_server.schemas import Message, SampleError, text_of_turn
from touchstone_rewards.reward_server.scorers.returned import text_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_MAX_TOKENS = 32_768


class ReadyInput(NamedTuple):
    """One engine input, its token count if known, and the number of tokens cut off.

    `marks`: positions of the step marks among the tokens. `steps`: number of steps.
    """

    sent: EngineInput
    tokens: int | None = None
    cut: int = 0
    marks: list[int] | None = None
    steps: int = 0


class RewardInputs:
    """Builder of the inputs for one endpoint, following its config.

    Raises:
        ConfigError: the folder has no suitable tokenizer.
    """

    def __init__(self, config: RemoteRewardConfig) -> None:
        self.config = config
        self._reader = _reader(config) if config.local_folder else None
        self._mark = self._mark_id() if config.step_mark else None

    def read(self, texts: Sequence[Text]) -> list[ReadyInput | SampleError]:
        """Return for each text its input, or the reason why it has none."""
        if self.config.step_scores:
            return [self._stepped(text) for text in texts]
        return self._ready(texts)

    def _ready(self, texts: Sequence[Text]) -> list[ReadyInput | SampleError]:
        if self.config.template == "engine":
            return [_chat(text) for text in texts]
        if self._reader is None:
            return [_plain(text) for text in texts]
        if REWARD_WIRES[self.config.wire].ids:
            return [
                ReadyInput(one.ids, len(one.ids), one.cut) if isinstance(one, TokenIds) else one
                for one in self._reader.read(texts)
            ]
        return [
            one if isinstance(one, SampleError) else ReadyInput(one)
            for one in self._reader.rendered(texts)
        ]

    def _stepped(self, text: Text) -> ReadyInput | SampleError:
        """Build the input of a response with a mark after each step. Marks in the response itself
        are removed, so that it cannot choose where its steps end.
        """
        mark = self.config.step_mark or ""
        response = _without(text.response, mark)
        steps = [step for step in response.split(self.config.step_separator) if step.strip()]
        marked = "".join(step + mark for step in steps)
        [one] = self._ready([Text(_unmarked(text.prompt, mark), marked)])
        if isinstance(one, SampleError) or self._mark is None or not isinstance(one.sent, list):
            return one if isinstance(one, SampleError) else one._replace(steps=len(steps))
        marks = [at for at, token in enumerate(one.sent) if token == self._mark]
        if len(marks) != len(steps):
            message = (
                f"the sample has {len(steps)} steps but its tokens have {len(marks)} step marks"
            )
            return sample_error("response_too_large", f"{message}: it was cut")
        return one._replace(marks=marks, steps=len(steps))

    def _mark_id(self) -> int | None:
        if self._reader is None or self.config.template == "engine":
            return None
        tokenizer: Any = self._reader.tokenizer
        ids: TokenSequence = tokenizer.encode(self.config.step_mark, add_special_tokens=False)
        if len(ids) != 1:
            folder = self.config.local_folder
            raise ConfigError(
                f"step_mark {self.config.step_mark!r} is {len(ids)} tokens of {folder}; "
                "set one that is a single token, such as <extra_0>"
            )
        return ids[0]


def _reader(config: RemoteRewardConfig) -> TextReader:
    # Deferred: imports torch.
    from touchstone_rewards.reward_server.models.checkpoint import read_tokenizer

    folder = resolve(config.local_folder or "")
    tokenizer: PreTrainedTokenizerBase = read_tokenizer(folder, None, pad_token=config.pad_token)
    known: Any = tokenizer
    about = read_json(folder / "config.json")
    said = (about.get("text_config") or about).get("max_position_embeddings")
    context = min(int(said or DEFAULT_MAX_TOKENS), known.model_max_length)
    return TextReader(
        tokenizer,
        template="plain" if config.template == "plain" else "chat",
        max_tokens=config.max_tokens or context,
        truncation=config.truncation,
        append_eos=config.append_eos,
    )


def _chat(text: Text) -> ReadyInput | SampleError:
    if text.prompt is None:
        return sample_error(
            "missing_field", "the chat template needs a prompt, but the sample has none"
        )
    turns = [Message("user", text.prompt)] if isinstance(text.prompt, str) else list(text.prompt)
    begun = ""
    if turns and turns[-1].role == "assistant":  # the response continues from here
        begun = text_of_turn(turns.pop().content)
    chat = [{"role": turn.role, "content": text_of(text_of_turn(turn.content))} for turn in turns]
    return ReadyInput([*chat, {"role": "assistant", "content": text_of(begun + text.response)}])


def _plain(text: Text) -> ReadyInput | SampleError:
    whole = text_of(plain_text(text.prompt) + text.response)
    if not whole.strip():
        return sample_error("missing_field", "prompt and response are empty: nothing to score")
    return ReadyInput(whole)


def _without(text: str, mark: str) -> str:
    """Remove the mark from a text. A mark has no space, so removing one cannot create another."""
    return text.replace(mark, " ")


def _unmarked(prompt: Any, mark: str) -> Any:
    if isinstance(prompt, str):
        return _without(prompt, mark)
    return prompt and [
        Message(turn.role, _without(text_of_turn(turn.content), mark)) for turn in prompt
    ]
