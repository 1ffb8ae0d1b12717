"""A scoring key administers nothing, and a profile can name only scorers of allowed modules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.checkout import live_server
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.errors import ConfigError, InvalidRequest
from touchstone_rewards.reward_server.http.model_routes import check_changes
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.scoring.model_host import ModelHost

SCORER = """
class Mine:
    version, range, runs_in, reads = "1", (0.0, 1.0), "inline", ("response",)
    def score(self, samples, *, explain=False):
        return []
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("keys")
    config = folder / "server.yaml"
    config.write_text("api_keys: [{name: boss, key: in-the-file, role: admin}]\n")
    keys = {"REWARD_API_KEY": "scores", "REWARD_ADMIN_KEY": "administers"}
    server = live_server(folder / "log", "--config", str(config), **keys).start()
    yield server
    server.kill()


def post(live: LiveServer, path: str, key: str | None, body: object) -> httpx2.Response:
    headers = {} if key is None else {"X-API-Key": key}
    return httpx2.post(f"{live.url}{path}", json=body, headers=headers)


ADMIN_PATHS = ["/models/load", "/models/unload", "/profiles/reload"]


@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_a_scoring_key_does_not_administer(live: LiveServer, path: str) -> None:
    config = {"model": "/tmp", "trust_remote_code": True}
    answer = post(live, path, "scores", {"name": "judge", "config": config})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert "role admin" in answer.json()["error"]["message"]
    refused = post(live, path, None, {"name": "judge"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("key", ["administers", "in-the-file"])
def test_an_admin_key_scores_and_reloads_and_loads_models_only_where_that_is_on(
    live: LiveServer, key: str
) -> None:
    assert post(live, "/score", key, {"samples": []}).status_code == 200
    assert post(live, "/profiles/reload", key, {}).status_code == 200
    off = post(live, "/models/load", key, {"name": "judge"})
    assert off.status_code == 403
    assert "model_loading" in off.json()["error"]["message"]


@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_a_server_without_a_key_is_not_administered(
    start_server: Callable[..., LiveServer], path: str
) -> None:
    answer = post(start_server(), path, None, {"name": "judge"})
    assert answer.status_code == 401
    assert "REWARD_ADMIN_KEY" in answer.json()["error"]["message"]


def test_a_request_changes_no_model_to_code_or_to_a_folder_elsewhere(tmp_path: Path) -> None:
    allowed = tmp_path / "models"
    (allowed / "good").mkdir(parents=True)
    (allowed / "link").symlink_to("/")
    adapter = allowed / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    check_changes({"model": str(allowed / "good")}, allowed)
    check_changes({"batch_tokens": 9}, None)
    for changes, said in [
        ({"trust_remote_code": True}, "operator"),
        ({"trust_remote_code": False}, "operator"),
        ({"model": "/etc"}, "below models_dir"),
        ({"model": str(allowed / "link" / "etc")}, "below models_dir"),
        ({"model": f"{allowed}/../models2"}, "below models_dir"),
        ({"model": "owner/name"}, "below models_dir"),
        ({"model": 5}, "below models_dir"),
        ({"base_model": "/etc"}, "below models_dir"),
        ({"model": str(adapter)}, "adapter's base"),
    ]:
        with pytest.raises(InvalidRequest, match=said):
            check_changes(changes, allowed)
    with pytest.raises(InvalidRequest, match="models_dir is not set"):
        check_changes({"model": str(allowed / "good")}, None)


async def test_a_model_that_does_not_load_makes_the_server_not_ready(tmp_path: Path) -> None:
    config = RewardModelConfig(model=str(tmp_path), name="judge")
    host = ModelHost({}, [config])

    def refuse() -> None:
        raise ConfigError("no such weights")

    host.batchers["judge"].load = refuse  # type: ignore[assignment]
    with pytest.raises(ConfigError):
        await host.start()
    await host.unload("judge")
    assert host.not_ready_reason is None  # put away on purpose
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidRequest):
        await host.load("judge", {"model": str(tmp_path)})
    assert host.not_ready_reason is not None
    await asyncio.wait_for(host.stop(), PATIENCE_S)
