"""The manifests for optional parts of a cluster: Prometheus' operator, KEDA and KServe."""

from __future__ import annotations

import yaml

from deploy.manifests import facts
from deploy.manifests.workload import (
    LABELS,
    NAME,
    REPLICAS,
    TEMP,
    Manifest,
    container_security,
    environment,
    http,
    metadata,
    mounts,
    resources,
    startup,
    volumes,
)
from export.catalog import Serving

# The mean number of waiting requests over a minute: seconds of queue time per second. It is summed over the replicas,
# since KEDA divides it by their number.
WAITING = f'sum(rate(tsi_request_duration_seconds_sum{{job="{NAME}",stage="queue"}}[1m]))'
REFUSED = f'sum(rate(tsi_errors_total{{job="{NAME}",kind=~"queue_full|busy|memory_full"}}[1m]))'
SERVER = "http://prometheus-operated.monitoring.svc:9090"  # of Prometheus' operator
KSERVE = "torchscript-inference"


def monitor() -> Manifest:
    """Prometheus' operator scrapes each pod, not the Service. rules.yml selects by the label job."""
    endpoint = {"port": "metrics", "path": "/metrics", "interval": "15s"}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(),
        "spec": {
            "jobLabel": next(iter(LABELS)),
            "selector": {"matchLabels": LABELS},
            "podMetricsEndpoints": [endpoint],
        },
    }


def rules() -> Manifest:
    """deploy/monitoring/rules.yml for Prometheus' operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(),
        "spec": yaml.safe_load((facts.ROOT / "deploy" / "monitoring" / "rules.yml").read_text()),
    }


def trigger(query: str, threshold: str) -> Manifest:
    """A trigger on the result of a Prometheus query, divided by the number of replicas."""
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": SERVER,
            "query": query,
            "threshold": threshold,
            "ignoreNullValues": "false",  # without an answer KEDA falls back, and does not scale down
        },
    }


def scaled() -> Manifest:
    """KEDA's object: adds a replica when one request waits per replica on average, or when requests are refused."""
    behavior = {
        "scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}]},
        "scaleDown": {
            "stabilizationWindowSeconds": 600,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
        },
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(),
        "spec": {
            "scaleTargetRef": {"name": NAME},
            "minReplicaCount": REPLICAS,
            "maxReplicaCount": 10,
            "pollingInterval": 15,
            "fallback": {"failureThreshold": 4, "replicas": REPLICAS, "behavior": "currentReplicasIfHigher"},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": [trigger(WAITING, "1"), trigger(REFUSED, "0.5")],
        },
    }


def runtime() -> Manifest:
    """KServe's runtime for the image. KServe puts the archives of storageUri where MODEL_STORE points. Knative allows
    no lifecycle, grace period or fsGroup; its own proxy waits for requests to end."""
    container = {
        "name": "kserve-container",
        "image": facts.IMAGE,
        "env": environment(facts.CORES, MODEL_STORE="/mnt/models"),
        "ports": [{"name": "http1", "containerPort": facts.port("inference_address"), "protocol": "TCP"}],
        "startupProbe": startup(),
        "readinessProbe": http("/v2/health/ready", "http1", periodSeconds=5, timeoutSeconds=5, failureThreshold=2),
        "livenessProbe": http("/api-description", "http1", periodSeconds=20, timeoutSeconds=10, failureThreshold=6),
        "resources": resources(facts.CORES, facts.cpu_memory_mib("minilm-torchscript"), TEMP),
        "securityContext": container_security(),
        "volumeMounts": mounts(),
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": metadata(),
        "spec": {
            "annotations": {
                "prometheus.kserve.io/path": "/metrics",
                "prometheus.kserve.io/port": str(facts.port("metrics_address")),
            },
            "supportedModelFormats": [{"name": KSERVE, "version": "1", "autoSelect": False}],
            "protocolVersions": ["v2", "v1"],
            "containers": [container],
            "volumes": volumes(0o444),
        },
    }


def inference(name: str) -> Manifest:
    """An InferenceService. A new storageUri gets canaryTrafficPercent of the requests until that is set to 100."""
    model = {
        "modelFormat": {"name": KSERVE, "version": "1"},
        "protocolVersion": "v2",
        "runtime": NAME,
        "storageUri": f"pvc://torchserve-archives/{name}/1",
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(name),
        "spec": {
            "predictor": {
                "canaryTrafficPercent": 10,
                "minReplicas": REPLICAS,
                "maxReplicas": 10,
                "scaleMetric": "concurrency",
                "scaleTarget": Serving().batch_size,
                "automountServiceAccountToken": False,
                "model": model,
            },
        },
    }
