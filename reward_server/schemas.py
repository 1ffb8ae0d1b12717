"""The types of the wire, defined once: `POST /score` and the routes beside it.

The server decodes with these types, the client builds and parses with them, the OpenAPI document
is made from them. Importing this module is light: msgspec only. Samples and results come by the
thousand and never hold themselves, so the garbage collector need not look at them (`gc=False`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType, json

from touchstone_rewards.reward_server.alarms import Alarm

Priority = Literal["train", "eval"]
Status = Literal["ok", "error"]
SampleErrorCode = Literal[
    "deadline_exceeded",
    "scorer_failed",
    "bad_ground_truth",
    "missing_field",
    "response_too_large",
    "worker_lost",
    "upstream_failed",
    "unsupported_input",
]
Number = int | float


class Message(Struct, gc=False, omit_defaults=True):
    """One turn of a chat. `content` may be a list of parts or null, as chat formats allow;
    `tool_calls` are the assistant's, in OpenAI's form."""

    role: str
    content: str | list[Any] | None = None
    tool_calls: list[Any] | None = None


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


# A text, or the messages of a rollout of several turns. Scorers are given the text, see
# `response_text`; those that judge turns are told of the others.
if TYPE_CHECKING:
    ResponseOnTheWire = str
else:
    ResponseOnTheWire = str | list[Message]


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
    """One thing to score. What has no field of its own travels in `metadata`.

    `response`: a text, or a list of messages, of which scorers see the last that the assistant
    wrote unless they judge turns. `profile`: the one to score it with, where the request's profile
    permits another."""

    id: str
    response: ResponseOnTheWire
    prompt: str | list[Message] | None = None
    ground_truth: TruthOnTheWire = None
    group_id: str | None = None
    signals: dict[str, Number | list[Number] | None] = {}
    metadata: dict[str, Any] = {}
    profile: str | None = None


def truth_and_metadata(label: Any) -> tuple[Any, dict[str, Any]]:
    """Return the ground truth in a label, and what else is in it as metadata.

    A trainer that passes on one column can carry more in it: an object, or its JSON, with the key
    `ground_truth` and others. Any other label is the ground truth itself.

    Example:
        >>> truth_and_metadata('{"ground_truth": "46", "data_source": "gsm8k"}')
        ('46', {'data_source': 'gsm8k'})
    """
    found = label
    if isinstance(label, str) and label.lstrip()[:1] == "{" and '"ground_truth"' in label:
        try:
            found = json.decode(label)
        except (DecodeError, RecursionError):
            return label, {}
    if not is_object(found) or len(found) < 2 or "ground_truth" not in found:
        return label, {}
    rest = {key: value for key, value in found.items() if key != "ground_truth"}
    return found["ground_truth"], rest


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
    """The body of `POST /score`. Without `deadline_ms` the server's own deadline holds.

    `run`, `step`: of the training that asks, for the watch; its alarms come in the answers."""

    samples: list[Sample]
    profile: str = "math"
    deadline_ms: Annotated[float, Meta(gt=0)] | None = None
    priority: Priority = "train"
    explain: bool = False
    run: Annotated[str, Meta(max_length=200)] | None = None
    step: Annotated[int, Meta(ge=0)] | None = None


class SampleError(Struct, frozen=True, gc=False):
    """Why a sample has no score. `retryable`: the same sample may succeed if sent again."""

    code: SampleErrorCode
    message: str
    retryable: bool


class SampleResult(Struct, gc=False):
    """The verdict on one sample. With status `error` the reward is null, never a number.

    `routed_to`: the inner profile that scored it, where the request's profile routes. `group`: of a
    sample whose group came in several requests, a name for the group and its number of members:
    those with the same one were scored together. `turns`: where a scorer judges turns, its score of
    each message that the assistant wrote, null where it could not score it. `weights`: of scorers
    whose weight changes over time, the one that this sample's score had. `decided_by`: of each
    scorer that another may replace, whose verdict the reward has; null where none could tell.
    `undecided`: the scorers that ran and could not tell.
    """

    id: str
    status: Status
    reward: float | None
    scores: dict[str, float | None]
    error: SampleError | None = None
    explanation: dict[str, Any] | None = None
    routed_to: str | UnsetType = UNSET
    group: str | UnsetType = UNSET
    turns: list[float | None] | UnsetType = UNSET
    weights: dict[str, float] | UnsetType = UNSET
    decided_by: dict[str, str | None] | UnsetType = UNSET
    undecided: list[str] | UnsetType = UNSET


class ScoreResponse(Struct):
    """The answer to `POST /score`: results in the order of the samples, same length, same ids.

    `alarms`: those of the request's `run` in its last steps; not there without any."""

    results: list[SampleResult]
    profile: str
    fingerprint: str
    elapsed_ms: float
    alarms: list[Alarm] | UnsetType = UNSET


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


class RouteInfo(Struct):
    """How a profile routes its rows: the field, the profile for each of its values, and for all
    others: a profile or `error`."""

    by: str
    cases: dict[str, str]
    otherwise: str


class GroupInfo(Struct):
    """That a profile scores whole groups: `size` members, or as many as a request holds."""

    size: int | None


class CascadeInfo(Struct):
    """That a scorer runs only where others said so: by their keys, what each must have said, a
    score, `undecided` or `unread_truth`. `replaces`: the scorer that it then stands in for."""

    when: dict[str, list[str | float]]
    replaces: str | None = None


class ProfileInfo(Struct):
    """One entry of `GET /profiles`. `ranges`: scorer key to its least and greatest score, null
    where there is no bound. `reads`: the fields of a sample that any scorer looks at; `needs`:
    those that the scorers look at on which the reward depends. Of a profile that routes, scorers,
    ranges and fields are those of all profiles that it leads to, and the field that decides.
    `sample_profiles`: those that a sample may name. `groups`: of a profile that scores whole
    groups, whose members must not be sent in several requests unless they have a size. `turns`: it
    judges turns, so that a rollout's messages are of use to it. `schedules`: what its weights go
    by, `time` or a field such as `metadata.step`. `cascades`: of scorers that run for some samples
    only, when they do. `languages`: those that its scorers were calibrated for, null where none
    says; in others they answer `unsupported_input`."""

    name: str
    description: str
    scorers: list[str]
    ranges: dict[str, tuple[float | None, float | None]]
    fingerprint: str
    shadow: ShadowInfo | None = None
    reads: list[str] = []
    needs: list[str] = []
    route: RouteInfo | None = None
    sample_profiles: list[str] = []
    groups: GroupInfo | None = None
    turns: bool = False
    schedules: list[str] = []
    cascades: dict[str, CascadeInfo] = {}
    languages: list[str] | None = None


class ProfileList(Struct):
    profiles: list[ProfileInfo]


class ScorerInfo(Struct):
    """One entry of `GET /scorers`. `runs_in`: inline, worker, model, remote or group; several where
    the config decides. `config`: the JSON Schema of what a profile may set. `reads` and `range`, as
    for a profile, are those without config. `profiles`: which of those served use it."""

    name: str
    runs_in: list[str]
    description: str
    config: dict[str, Any]
    reads: list[str]
    range: tuple[float | None, float | None]
    profiles: list[str] = []


class ScorerList(Struct):
    scorers: list[ScorerInfo]


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
    `upstreams`: by profile and key, the remote scorers that cannot score now, and why.
    """

    status: Literal["ok", "not_ready"]
    reason: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    ready_since: str | UnsetType = UNSET
    upstreams: dict[str, str] | UnsetType = UNSET
