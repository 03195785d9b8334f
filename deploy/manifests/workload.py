"""The manifests of a Deployment of the image and its parts, as data. docs/kubernetes.md explains them."""

from __future__ import annotations

from typing import Any

from deploy.manifests import facts

Manifest = dict[str, Any]
NAME = "torchserve"
LABELS = {"app.kubernetes.io/name": NAME}
CLIENT = {"torchserve-client": "true"}  # the label of namespaces whose pods may ask for predictions
PROMETHEUS = "monitoring"  # the namespace that Prometheus runs in
SECRET = "torchserve-tokens"
REPLICAS = 2
TEMP, GPU_TEMP = "4Gi", "12Gi"  # of /tmp: archives, their unpacked files, compiled kernels, logs of 100 MB at most
# A removed endpoint still gets new connections for a moment. The server runs on for this long, to answer them and the
# queue. A full queue needs much less (facts.queue_wait_s).
PRE_STOP_S = 15
SLACK_S = 5


def metadata(name: str = NAME) -> Manifest:
    """Name and labels of an object."""
    return {"name": name, "labels": LABELS}


def container_security() -> Manifest:
    """The security context of a container: it has no rights beyond those of its user."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": facts.image().group,
        "runAsNonRoot": True,
        "runAsUser": facts.image().user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def http(path: str, port: str, **times: int) -> Manifest:
    """An HTTP probe. Neither of the probed paths needs a token."""
    return {"httpGet": {"path": path, "port": port}, **times}


def startup() -> Manifest:
    """The startup probe, with the command of the image's HEALTHCHECK. The command fails until every model has its
    workers and is warm. It is slow while the server starts."""
    period = 5
    return {
        "exec": {"command": ["python", "-m", "serving", "status"]},
        "failureThreshold": facts.startup_s() // period + 12,  # a minute more than the server's own limit
        "periodSeconds": period,
        "timeoutSeconds": 15,
    }


def probes() -> Manifest:
    """The three probes. Readiness needs a worker of each model. The front end alone answers the liveness probe, so a
    server that is busy or waits for a worker passes it."""
    return {
        "startupProbe": startup(),
        "readinessProbe": http("/v2/health/ready", "http", periodSeconds=5, timeoutSeconds=5, failureThreshold=2),
        "livenessProbe": http("/api-description", "http", periodSeconds=20, timeoutSeconds=10, failureThreshold=6),
    }


def mounts() -> list[Manifest]:
    """Where the volumes are mounted. Only /tmp is written to: run folder, logs, sockets and unpacked archives."""
    return [
        {"name": "tmp", "mountPath": facts.image().temp},
        {"name": "settings", "mountPath": facts.SETTINGS, "readOnly": True},
        {"name": "tokens", "mountPath": facts.TOKENS, "readOnly": True},
    ]


def volumes(token_mode: int) -> list[Manifest]:
    """The volumes. Whole folders are mounted, not single files, so that a changed Secret reaches a running pod.
    ``token_mode`` is the mode of the file with the tokens. The file belongs to root, and to the pod's fsGroup if there
    is one."""
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": TEMP}},
        {"name": "settings", "configMap": {"name": f"{NAME}-settings"}},
        {"name": "tokens", "secret": {"secretName": SECRET, "defaultMode": token_mode}},
    ]


def environment(threads: int, **chosen: str) -> list[Manifest]:
    """The container's variables; the image sets the others. The number of threads is set, since libraries count the
    node's cores, not the pod's limit."""
    values = {
        "CONFIG": f"{facts.SETTINGS}/config.properties",
        "MODELS_FILE": f"{facts.SETTINGS}/models.toml",
        "OMP_NUM_THREADS": str(threads),
        **chosen,
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def resources(cores: int, memory: tuple[int, int], temp: str, **more: int) -> Manifest:
    """Requests and limits. The CPU request equals the limit, so that the threads get their cores. Files in /tmp count
    as ephemeral storage."""
    own: Manifest = {"cpu": str(cores), "ephemeral-storage": temp}
    return {
        "requests": {**own, "memory": f"{memory[0]}Mi", **{f"nvidia.com/{key}": value for key, value in more.items()}},
        "limits": {**own, "memory": f"{memory[1]}Mi", **{f"nvidia.com/{key}": value for key, value in more.items()}},
    }


def spread(key: str) -> Manifest:
    """Replicas on different machines or in different zones where there are some."""
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": LABELS},
    }


def deployment() -> Manifest:
    """The Deployment of the base, for a CPU. Process 1 of the container is the server's own supervisor."""
    container = {
        "name": NAME,
        "image": facts.IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": environment(facts.CORES, MODELS="minilm", VARIANTS="torchscript"),
        "ports": [
            {"name": "http", "containerPort": facts.port("inference_address")},
            {"name": "metrics", "containerPort": facts.port("metrics_address")},
        ],
        **probes(),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PRE_STOP_S)]}}},
        "resources": resources(facts.CORES, facts.cpu_memory_mib("minilm-torchscript"), TEMP),
        "securityContext": container_security(),
        "volumeMounts": mounts(),
    }
    pod = {
        "automountServiceAccountToken": False,
        "containers": [container],
        "enableServiceLinks": False,
        "securityContext": {
            "fsGroup": facts.image().group,
            "runAsNonRoot": True,
            "runAsUser": facts.image().user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": PRE_STOP_S + facts.stop_s() + SLACK_S,
        "topologySpreadConstraints": [spread("kubernetes.io/hostname"), spread("topology.kubernetes.io/zone")],
        "volumes": volumes(0o440),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(),
        "spec": {
            "replicas": REPLICAS,
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": facts.startup_s() + 120,
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
        },
    }


def service() -> Manifest:
    """The inference port inside the cluster, and no other."""
    port = {"name": "http", "port": facts.port("inference_address"), "targetPort": "http"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(),
        "spec": {"type": "ClusterIP", "selector": LABELS, "ports": [port]},
    }


def account() -> Manifest:
    """A service account without rights, and without a token in the pod."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(),
        "automountServiceAccountToken": False,
    }


def budget() -> Manifest:
    """At most one replica at a time is down while nodes are drained."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}},
    }


def network() -> Manifest:
    """The network policy. This namespace and labelled ones reach the inference port, Prometheus' namespace reaches the
    metrics. The pods open no connections."""
    named = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": PROMETHEUS}}}
    inside: list[Manifest] = [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": CLIENT}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(),
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": inside, "ports": [{"port": "http", "protocol": "TCP"}]},
                {"from": [named], "ports": [{"port": "metrics", "protocol": "TCP"}]},
            ],
            "egress": [],
        },
    }


def gpu_patch() -> Manifest:
    """The changes to the base's Deployment for a GPU: bert's graph, a GPU per pod, and no surge, since a spare GPU is
    rare."""
    container = {
        "name": NAME,
        "env": environment(facts.gpu_threads("bert-graph"), MODELS="bert", VARIANTS="graph"),
        "resources": resources(facts.gpu_cores("bert-graph"), facts.gpu_memory_mib(), GPU_TEMP, gpu=1),
    }
    pod = {
        "containers": [container],
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": GPU_TEMP}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"spec": pod},
        },
    }
