"""The types of the wire, defined once: `POST /score` and the routes beside it.

The server decodes with these types, the client builds and parses with them, the OpenAPI document
is made from them. Importing this module is light: msgspec only. Samples and results come by the
thousand and never hold themselves, so the garbage collector need not look at them (`gc=False`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeGuard

from msgspec import UNSET, Meta, Struct, UnsetType, field

Priority = Literal["train", "eval"]
Status = Literal["ok", "error"]
SampleErrorCode = Literal[
    "deadline_exceeded",
    "scorer_failed",
    "bad_ground_truth",
    "missing_field",
    "response_too_large",
    "worker_lost",
]
Number = int | float


class Message(Struct, gc=False):
    """One turn of a chat. `content` may be a list of parts or null, as chat formats allow."""

    role: str
    content: str | list[Any] | None = None


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a decoded JSON value is a list, and tell the type checker so."""
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a decoded JSON value is an object, and tell the type checker so."""
    return isinstance(value, dict)


def text_of_turn(content: str | list[Any] | None) -> str:
    """Return a turn's text, also where it comes in parts; a part without a text has none."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = [part.get("text") for part in content if is_object(part)]
    return "".join(text for text in texts if isinstance(text, str))


# What a ground truth is meant to be. Datasets have others too: a sample with one of those is not
# scored, and no other sample pays for it, so the type lets every JSON value in.
TruthOnTheWire = Annotated[
    Any,
    Meta(
        description='An answer, several acceptable ones, or {"target": …} around them.',
        extra_json_schema={
            "anyOf": [
                {"type": "string"},
                {"type": "number"},
                {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
                {"type": "object"},
                {"type": "null"},
            ]
        },
    ),
]
# The only key of a dict whose meaning is plain; the first is verl's.
TRUTH_KEYS = frozenset({"target", "ground_truth", "answer", "value"})


class Sample(Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One thing to score. What has no field of its own travels in `metadata`."""

    id: str
    response: str
    prompt: str | list[Message] | None = None
    ground_truth: TruthOnTheWire = None
    group_id: str | None = None
    signals: dict[str, Number | list[Number] | None] = field(
        default_factory=dict[str, Number | list[Number] | None]
    )
    metadata: dict[str, Any] = {}


def plain_ground_truth(value: Any) -> str | Number | list[str | Number] | None:
    """Return a ground truth as scorers read it.

    Example:
        >>> plain_ground_truth({"target": ["46"]})
        ['46']

    Raises:
        ValueError: it is neither a text nor a number, nor a list or a dict around those.
    """
    if is_object(value) and len(value) == 1 and not TRUTH_KEYS.isdisjoint(value):
        value = next(iter(value.values()))
    answers: Any = value  # of which the checks below say what it is
    if answers is None or _is_answer(answers):
        return answers
    if is_list(answers) and all(map(_is_answer, answers)):
        return answers
    if is_object(value) and isinstance(why := value.get("unreadable"), str):
        got = why  # a client's words about what JSON has no form for
    elif is_object(value):
        got = f"an object with {', '.join(map(str, list(value)[:5])) or 'no key'}"
    else:
        got = "a list with others in it" if isinstance(value, list) else type(value).__name__
    raise ValueError(f"a ground truth is a text, a number or a list of those, not {got}")


def is_readable(truth: Any) -> bool:
    """Tell whether scorers can read a ground truth, once it is plain."""
    try:
        plain_ground_truth(truth)
    except ValueError:
        return False
    return True


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


class ScoreRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /score`. Without `deadline_ms` the server's own deadline holds."""

    samples: list[Sample]
    profile: str = "math"
    deadline_ms: Annotated[float, Meta(gt=0)] | None = None
    priority: Priority = "train"
    explain: bool = False


class SampleError(Struct, frozen=True, gc=False):
    """Why a sample has no score. `retryable`: the same sample may succeed if sent again."""

    code: SampleErrorCode
    message: str
    retryable: bool


class SampleResult(Struct, gc=False):
    """The verdict on one sample. With status `error` the reward is null, never a number."""

    id: str
    status: Status
    reward: float | None
    scores: dict[str, float | None]
    error: SampleError | None = None
    explanation: dict[str, Any] | None = None


class ScoreResponse(Struct):
    """The answer to `POST /score`: results in the order of the samples, same length, same ids."""

    results: list[SampleResult]
    profile: str
    fingerprint: str
    elapsed_ms: float


class ErrorDetail(Struct):
    code: str
    message: str
    request_id: str


class ErrorBody(Struct):
    """The body of every answer that is not a 2xx."""

    error: ErrorDetail


class ShadowInfo(Struct):
    """What came of comparing a profile with its shadow, the profile named here.

    `samples`: scored by both; `disagreements`: of these, with different verdicts; `failed`: without
    a reward of the shadow's; `dropped`: not compared for want of time. `mean_difference`: of the
    rewards, absolute, over the `compared` that have both.
    """

    profile: str
    samples: int = 0
    disagreements: int = 0
    failed: int = 0
    dropped: int = 0
    compared: int = 0
    mean_difference: float | None = None


class ProfileInfo(Struct):
    """One entry of `GET /profiles`. `ranges`: scorer key to its least and greatest score, null
    where there is no bound. `reads`: the fields of a sample that any scorer looks at; `needs`:
    those that the scorers look at on which the reward depends."""

    name: str
    description: str
    scorers: list[str]
    ranges: dict[str, tuple[float | None, float | None]]
    fingerprint: str
    shadow: ShadowInfo | None = None
    reads: list[str] = []
    needs: list[str] = []


class ProfileList(Struct):
    profiles: list[ProfileInfo]


class ReloadReport(Struct):
    """The answer to `POST /profiles/reload`: names of profiles, and all fingerprints as of now."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    fingerprints: dict[str, str]


class EmbedRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /embed`. Without `model`, the first that the server holds."""

    texts: list[str]
    model: str | None = None
    deadline_ms: Annotated[float, Meta(gt=0)] | None = None
    priority: Priority = "train"


class EmbedResponse(Struct):
    """The answer to `POST /embed`, in the order of the texts: a vector, or null and the error."""

    embeddings: list[list[float] | None]
    errors: list[SampleError | None]
    model: str
    elapsed_ms: float


class LoadRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /models/load` and `/models/unload`. `config` changes what the profile says
    of the model: `{"model": "/path/of/another/checkpoint"}`."""

    name: str
    config: dict[str, Any] = {}


class ModelInfo(Struct):
    """One model that the server holds. `about`: dtype, device, layout and parity, once loaded."""

    name: str
    kind: str
    model: str
    ready: bool
    reason: str | None
    profiles: list[str]
    about: dict[str, Any]


class ModelList(Struct):
    models: list[ModelInfo]


class HealthStatus(Struct):
    """The body of `GET /health` and `GET /ready`.

    `reason`: why it is not ready. `url` and `ready_since`, in RFC 3339: where and since when it is.
    """

    status: Literal["ok", "not_ready"]
    reason: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    ready_since: str | UnsetType = UNSET
