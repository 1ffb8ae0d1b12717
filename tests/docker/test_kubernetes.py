"""The Kubernetes files are what Kubernetes takes, and say what the server does."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.container import fit_memory
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
