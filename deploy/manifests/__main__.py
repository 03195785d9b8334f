"""``python -m deploy.manifests``: writes deploy/kubernetes and deploy/kserve; a test fails where they are out of date.

The manifests state the image's user and ports, the server's settings and times, and measured memory and cores. facts.py
reads each from its only source, so that they cannot drift apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deploy.manifests import cluster, facts, workload

DEPLOY = Path(__file__).resolve().parent.parent
HEAD = "# Written by python -m deploy.manifests; docs/kubernetes.md says how to change it for your cluster.\n"
IMAGES = [{"name": facts.IMAGE, "newName": facts.IMAGE, "newTag": facts.version()}]
SETTINGS_FILES = ("config.properties", "models.toml")


def files() -> dict[str, str]:
    """The text of each file, by its path below deploy/."""
    found = {f"{folder}/{name}": _yaml(manifest) for folder, made in _folders().items() for name, manifest in made}
    found["kubernetes/base/config.properties"] = _lines(facts.properties())
    found["kserve/config.properties"] = _lines(facts.properties())
    for folder, model, workers, threads in (
        ("kubernetes/base", "minilm", 1, facts.CORES),
        ("kserve", "minilm", 1, facts.CORES),
        ("kubernetes/overlays/gpu", "bert", facts.GPU_WORKERS, facts.gpu_threads("bert-graph")),
    ):
        found[f"{folder}/models.toml"] = HEAD + facts.models_toml(model, workers, threads)
    return found


def _folders() -> dict[str, list[tuple[str, Any]]]:
    base = [
        ("deployment.yaml", workload.deployment()),
        ("networkpolicy.yaml", workload.network()),
        ("poddisruptionbudget.yaml", workload.budget()),
        ("service.yaml", workload.service()),
        ("serviceaccount.yaml", workload.account()),
    ]
    monitoring = [("podmonitor.yaml", cluster.monitor()), ("prometheusrule.yaml", cluster.rules())]
    scaling = [("scaledobject.yaml", cluster.scaled()), ("replicas.yaml", _replicas_left_to_keda())]
    kserve = [
        ("servingruntime.yaml", cluster.runtime()),
        ("inferenceservice.yaml", cluster.inference("minilm")),
    ]
    gpu = [("gpu.yaml", workload.gpu_patch())]
    generated = _settings(*SETTINGS_FILES)
    return {
        "kubernetes/base": [
            *base, ("kustomization.yaml", _kustomization(resources=_names(base), configMapGenerator=generated)),
        ],
        "kubernetes/overlays/cpu": [
            ("kustomization.yaml", _kustomization(resources=["../../base"], images=IMAGES)),
        ],
        "kubernetes/overlays/gpu": [*gpu, ("kustomization.yaml", _kustomization(
            resources=["../../base"], images=[{**IMAGES[0], "newTag": f"{facts.version()}-gpu"}],
            patches=[{"path": "gpu.yaml"}],
            configMapGenerator=[{**_settings("models.toml")[0], "behavior": "merge"}],
        ))],
        "kubernetes/components/monitoring": [*monitoring, ("kustomization.yaml", _kustomization(
            "Component", resources=_names(monitoring),
        ))],
        "kubernetes/components/autoscaling": [*scaling, ("kustomization.yaml", _kustomization(
            "Component", resources=["scaledobject.yaml"], patches=[
                {"path": "replicas.yaml", "target": {"kind": "Deployment", "name": workload.NAME}},
            ],
        ))],
        "kserve": [*kserve, ("kustomization.yaml", _kustomization(
            resources=_names(kserve), images=IMAGES, configMapGenerator=generated,
            generatorOptions={"disableNameSuffixHash": True},
        ))],
    }  # fmt: skip


def _kustomization(kind: str = "Kustomization", **fields: Any) -> dict[str, Any]:
    """A kustomization.yaml; a component is one that others include."""
    version = "v1alpha1" if kind == "Component" else "v1beta1"
    return {"apiVersion": f"kustomize.config.k8s.io/{version}", "kind": kind, **fields}


def _replicas_left_to_keda() -> list[dict[str, str]]:
    """A JSON patch that removes the number of replicas. With it, each apply would undo KEDA's choice."""
    return [{"op": "remove", "path": "/spec/replicas"}]


def _settings(*names: str) -> list[dict[str, Any]]:
    return [{"name": f"{workload.NAME}-settings", "files": list(names)}]


def _names(made: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in made]


def _lines(properties: dict[str, str]) -> str:
    return HEAD + "".join(f"{key}={value}\n" for key, value in properties.items())


def _yaml(manifest: Any) -> str:
    return HEAD + yaml.dump(manifest, Dumper=_Plain, sort_keys=False, width=110)


class _Plain(yaml.SafeDumper):
    """Repeats equal labels. YAML's aliases are hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write() -> list[Path]:
    """Writes all files and returns their paths."""
    paths = []
    for name, text in files().items():
        path = DEPLOY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        paths.append(path)
    return paths


if __name__ == "__main__":
    print(f"Written: {len(write())} files in {DEPLOY / 'kubernetes'} and {DEPLOY / 'kserve'}")
