"""The alert rules are PromQL over metrics that the server has; Grafana requires a login."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import promql_parser
import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.live_server import LiveServer

PROMETHEUS = ROOT / "docker" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
# Prometheus' own, and families that a default server has only after the first event.
OTHERS = {"up"}
CONDITIONAL = {"reward_model_ready", "reward_score_log_lines_total"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_rule_is_promql_and_says_what_to_do(rule: dict[str, Any]) -> None:
    promql_parser.parse(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_a_rule_that_is_no_promql_is_found() -> None:
    with pytest.raises(ValueError):
        promql_parser.parse("rate(reward_samples_total[5m")


def test_the_server_has_every_metric_of_the_rules(
    tmp_path: Any, start_server: Callable[..., LiveServer]
) -> None:
    live = start_server("--score_log", str(tmp_path / "scores.jsonl"))
    text = httpx2.get(f"{live.url}/metrics").text
    families = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    expressions = " ".join(rule["expr"] for rule in RULES)
    asked = set(re.findall(r"\b(?:reward|process)_\w+", expressions))
    assert len(asked) > 7
    # A counter's family is typed with its suffix.
    assert asked <= families | {name + "_total" for name in families}
    assert re.search(r'^reward_build_info\{.*version="[^"]+".*\} 1', text, re.MULTILINE)
    assert "process_resident_memory_bytes " in text
    assert "process_open_fds " in text


def test_the_rules_are_loaded_and_grafana_has_a_password_of_its_own() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    [path] = config["rule_files"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounted = [volume.split(":")[:2] for volume in compose["prometheus"]["volumes"]]
    assert ["./docker/prometheus/alerts.yml", path] in mounted
    grafana = compose["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_PASSWORD:-}"
    assert "GF_SECURITY_ADMIN_PASSWORD:?" in compose["grafana"]["command"][0]
