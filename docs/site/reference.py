"""Write docs/reference from the code: settings, profiles, scorers, errors, metrics and more.

Run `make reference` after changing any of these; a test compares the pages with the code.
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from errors import errors_page
from from_source import alerts_page, client_page, log_page, trainer_fields_page
from pydantic import BaseModel

from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.gathering import GroupConfig
from touchstone_rewards.reward_server.http.gate import Gate
from touchstone_rewards.reward_server.profile_config import (
    ProfileConfig,
    ScorerEntry,
    WatchConfig,
)
from touchstone_rewards.reward_server.routes import RouteConfig
from touchstone_rewards.reward_server.schedules import ScheduleConfig
from touchstone_rewards.reward_server.schemas import ScorerInfo
from touchstone_rewards.reward_server.scorers.catalogue import scorer_infos
from touchstone_rewards.reward_server.settings import ENV_PREFIX, ApiKey, Settings

MADE = "<!-- Made from the code by `make reference`; change it there. -->\n\n"
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
NAMED = {
    "any": "any value",
    "boolean": "true or false",
    "object": "mapping",
    "password": "secret text",
    "string": "text",
}
SECTIONS = {
    "ApiKey": "[keys](#one-of-api_keys)",
    "ScorerEntry": "[entries](#one-of-scorers)",
    "ScheduleConfig": "[schedule](#schedule)",
    "RouteConfig": "[route](#route)",
    "GroupConfig": "[groups](#groups)",
    "WatchConfig": "[watch](#watch)",
}
# The only default that depends on the machine.
DEFAULTS = {"workers": "the number of processors"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "reference")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, page in {
        "settings": settings_page(),
        "profile_keys": profile_keys_page(),
        "scorers": scorers_page(scorer_infos([])),
        "errors": errors_page(),
        "metrics": metrics_page(),
        "log": log_page(),
        "alerts": alerts_page(),
        "client": client_page(),
        "trainer_fields": trainer_fields_page(),
    }.items():
        title, _, rest = page.partition("\n\n")
        (output / f"{name}.md").write_text(f"{title}\n\n{MADE}{rest}", encoding="utf-8")


def settings_page() -> str:
    """Return the page of all settings."""
    return (
        "# Settings\n\n"
        "Set each in the YAML file of `reward-server serve --config`, in the environment as "
        f"`{ENV_PREFIX}` and its name in capitals, or on the command line as `--name`; the last of "
        "these takes precedence. [Running the server](../operations.md) explains when to change "
        "which.\n\n" + keys_table(Settings) + "\n## One of `api_keys`\n\n" + keys_table(ApiKey)
    )


def profile_keys_page() -> str:
    """Return the page of the keys in a profile's YAML file."""
    parts = {
        "The file": ProfileConfig,
        "One of `scorers`": ScorerEntry,
        "`schedule`": ScheduleConfig,
        "`route`": RouteConfig,
        "`groups`": GroupConfig,
        "`watch`": WatchConfig,
    }
    sections = [
        f"## {heading}\n\n{paragraph(config)}\n\n{keys_table(config)}"
        for heading, config in parts.items()
    ]
    return (
        "# Profile keys\n\n[Profiles](../profiles.md) explains them with examples.\n\n"
        + "\n".join(sections)
    )


def scorers_page(infos: list[ScorerInfo]) -> str:
    """Return the page of the built-in scorers, as listed by `GET /scorers`."""
    intro = (
        "The built-in scorers, as listed by `GET /scorers`. [All scorers](../scorers.md) compares "
        "them and links to their pages.\n\n"
    )
    return "# Scorers and their config\n\n" + intro + "\n".join(map(scorer_section, infos))


def scorer_section(info: ScorerInfo) -> str:
    """Return the section of one scorer."""
    low, high = ("no bound" if bound is None else f"{bound:g}" for bound in info.range)
    reads = ", ".join(f"`{field}`" for field in info.reads) or "other scorers' scores"
    return (
        f"## {info.name}\n\n{info.description}.\n\n"
        f"Runs in: {' or '.join(info.runs_in)}. Reads: {reads}. Scores: {low} to {high}.\n\n"
        + table(info.config, info.config.get("additionalProperties") is True)
    )


def metrics_page() -> str:
    """Return the page of the metrics in `GET /metrics`."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(score_log=Path(folder) / "scores.jsonl"))
    gate = app.entrance
    assert isinstance(gate, Gate)
    rows = []
    for family in gate.metrics.registry.collect():
        if family.name.startswith("process_"):
            continue
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = ", ".join(getattr(family, "_labelnames", None) or sorted(family_labels(family)))
        rows.append(f"| `{name}` | {family.type} | {labels} | {cell(family.documentation)} |\n")
    return (
        "# Metrics\n\n`GET /metrics` serves these in Prometheus' text format, and "
        "`process_*` of the server itself. A histogram has `_bucket`, `_sum` and `_count`. "
        "[Running the server](../operations.md) recommends which to watch.\n\n"
        "| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "".join(sorted(rows))
    )


def family_labels(family: Any) -> set[str]:
    return {label for sample in family.samples for label in sample.labels}


def paragraph(thing: type) -> str:
    """Return a docstring as one line."""
    return " ".join((inspect.getdoc(thing) or "").split())


def keys_table(config: type[BaseModel]) -> str:
    """Return the table of a pydantic model's fields."""
    return table(config.model_json_schema(by_alias=True))


def table(schema: Mapping[str, Any], others: bool = False) -> str:
    """Return the table of an object's properties: name, values, default, description."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = schema.get("required", [])
    described = any("description" in each for each in properties.values())
    lines = list(rows(properties, required, described))
    if not lines:
        return "No config.\n"
    head = "| key | values | default |" + (" meaning |" if described else "")
    rest = "\nOther keys are passed on.\n" if others else ""
    return f"{head}\n|{'---|' * (4 if described else 3)}\n" + "".join(lines) + rest


def rows(properties: Mapping[str, Any], required: list[str], described: bool) -> Iterator[str]:
    for name, each in properties.items():
        if name in required:
            default = "required"
        elif "default" in each:
            default = f"`{json.dumps(each['default'], ensure_ascii=False)}`"
        else:
            default = DEFAULTS.get(name, "none")
        about = f" {cell(each.get('description', ''))} |" if described else ""
        yield f"| `{name}` | {cell(values(each))} | {cell(default)} |{about}\n"


def values(schema: Mapping[str, Any]) -> str:
    """Describe in words which values a JSON Schema accepts.

    >>> values({"type": "integer", "minimum": 1})
    'integer ≥ 1'
    >>> values({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]})
    '`a`, `b` or null'
    """
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return SECTIONS.get(name, name)
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(map(values, schema["anyOf"]))
    kind = str(schema.get("format") or schema.get("type", "any"))
    if kind == "array":
        inner = schema.get("prefixItems")
        if inner:
            return f"[{', '.join(map(values, inner))}]"
        return f"list of {values(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {values(schema['additionalProperties'])}"
    limits = [
        f"{sign} {json.dumps(schema[name])}" for name, sign in LIMITS.items() if name in schema
    ]
    if pattern := schema.get("pattern"):
        limits.append(f"like `{pattern}`")
    return " ".join([NAMED.get(kind, kind), ", ".join(limits)]).strip()


def cell(text: str) -> str:
    """Escape text for a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
