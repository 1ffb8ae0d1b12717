"""Build the OpenAPI document from the wire types; `python -m` on this module prints it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.alarms import AlarmList
from touchstone_rewards.reward_server.compat.format import FixedAnswer, Format
from touchstone_rewards.reward_server.compat.formats import FIXED_ANSWERS, FORMATS
from touchstone_rewards.reward_server.errors import (
    Forbidden,
    InternalError,
    InvalidRequest,
    NotReady,
    QueueFull,
    RequestDeadline,
    RequestError,
    RequestTooLarge,
    Unauthorized,
    UnknownModel,
    UnknownProfile,
    UnsupportedEncoding,
)
from touchstone_rewards.reward_server.schemas import (
    EmbedRequest,
    EmbedResponse,
    ErrorBody,
    HealthStatus,
    LoadRequest,
    ModelInfo,
    ModelList,
    ProfileList,
    ReloadReport,
    ScoreRequest,
    ScoreResponse,
    ScorerList,
)

JSON = "application/json"
SCORE_ERRORS: list[type[RequestError]] = [
    Unauthorized,
    Forbidden,
    UnknownProfile,
    RequestTooLarge,
    UnsupportedEncoding,
    InvalidRequest,
    QueueFull,
    InternalError,
    NotReady,
    RequestDeadline,
]
CHANGE_ERRORS = [
    Unauthorized,
    Forbidden,
    UnknownModel,
    RequestTooLarge,
    UnsupportedEncoding,
    InvalidRequest,
    QueueFull,
    InternalError,
]
TYPES = [
    ScoreRequest,
    ScoreResponse,
    EmbedRequest,
    EmbedResponse,
    LoadRequest,
    ModelInfo,
    ModelList,
    ErrorBody,
    AlarmList,
    ProfileList,
    ScorerList,
    ReloadReport,
    HealthStatus,
    *dict.fromkeys(each.request for each in FORMATS),
    *dict.fromkeys(each.answer for each in FORMATS),
]
EXAMPLE = {
    "profile": "math",
    "samples": [{"id": "gsm8k-12/3", "response": "So it is \\boxed{46}.", "ground_truth": "46"}],
}


def openapi_document(title: str, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of every route."""
    _, components = msgspec.json.schema_components(
        TYPES, ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": {
            "/score": {"post": _score()},
            "/health": {"get": _get("The server is alive", HealthStatus)},
            "/ready": {
                "get": _get("Every scorer is loaded and its workers are alive", HealthStatus, 503)
            },
            "/alarms": {"get": _guarded(_alarms())},
            "/profiles": {"get": _guarded(_get("The profiles that are served", ProfileList))},
            "/scorers": {"get": _guarded(_get("The scorers that a profile may name", ScorerList))},
            "/profiles/reload": {"post": _reload()},
            "/embed": {"post": _embed()},
            "/models": {"get": _guarded(_get("The models held and their state", ModelList))},
            "/models/load": {
                "post": _change("load_model", "Load a model, or change its checkpoint")
            },
            "/models/unload": {
                "post": _change("unload_model", "Unload a model and free its memory")
            },
            "/metrics": {"get": _guarded(_get("Prometheus metrics", None))},
            **{each.route: {"post": _compat(each)} for each in FORMATS},
            **{each.path: {each.method.lower(): _fixed(each)} for each in FIXED_ANSWERS},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _score() -> dict[str, Any]:
    operation = _post("score", ScoreRequest, ScoreResponse, EXAMPLE, SCORE_ERRORS)
    return {"summary": "Score samples: one result each, in their order", **operation}


def _compat(spoken: Format[Any]) -> dict[str, Any]:
    operation = _post(
        f"compat_{spoken.route.removeprefix('/compat/').replace('/', '_')}",
        spoken.request,
        spoken.answer,
        spoken.example,
        SCORE_ERRORS,
    )
    profile = {
        "name": "profile",
        "in": "query",
        "description": "the profile; default: the one set for this format",
        "schema": {"type": "string"},
    }
    return {"summary": spoken.summary, "parameters": [profile], **operation}


def _fixed(about: FixedAnswer) -> dict[str, Any]:
    example = msgspec.to_builtins(about.answer)
    content: dict[str, Any] = {"application/json": {"schema": {}, "example": example}}
    said = "Always the same" if about.answer_to is None else "Decided by the body alone"
    answers: dict[str, Any] = {"200": {"description": said, "content": content}}
    return {
        "summary": about.summary,
        "operationId": about.path.removeprefix("/").replace("/", "_"),
        **_guarded({"responses": answers}),
    }


def _alarms() -> dict[str, Any]:
    names = {
        "run": "alarms of this run only",
        "profile": "alarms of this profile only",
        "signal": "alarms of this signal only",
    }
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in names.items()
    ]
    return {"parameters": parameters, **_get("The watch's last alarms, oldest first", AlarmList)}


def _embed() -> dict[str, Any]:
    errors = [UnknownModel if error is UnknownProfile else error for error in SCORE_ERRORS]
    errors.remove(RequestDeadline)
    operation = _post("embed", EmbedRequest, EmbedResponse, {"texts": ["A story."]}, errors)
    return {"summary": "Embed texts: one vector each, in their order", **operation}


def _change(operation_id: str, summary: str) -> dict[str, Any]:
    operation = _post(operation_id, LoadRequest, ModelInfo, {"name": "judge"}, CHANGE_ERRORS)
    return {"summary": summary, **operation}


def _reload() -> dict[str, Any]:
    errors = [Forbidden, InvalidRequest, InternalError]
    answers = {
        "200": _answer("Reloaded", ReloadReport),
        **dict(_failure(error) for error in errors),
    }
    operation = {"operationId": "reload_profiles", "responses": answers}
    return {"summary": "Reload the profiles from their files", **_guarded(operation)}


def _post(
    operation_id: str,
    request: Any,
    answer: Any,
    example: dict[str, Any],
    errors: Sequence[type[RequestError]],
) -> dict[str, Any]:
    body = {"schema": _ref(request), "example": example}
    return _guarded(
        {
            "operationId": operation_id,
            "requestBody": {"required": True, "content": {JSON: body}},
            "responses": {
                "200": _answer("Done; in the order of the request", answer),
                **dict(_failure(error) for error in errors),
            },
        }
    )


def _get(summary: str, answer: type | None, failure_status: int | None = None) -> dict[str, Any]:
    responses = {"200": _answer(summary, answer)}
    if failure_status is not None:
        responses[str(failure_status)] = _answer(
            "Not at the moment; the body gives the reason", answer
        )
    return {"summary": summary, "responses": responses}


def _guarded(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the operation with the key it needs on a server that has keys."""
    responses = operation["responses"] | dict([_failure(Unauthorized)])
    security: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"key": []}]
    return {**operation, "responses": dict(sorted(responses.items())), "security": security}


def _answer(description: str, answer: type | None) -> dict[str, Any]:
    content: dict[str, Any] = (
        {"text/plain": {}} if answer is None else {JSON: {"schema": _ref(answer)}}
    )
    return {"description": description, "content": content}


def _failure(error: type[RequestError]) -> tuple[str, dict[str, Any]]:
    answer = _answer(f"`{error.code}`", ErrorBody)
    if error.retry_after_s is not None:
        answer["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}
        }
    return str(error.status), answer


def _ref(answer: Any) -> dict[str, Any]:
    [schema], _ = msgspec.json.schema_components(
        [answer], ref_template="#/components/schemas/{name}"
    )
    return schema


if __name__ == "__main__":
    print(json.dumps(openapi_document("Touchstone reward server", __version__), indent=2))
