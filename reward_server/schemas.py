"""The types of the wire, defined once: `POST /score` and the routes beside it.

The server decodes requests with these types, the client builds and parses with them, and the
OpenAPI document is generated from them. Importing this module is light: it needs msgspec only.
Samples and results come in thousands and hold no cycles, so garbage collection skips them
(`gc=False`).
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
    """Return a turn's text; join the texts of its parts, skipping parts without a text."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = [part.get("text") for part in content if is_object(part)]
    return "".join(text for text in texts if isinstance(text, str))


# A text, or the messages of a multi-turn rollout. Scorers receive the text, see `response_text`;
# only scorers that judge turns receive the other messages.
if TYPE_CHECKING:
    ResponseOnTheWire = str
else:
    ResponseOnTheWire = str | list[Message]


# The documented forms of a ground truth. The type admits every JSON value, because datasets have
# other forms too: such a sample gets an error, and the rest of its request is scored.
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
# In a dict with one of these as its only key, the value is the answer; verl sends the first.
TRUTH_KEYS = frozenset({"target", "ground_truth", "answer", "value"})


class Sample(Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One thing to score. Anything without a field of its own travels in `metadata`.

    `response`: a text, or a list of messages, of which scorers see the last assistant message
    unless they judge turns. `profile`: the profile that scores this sample, if the request's
    profile permits it.

    Example:
        >>> Sample("gsm8k-12/3", "So it is 46.", ground_truth="46").ground_truth
        '46'
    """

    id: str
    response: ResponseOnTheWire
    prompt: str | list[Message] | None = None
    ground_truth: TruthOnTheWire = None
    group_id: str | None = None
    signals: dict[str, Number | list[Number] | None] = {}
    metadata: dict[str, Any] = {}
    profile: str | None = None


def truth_and_metadata(label: Any) -> tuple[Any, dict[str, Any]]:
    """Return the ground truth of a label, and the label's other members as metadata.

    A trainer that passes on one column can pack more into it: an object, or its JSON text, with the
    key `ground_truth` and others. Any other label is the ground truth itself.

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
    """Return a ground truth in the form that scorers read.

    Example:
        >>> plain_ground_truth({"target": ["46"]})
        ['46']

    Raises:
        ValueError: it is neither a text nor a number, nor a list or a dict around those.
    """
    if is_object(value) and len(value) == 1 and not TRUTH_KEYS.isdisjoint(value):
        value = next(iter(value.values()))
    answers: Any = value  # typed by the checks below
    if answers is None or _is_answer(answers):
        return answers
    if is_list(answers) and all(map(_is_answer, answers)):
        return answers
    if is_object(value) and isinstance(why := value.get("unreadable"), str):
        got = why  # a client's description of a value that JSON cannot express
    elif is_object(value):
        got = f"an object with {', '.join(map(str, list(value)[:5])) or 'no key'}"
    else:
        got = "a list with other items" if isinstance(value, list) else type(value).__name__
    raise ValueError(f"a ground truth is a text, a number or a list of those, not {got}")


def is_readable(truth: Any) -> bool:
    """Return whether scorers can read a ground truth in its plain form."""
    try:
        plain_ground_truth(truth)
    except ValueError:
        return False
    return True


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


class ScoreRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /score`. Without `deadline_ms` the server's default deadline applies.

    `run`, `step`: the training run that sends it and its step; the watch raises alarms per run."""

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
    """The result for one sample. With status `error` the reward is null, never a number.

    `routed_to`: the inner profile that scored it, if the request's profile routes. `group`: if the
    group came in several requests, the group's name and number of members; samples with the same
    value were scored together. `turns`: the score of each assistant message, if a scorer judges
    turns; null where it could not score. `weights`: those in effect, of scorers with a schedule.
    `decided_by`: for each replaceable scorer, the scorer whose verdict counts; null if none could
    tell. `undecided`: the scorers that ran and could not tell.
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

    `alarms`: those of the request's `run` in its last steps; absent if there are none."""

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
    """Comparison of a profile with its shadow, the `profile` named here.

    `samples`: scored by both; `disagreements`: those with different verdicts; `failed`: those
    without a reward from the shadow; `dropped`: not compared for lack of time. `mean_difference`:
    mean absolute difference of the rewards over the `compared` samples that have both.
    """

    profile: str
    samples: int = 0
    disagreements: int = 0
    failed: int = 0
    dropped: int = 0
    compared: int = 0
    mean_difference: float | None = None


class RouteInfo(Struct):
    """The route of a profile: the field, the profile for each value of it, and the profile or
    `error` for all other values."""

    by: str
    cases: dict[str, str]
    otherwise: str


class GroupInfo(Struct):
    """A profile that scores whole groups: of `size` members, or of those in one request."""

    size: int | None


class CascadeInfo(Struct):
    """A scorer that runs only on some verdicts of others. `when`: scorer key to the verdicts (a
    score, `undecided` or `unread_truth`). `replaces`: the scorer whose verdict it replaces."""

    when: dict[str, list[str | float]]
    replaces: str | None = None


class ProfileInfo(Struct):
    """One entry of `GET /profiles`. `ranges`: scorer key to its least and greatest score, null for
    no bound. `reads`: the fields of a sample that any scorer uses; `needs`: those used by the
    scorers that the reward depends on. A profile that routes has the union of its targets'
    scorers, ranges and fields, and the field that it routes by. `sample_profiles`: the profiles
    that a sample may name. `groups`: set if the profile scores whole groups; without a size, send
    each group in one request. `turns`: whether it judges turns, so that sending the messages of a
    rollout helps. `schedules`: the inputs of changing weights: `time`, or fields such as
    `metadata.step`. `cascades`: the scorers that run for some samples only. `languages`: those
    that its scorers were calibrated for, null if undeclared; others get `unsupported_input`."""

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
    """One entry of `GET /scorers`. `runs_in`: inline, worker, model, remote or group; several if
    it depends on the config. `config`: the JSON Schema of its config. `reads` and `range`: as in
    a profile, for the default config. `profiles`: the served profiles that use it."""

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
    """The answer to `POST /profiles/reload`: names of profiles, and all current fingerprints."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    fingerprints: dict[str, str]


class EmbedRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /embed`. `model` defaults to the first that the server holds."""

    texts: list[str]
    model: str | None = None
    deadline_ms: Annotated[float, Meta(gt=0)] | None = None
    priority: Priority = "train"


class EmbedResponse(Struct):
    """The answer to `POST /embed`, in the order of the texts: vectors, or null and an error."""

    embeddings: list[list[float] | None]
    errors: list[SampleError | None]
    model: str
    elapsed_ms: float


class LoadRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /models/load` and `/models/unload`. `config` overrides the profile's
    settings of the model: `{"model": "/path/of/another/checkpoint"}`."""

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

    `reason`: why it is not ready. `url`, `ready_since` (RFC 3339): address and start of readiness.
    `upstreams`: by profile and key, why a remote scorer cannot score at the moment.
    """

    status: Literal["ok", "not_ready"]
    reason: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    ready_since: str | UnsetType = UNSET
    upstreams: dict[str, str] | UnsetType = UNSET
