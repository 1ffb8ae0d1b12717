"""NeMo Gym's `/verify` of a resources server: the request comes back with the reward added.

The response is the text of the output's messages; a profile that judges turns gets the messages and
the tools' answers. The ground truth is the row's `expected_answer`, `ground_truth` or `answer`; all
other fields are metadata. The answer has `reward`, `reward_components`, and each component as a
field, unless the row has a field of that name. If a constant replaces a null reward, the row has
`_ng_failure_class`, which Gym writes to its failures file.

A trainer that calls the resources server directly (prime-rl's verifiers) posts `/seed_session`
first.

Source: NeMo Gym 07d6b0d and 0.7.0, nemo_gym/base_resources_server.py,
nemo_gym/rollout_collection.py and resources_servers/math_with_judge/app.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from touchstone_rewards.reward_server.compat.format import FixedAnswer, Format, FormatVerdict
from touchstone_rewards.reward_server.schemas import Message, Sample, TruthOnTheWire, is_readable

TRUTHS = ("expected_answer", "ground_truth", "answer")


class ContentPart(Struct):
    type: str = ""
    text: str = ""


class OutputItem(Struct):
    """A message, a tool call, a tool's answer, or an item of another type, which is ignored."""

    type: str = ""
    content: str | list[ContentPart] | None = None
    output: Any = None
    name: Any = None
    arguments: Any = None


class GymResponse(Struct):
    output: list[OutputItem]


class InputItem(Struct):
    role: str | None = None
    content: str | list[Any] | None = None


class CreateParams(Struct):
    input: str | list[InputItem]


class VerifyRequest(Struct):
    """The fields of a row that are read. All other fields are returned unchanged."""

    responses_create_params: CreateParams
    response: GymResponse
    expected_answer: TruthOnTheWire = None
    ground_truth: TruthOnTheWire = None
    answer: TruthOnTheWire = None


class VerifyAnswer(Struct):
    """The fields that are added to those of the request."""

    reward: float
    reward_components: dict[str, float] = {}


class AskedVerify(Struct):
    """A row, and all its fields as JSON text."""

    row: VerifyRequest
    fields: dict[str, Raw]


OWN_FIELDS = frozenset({"responses_create_params", "response", *TRUTHS})
_read_row = msgspec.json.Decoder(VerifyRequest).decode
_read_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def decode(body: bytes) -> AskedVerify:
    """Decode a request twice: the fields that are read, and every field as JSON text."""
    return AskedVerify(_read_row(body), _read_fields(body))


def samples(asked: AskedVerify) -> list[Sample]:
    """Return the one sample of a row."""
    row = asked.row
    messages = [item for item in row.response.output if item.type == "message"]
    response = "".join(_text(message.content) for message in messages)
    truths = (row.expected_answer, row.ground_truth, row.answer)
    given = [truth for truth in truths if truth is not None]
    truth = next(filter(is_readable, given), given[0] if given else None)
    metadata = {name: raw for name, raw in asked.fields.items() if name not in OWN_FIELDS}
    prompt = _prompt(row.responses_create_params.input)
    return [Sample("0", response, prompt, truth, metadata=_undecoded(metadata))]


def trajectories(asked: AskedVerify) -> list[list[Message]]:
    """Return the rollout's messages: the model's with their tool calls, and the tools' answers."""
    found: list[Message] = []
    for item in asked.row.response.output:
        if item.type == "message":
            found.append(Message("assistant", _text(item.content)))
        elif item.type == "function_call":
            function = {"name": item.name, "arguments": item.arguments}
            if not found or found[-1].role != "assistant":
                found.append(Message("assistant"))
            calls = found[-1].tool_calls or []
            found[-1].tool_calls = [*calls, {"type": "function", "function": function}]
        elif item.type == "function_call_output":
            answered = item.output if isinstance(item.output, str) else ""
            found.append(Message("tool", answered))
    return [found]


def _undecoded(fields: dict[str, Raw]) -> Any:
    """Return the fields as JSON text, which is decoded only for scorers that read metadata."""
    return Raw(msgspec.json.encode(fields)) if fields else {}


def _text(content: str | list[ContentPart] | None) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content or () if part.type == "output_text")


def _prompt(given: str | list[InputItem]) -> str | list[Message]:
    if isinstance(given, str):
        return given
    return [Message(item.role, item.content) for item in given if item.role is not None]


def body(asked: AskedVerify, verdicts: Sequence[FormatVerdict]) -> dict[str, Any]:
    """Return the row with its reward."""
    [verdict] = verdicts
    answer: dict[str, Any] = {
        **verdict.scores,
        **asked.fields,
        "reward": verdict.reward,
        "reward_components": verdict.scores,
    }
    if verdict.error is not None:
        answer["_ng_failure_class"] = "no_reward"
        answer["_ng_failure_error"] = f"{verdict.error.code}: {verdict.error.message}"
    return answer


NEMO_GYM = Format(
    name="nemo_gym",
    path="nemo_gym/verify",
    summary="A NeMo Gym resources server's verify",
    example={
        "responses_create_params": {"input": [{"role": "user", "content": "What is 6 + 40?"}]},
        "response": {
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "It is \\boxed{46}."}],
                }
            ]
        },
        "expected_answer": "46",
    },
    request=VerifyRequest,
    answer=VerifyAnswer,
    samples=samples,
    body=body,
    decode=decode,
    own_keys=frozenset({"reward", "reward_components"}),
    trajectories=trajectories,
)
# Sessions have no state: a row carries everything that its verification needs.
GYM_ANSWERS = (
    FixedAnswer("POST", "/compat/nemo_gym/seed_session", "NeMo Gym: start a session", {}),
    FixedAnswer(
        "GET", "/compat/nemo_gym/reverify_mode", "NeMo Gym: how to verify again", "stateless"
    ),
)
