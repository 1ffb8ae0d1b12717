"""The Kubernetes files are valid, and agree with the server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import kubernetes_validate
import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.container import fit_memory
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import Settings

FOLDER = ROOT / "docker" / "k8s"
VERSIONS = ("1.31", "1.35")


def documents(name: str) -> dict[str, Any]:
    parts = yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
    return {part["kind"]: part for part in parts}


DEPLOYED = documents("deployment.yaml")
POD = DEPLOYED["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", list(DEPLOYED))
def test_every_document_fits_its_schema(kind: str, version: str) -> None:
    kubernetes_validate.validate(DEPLOYED[kind], version, strict=True)
    assert set(DEPLOYED) == {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    }


def test_a_document_that_does_not_fit_is_found() -> None:
    broken = {**DEPLOYED["Service"], "spec": {"ports": [{"prot": 8700}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def test_the_parts_name_each_other() -> None:
    deployment = DEPLOYED["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert DEPLOYED["Service"]["spec"]["selector"] == labels
    assert DEPLOYED["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = DEPLOYED["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert POD["enableServiceLinks"] is False


def test_the_memory_of_workers_and_server_is_within_the_limit() -> None:
    [container] = POD["containers"]
    assert container["resources"]["limits"]["memory"] == "6Gi"
    given = {each["name"]: each.get("value") for each in container["env"]}
    settings = Settings(
        workers=given["REWARD_WORKERS"],
        worker_memory_bytes=given["REWARD_WORKER_MEMORY_BYTES"],
    )
    assert fit_memory(settings, 6 * 2**30) is settings


def test_the_pods_of_the_ray_service_are_probed_without_wget() -> None:
    cluster = documents("rayservice.yaml")["RayService"]["spec"]["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        spec = group["template"]["spec"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)
        for container in spec["containers"]:
            for probe in ("livenessProbe", "readinessProbe"):
                assert container[probe]["exec"]["command"][0] == "python3"


def merged(kept: Any, patch: Any) -> Any:
    """Merge as `kubectl patch` does for these kinds: lists of named objects by their names."""
    if isinstance(patch, dict):
        return {**kept, **{key: merged(kept.get(key, {}), each) for key, each in patch.items()}}
    if isinstance(patch, list):
        by_name = {each["name"]: each for each in kept or []}
        for each in patch:
            by_name[each["name"]] = merged(by_name.get(each["name"], {}), each)
        return list(by_name.values())
    return patch


def test_the_patch_for_own_rewards_fits_the_deployment() -> None:
    patch = yaml.safe_load((FOLDER / "own_rewards.yaml").read_text(encoding="utf-8"))
    patched = merged(DEPLOYED["Deployment"], patch)
    for version in VERSIONS:
        kubernetes_validate.validate(patched, version, strict=True)
    [container] = patched["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert {"REWARD_API_KEY", "REWARD_WORKERS", "REWARD_PLUGINS_DIR"} <= set(given)
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert {"/tmp", given["REWARD_PROFILES_DIR"], given["REWARD_PLUGINS_DIR"]} == mounts


def test_a_scorer_is_loaded_out_of_a_config_map(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    """Lay out a config map as Kubernetes mounts it: links to files in a folder with dots."""
    for name in ("profiles", "plugins"):
        version = tmp_path / name / "..2026_11_30"
        shutil.copytree(ROOT / "examples" / "compose" / name, version)
        (tmp_path / name / "..data").symlink_to(version.name)
        for path in version.iterdir():
            (tmp_path / name / path.name).symlink_to(f"..data/{path.name}")
    live = start_server(
        REWARD_PROFILES_DIR=str(tmp_path / "profiles"), REWARD_PLUGINS_DIR=str(tmp_path / "plugins")
    )
    body = {"profile": "rhyme", "samples": [{"id": "1", "response": "a cat\non a mat"}]}
    answer = httpx2.post(f"{live.url}/score", json=body).json()
    assert answer["results"][0]["reward"] == 1.0
