"""Prometheus reads the server's metrics, and every panel of the dashboard finds its series."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import promql_parser
import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.live_server import LiveServer, free_port

BOARD = ROOT / "docker" / "grafana" / "dashboards" / "touchstone.json"
CONFIG = ROOT / "docker" / "prometheus" / "prometheus.yml"
KEY = "a-key-for-the-metrics"
SCRAPED_WITHIN_S = 30.0


VARIABLES = ("instance", "profile", "key")


def board() -> Any:
    return json.loads(BOARD.read_text(encoding="utf-8"))


def expressions() -> list[str]:
    """Return every query of the dashboard, with all servers, profiles and keys chosen."""
    found = [target["expr"] for panel in board()["panels"] for target in panel["targets"]]
    return [re.sub(rf"\$({'|'.join(VARIABLES)})\b", ".*", each) for each in found]


def metric_names() -> set[str]:
    """Return the metrics that the dashboard queries."""
    return set(re.findall(r"\breward_\w+", " ".join(expressions())))


def test_every_query_is_promql_and_follows_the_choice_of_a_server() -> None:
    given = {each["name"]: each["query"]["query"] for each in board()["templating"]["list"]}
    assert tuple(given) == VARIABLES
    assert all(query.startswith("label_values(reward_") for query in given.values())
    for panel in board()["panels"]:
        for target in panel["targets"]:
            named = re.findall(r"\breward_\w+", target["expr"])
            assert target["expr"].count('instance=~"$instance"') == len(named), panel["title"]
    for expression in expressions():
        promql_parser.parse(expression)


def test_no_two_panels_lie_on_each_other() -> None:
    panels = board()["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"], panel["id"]) for panel in panels]
    assert (
        len({(x, y) for x, y, _ in places}) == len({number for *_, number in places}) == len(places)
    )


@pytest.fixture
def scored(start_server: Callable[..., LiveServer]) -> LiveServer:
    """Start a server with a key, and score something."""
    live = start_server(REWARD_API_KEY=KEY)
    body = {"samples": [{"id": "1", "response": "#### 4", "ground_truth": "4"}]}
    answer = httpx2.post(f"{live.url}/score", json=body, headers={"X-API-Key": KEY})
    assert answer.status_code == 200
    return live


def test_the_server_has_every_metric_of_the_dashboard(scored: LiveServer) -> None:
    text = httpx2.get(f"{scored.url}/metrics", headers={"X-API-Key": KEY}).text
    families = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    series = set(re.findall(r"^(reward_\w+)", text, re.MULTILINE))
    parts = {name for name in metric_names() if name.endswith(("_bucket", "_sum", "_count"))}
    assert parts <= series
    whole = metric_names() - parts
    assert len(whole) > 8
    assert whole <= families | {name + "_total" for name in families}


@pytest.fixture
def prometheus(scored: LiveServer, tmp_path: Path) -> Iterator[str]:
    """Start Prometheus with the stack's own config, pointed at this server and its key file."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [scored.url.removeprefix("http://")]}]
    job["authorization"]["credentials_file"] = str(tmp_path / "key")
    (tmp_path / "key").write_text(KEY, encoding="utf-8")
    config["global"]["scrape_interval"] = "1s"
    config["rule_files"] = [str(CONFIG.with_name("alerts.yml"))]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    yield f"http://{address}"
    process.kill()
    process.wait()


def ask(url: str, expression: str) -> list[object]:
    """Return the result of a query; nothing while Prometheus is starting."""
    try:
        answer = httpx2.get(f"{url}/api/v1/query", params={"query": expression}, timeout=5)
    except httpx2.HTTPError:
        return []
    if answer.status_code == 503:
        return []
    assert answer.json()["status"] == "success", answer.text
    return answer.json()["data"]["result"]


def test_prometheus_scrapes_with_the_key_and_understands_every_panel(prometheus: str) -> None:
    gives_up_at_s = time.monotonic() + SCRAPED_WITHIN_S
    while not ask(prometheus, "reward_samples_total"):
        assert time.monotonic() < gives_up_at_s, "nothing was scraped"
        time.sleep(0.5)
    assert ask(prometheus, 'up{job="touchstone"} == 1')
    assert ask(prometheus, "reward_workers_alive > 0")
    for expression in expressions():
        ask(prometheus, expression)
