"""The OpenAPI document, made from the wire's types; `python -m reward_server.openapi` prints it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from reward_server import __version__
from reward_server.errors import (
    InternalError,
    InvalidRequest,
    NotReady,
    QueueFull,
    RequestDeadline,
    RequestError,
    RequestTooLarge,
    Unauthorized,
    UnknownProfile,
)
from reward_server.schemas import ErrorBody, HealthStatus, ProfileList, ScoreRequest, ScoreResponse

JSON = "application/json"
SCORE_ERRORS: list[type[RequestError]] = [
    Unauthorized,
    UnknownProfile,
    RequestTooLarge,
    InvalidRequest,
    QueueFull,
    InternalError,
    NotReady,
    RequestDeadline,
]
EXAMPLE = {
    "profile": "math",
    "samples": [{"id": "gsm8k-12/3", "response": "So it is \\boxed{46}.", "ground_truth": "46"}],
}


def openapi_document(title: str, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 for every route of the wire."""
    types = [ScoreRequest, ScoreResponse, ErrorBody, ProfileList, HealthStatus]
    _, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": {
            "/score": {"post": _score()},
            "/health": {"get": _get("The server is alive", HealthStatus)},
            "/ready": {
                "get": _get("Every scorer is loaded and its workers live", HealthStatus, 503)
            },
            "/profiles": {"get": _guarded(_get("What can be asked for", ProfileList))},
            "/metrics": {"get": _guarded(_get("Prometheus metrics", None))},
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
    body = {"schema": _ref(ScoreRequest), "example": EXAMPLE}
    return _guarded(
        {
            "summary": "Score samples: one result each, in their order",
            "operationId": "score",
            "requestBody": {"required": True, "content": {JSON: body}},
            "responses": {
                "200": _answer("One result a sample, same order, same ids", ScoreResponse),
                **dict(_failure(error) for error in SCORE_ERRORS),
            },
        }
    )


def _get(summary: str, answer: type | None, failure_status: int | None = None) -> dict[str, Any]:
    responses = {"200": _answer(summary, answer)}
    if failure_status is not None:
        responses[str(failure_status)] = _answer("Not now; the reason is given", answer)
    return {"summary": summary, "responses": responses}


def _guarded(operation: dict[str, Any]) -> dict[str, Any]:
    """The operation needs a key where the server has one."""
    responses = operation["responses"] | dict([_failure(Unauthorized)])
    security = [{}, {"bearer": []}, {"key": []}]
    return {**operation, "responses": dict(sorted(responses.items())), "security": security}


def _answer(description: str, answer: type | None) -> dict[str, Any]:
    content = {"text/plain": {}} if answer is None else {JSON: {"schema": _ref(answer)}}
    return {"description": description, "content": content}


def _failure(error: type[RequestError]) -> tuple[str, dict[str, Any]]:
    answer = _answer(f"`{error.code}`", ErrorBody)
    if error.retry_after_s is not None:
        answer["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}
        }
    return str(error.status), answer


def _ref(answer: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{answer.__name__}"}


if __name__ == "__main__":
    print(json.dumps(openapi_document("Touchstone reward server", __version__), indent=2))
