from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.checkout import run_command
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.settings import load_settings


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REWARD_")]:
        monkeypatch.delenv(name)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("port: 1\nworkers: 1\nmax_samples: 1\n")
    monkeypatch.setenv("REWARD_WORKERS", "2")
    monkeypatch.setenv("REWARD_MAX_SAMPLES", "2")
    settings = load_settings(file, {"max_samples": "3"})
    assert (settings.port, settings.workers, settings.max_samples) == (1, 2, 3)


def test_the_file_may_be_named_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("api_keys: [one, two]\n")
    monkeypatch.setenv("REWARD_CONFIG", str(file))
    monkeypatch.setenv("REWARD_API_KEY", "three")
    keys = load_settings().keys
    assert [key.key.get_secret_value() for key in keys] == ["three", "one", "two"]
    assert [key.name for key in keys] == ["default", "key1", "key2"]


def test_an_unknown_key_is_named_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("prot: 8700\n")
    with pytest.raises(ConfigError, match="prot: unknown key"):
        load_settings(file)
    with pytest.raises(ConfigError, match="wrokers: unknown key"):
        load_settings(None, {"wrokers": 2})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REWARD_PROT", "8701", "did you mean REWARD_PORT?"),
        ("reward_wokers", "9", "did you mean REWARD_WORKERS?"),
        ("REWARD_PORT", "tcp://10.96.0.7:8701", "not a setting"),
        ("REWARD_SERVER_SERVICE_HOST", "10.96.0.7", ""),
        ("REWARD_SERVER_SERVICE_PORT_HTTP", "8701", ""),
        ("REWARD_SERVER_PORT", "tcp://10.96.0.7:8701", ""),
        ("REWARD_SERVER_PORT_8701_TCP_ADDR", "10.96.0.7", ""),
    ],
)
def test_the_environments_other_variables_change_nothing_and_a_typo_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
    said: str,
) -> None:
    before = load_settings().model_dump()
    monkeypatch.setenv(name, value)
    assert load_settings().model_dump() == before
    warned = "".join(record.getMessage() for record in caplog.records)
    assert said in warned
    assert bool(warned) is bool(said)


def test_a_value_of_the_environment_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REWARD_PORT", "many")
    with pytest.raises(ConfigError, match="port"):
        load_settings()


def test_the_clients_variables_may_stand_beside_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REWARD_URL", "http://127.0.0.1:8700")
    assert load_settings().port == 8700


@pytest.mark.parametrize("content", ["- a list", "port: [", "port: many", "workers: 0", "\xff"])
def test_a_file_that_does_not_fit_is_refused_with_its_name_or_key(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "server.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"server\.yaml|port|workers"):
        load_settings(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        load_settings(tmp_path / "none.yaml")


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("# nothing set\n")
    assert load_settings(file).host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.4", "reward.example", ""])
def test_another_host_than_loopback_needs_a_key_or_an_explicit_word(host: str) -> None:
    with pytest.raises(ConfigError, match="REWARD_API_KEY"):
        load_settings(None, {"host": host})
    assert load_settings(None, {"host": host, "api_key": "k"}).host == host
    assert load_settings(None, {"host": host, "insecure": True}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load_settings(None, {"host": host}).keys == []


def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ConfigError, match="REWARD_API_KEY"):
        load_settings(None, {"host": "0.0.0.0", "api_key": ""})
    with pytest.raises(ConfigError, match="api_keys"):
        load_settings(None, {"api_keys": ["good", ""]})


def test_keys_do_not_show_when_settings_are_printed() -> None:
    settings = load_settings(None, {"api_key": "hush-hush"})
    assert "hush-hush" not in repr(settings)


def test_help_names_each_option_once_and_lists_its_choices() -> None:
    shown = run_command("serve", "--help").stdout
    assert shown.count("--host HOST") == 2  # in the usage and in the list
    assert "--log_format {text,json}" in shown
    assert "max-samples" not in shown


def test_a_command_that_does_not_listen_offers_nothing_about_connections() -> None:
    shown = run_command("score", "--help").stdout
    assert "--workers" in shown
    assert not {"--port", "--tls_key", "--score_log", "--cluster"} & set(shown.split())


@pytest.mark.parametrize("spelling", ["--sample_deadline_s=soon", "--sample-deadline-s=soon"])
def test_dashes_in_an_options_name_mean_underscores(spelling: str) -> None:
    done = run_command("check", spelling)
    assert done.returncode == 2
    assert "sample_deadline_s" in done.stderr
