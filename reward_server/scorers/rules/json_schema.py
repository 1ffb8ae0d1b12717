"""Check that a response is JSON that fits a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RulePlace,
    RuleVerdict,
    Unscorable,
    check_source,
    field,
    no_part,
    part_of,
    reads_of,
    shown,
    truths,
)
from touchstone_rewards.reward_server.scorers.rules.strict_json import (
    NotJson,
    parse_json,
    repaired,
    without_fence,
)


class JsonSchemaConfig(RuleConfig):
    """Config of `json_schema`."""

    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="JSON Schema for every sample"
    )
    schema_from: str | None = Field(
        default=None,
        pattern=r"^(ground_truth|metadata\..+)$",
        description="field with each sample's own schema; in the ground truth, as JSON text",
    )
    repair: bool = Field(
        default=False, description="extract the JSON from text around it, and drop trailing commas"
    )
    formats: bool = Field(default=True, description="also check `format` (dates, addresses)")
    part: ResponsePart = "said"

    @model_validator(mode="after")
    def _check(self) -> JsonSchemaConfig:
        check_source("schema", self.schema_, self.schema_from)
        return self


class JsonSchemaScorer(Rule[JsonSchemaConfig]):
    """Score 1 if the response is JSON that fits the schema, else 0; the explanation locates the
    first error.

    `pattern` is matched by a linear-time engine, and a remote `$ref` is never fetched.
    """

    version = "1"
    runs_in: RulePlace = "worker"
    config_type = JsonSchemaConfig

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.reads = reads_of(self.config.schema_from) if self.config.schema_from else ("response",)
        import_module("jsonschema_rs")  # report a missing extra at startup
        self._own = (
            self._validator(self.config.schema_) if self.config.schema_ is not None else None
        )

    def judge(self, sample: Sample) -> RuleVerdict:
        validator = self._own or self._of_sample(sample)
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        text = without_fence(part)
        try:
            value = parse_json(repaired(text) if self.config.repair else text)
        except NotJson as error:
            return RuleVerdict(0.0, {"rule": "no JSON", "error": shown(str(error))})
        try:
            wrong = next(validator.iter_errors(value), None)
        except ValueError as error:  # nested deeper than it looks, or invalid Unicode
            return RuleVerdict(0.0, {"rule": "cannot be checked", "error": str(error)[:200]})
        if wrong is None:
            return RuleVerdict(1.0, {"rule": "the schema accepts it"})
        place = "/".join(map(str, ["", *wrong.instance_path]))[:200]
        told = {"rule": "the schema refuses it", "at": place, "error": wrong.message[:300]}
        return RuleVerdict(0.0, told)

    def _of_sample(self, sample: Sample) -> Any:
        source = self.config.schema_from or ""
        try:
            if source == "ground_truth":
                given = truths(sample)
                if len(given) != 1:
                    raise ValueError(f"it has {len(given)} schemas; one is expected")
                schema = parse_json(given[0])
            else:
                schema = field(sample, source)
                schema = parse_json(schema) if isinstance(schema, str) else schema
            return self._validator(schema)
        except (NotJson, ValueError) as error:
            raise Unscorable("bad_ground_truth", f"{source}: {error}") from None

    def _validator(self, schema: object) -> Any:
        if not isinstance(schema, Mapping):
            raise ValueError(f"schema is {str(schema)[:80]!r}; expected an object")
        if not schema:
            raise ValueError("schema is empty and would accept everything")
        try:
            written = json.dumps(schema, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"schema is not JSON: {error}") from None
        return compiled_schema(written, self.config.formats)


@lru_cache(maxsize=256)
def compiled_schema(schema: str, formats: bool) -> Any:
    """Return the validator of a schema.

    Raises:
        ValueError: the schema is invalid, or refers to a remote one.
    """
    import jsonschema_rs

    def refuse(uri: str) -> Any:
        raise ValueError(f"{uri} is remote, and nothing is fetched")

    try:
        return jsonschema_rs.validator_for(
            json.loads(schema),
            validate_formats=formats,
            retriever=refuse,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        said = error.message if isinstance(error, jsonschema_rs.ValidationError) else str(error)
        raise ValueError(f"not a valid schema: {' '.join(said.split())[:300]}") from None
