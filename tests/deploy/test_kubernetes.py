"""deploy/kubernetes and deploy/kserve: they are up to date with their script, Kustomize renders them, three versions of
Kubernetes know every field, and they keep the rules of the restricted Pod Security Standard.

tests/deploy/test_pod.py runs the pod that they describe. The rest needs a cluster: docs/kubernetes.md lists it.
"""

import json
import re
import subprocess

import pytest
import yaml

from deploy.manifests import facts
from deploy.manifests.__main__ import DEPLOY, files
from serving.model_settings import ModelSettings
from tests.conftest import ROOT
from tests.deploy import kubernetes
from tests.deploy.image import words
from tests.deploy.test_monitoring import COUNTER, OVER_TIME

VERSIONS = ("1.33", "1.35", "1.37")
WRITTEN = files()
# Kinds that operators add to a cluster. Their schemas are not shipped here (docs/kubernetes.md).
FOREIGN = {"PodMonitor", "PrometheusRule", "ScaledObject", "ServingRuntime", "InferenceService"}


def test_the_manifests_are_what_the_script_writes():
    stale = [name for name, text in WRITTEN.items() if (DEPLOY / name).read_text() != text]
    assert stale == [], "run: python -m deploy.manifests"
    there = {path for folder in ("kubernetes", "kserve") for path in (DEPLOY / folder).rglob("*") if path.is_file()}
    assert {str(path.relative_to(DEPLOY)) for path in there} == set(WRITTEN), "files that the script does not write"


def refused(manifest, version):
    """Why a version of Kubernetes refuses the object, or None; unknown fields count."""
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    try:
        schemas.validate(manifest, version, strict=True)
    except (schemas.ValidationError, schemas.SchemaNotFoundError) as error:
        return f"{manifest['kind']} {version}: {error.message}"


def checked(manifests):
    """Checks objects of Kubernetes itself."""
    return [each for each in manifests if each["kind"] not in FOREIGN]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_knows_every_field_of_the_base(version):
    base = [yaml.safe_load(text) for name, text in WRITTEN.items() if re.search(r"base/(?!kust)\w+\.yaml", name)]
    assert len(base) == 5 and [why for each in base if (why := refused(each, version))] == []


@pytest.mark.parametrize("overlay", kubernetes.OVERLAYS)
def test_each_version_knows_what_kustomize_makes_of_an_overlay(overlay):
    found = checked(kubernetes.rendered(kubernetes.OVERLAYS[overlay]).values())
    assert found and [why for each in found for version in VERSIONS if (why := refused(each, version))] == []


def test_the_check_finds_a_misspelt_field_and_a_wrong_type():
    wrong = kubernetes.deployment()
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert "readynessProbe" in refused(wrong, VERSIONS[0])
    assert "two" in refused({**kubernetes.deployment(), "spec": {"replicas": "two"}}, VERSIONS[-1])


def test_the_pages_own_overlay_takes_both_components(tmp_path):
    found = kubernetes.rendered(kubernetes.own(tmp_path))
    image = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"registry.example.com/{facts.IMAGE}:{facts.version()}"
    assert {each["metadata"]["namespace"] for each in found.values()} == {"inference"}
    assert found.keys() >= {"Deployment", "PodMonitor", "PrometheusRule", "ScaledObject"}
    assert "replicas" not in found["Deployment"]["spec"]
    assert found["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]


def test_names_and_labels_match():
    found = kubernetes.rendered(kubernetes.OVERLAYS["cpu"])
    pod = found["Deployment"]["spec"]["template"]
    labels, ports = pod["metadata"]["labels"], {each["name"] for each in pod["spec"]["containers"][0]["ports"]}
    selectors = [
        found["Deployment"]["spec"]["selector"]["matchLabels"], found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        kubernetes.written("components/monitoring/podmonitor.yaml")["spec"]["selector"]["matchLabels"],
    ]  # fmt: skip
    assert all(each == labels for each in selectors)
    monitor = kubernetes.written("components/monitoring/podmonitor.yaml")["spec"]["podMetricsEndpoints"][0]
    named = {rule["port"] for entry in found["NetworkPolicy"]["spec"]["ingress"] for rule in entry["ports"]}
    assert named == ports and monitor["port"] in ports and found["Service"]["spec"]["ports"][0]["targetPort"] in ports
    assert found["ConfigMap"]["metadata"]["name"] in json.dumps(pod["spec"]["volumes"])
    assert pod["spec"]["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]


def specs():
    """Name and pod spec of each workload, and the runtime of KServe, from which KServe makes a pod."""
    for overlay in ("cpu", "gpu"):
        yield overlay, kubernetes.rendered(kubernetes.OVERLAYS[overlay])["Deployment"]["spec"]["template"]["spec"]
    yield "kserve", kubernetes.rendered(kubernetes.KSERVE)["ServingRuntime"]["spec"]


def test_pods_keep_to_the_restricted_standard_and_more():
    for name, spec in specs():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert {key for each in spec["volumes"] for key in each} <= {"name", "emptyDir", "configMap", "secret"}, name
        [container] = spec["containers"]
        security = container["securityContext"]
        assert security["runAsNonRoot"] and not security["allowPrivilegeEscalation"] and not security["privileged"]
        assert security["capabilities"] == {"drop": ["ALL"]} and security["readOnlyRootFilesystem"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPort" in port for port in container["ports"])
        assert container["resources"]["limits"].keys() >= {"cpu", "memory", "ephemeral-storage"}
        assert container["resources"]["requests"]["cpu"] == container["resources"]["limits"]["cpu"]
        assert not any(re.search("TOKEN|KEY|SECRET", each["name"]) for each in container["env"])
        if name != "kserve":
            assert spec["automountServiceAccountToken"] is False


def test_the_manifests_fit_the_image():
    user, group = map(int, words("USER")[0].split(":"))
    for name, spec in specs():
        [container] = spec["containers"]
        assert not {"command", "args"} & container.keys(), "the image's entry point is to run"
        assert (container["securityContext"]["runAsUser"], container["securityContext"]["runAsGroup"]) == (user, group)
        assert [int(word) for word in words("EXPOSE")] == [container["ports"][0]["containerPort"]]
        health = words("HEALTHCHECK")
        assert container["startupProbe"]["exec"]["command"] == health[health.index("CMD") + 1 :]
        mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert mounted.keys() == {each["name"] for each in spec["volumes"]}, name
        writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
        assert writable == {"/tmp"}


def test_threads_follow_the_limit_of_cores(tmp_path):
    for overlay in ("cpu", "gpu"):
        found = kubernetes.rendered(kubernetes.OVERLAYS[overlay])
        (tmp_path / "models.toml").write_text(found["ConfigMap"]["data"]["models.toml"])
        settings = ModelSettings.load(tmp_path / "models.toml").models
        container = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        served = next(each["value"] for each in container["env"] if each["name"] == "MODELS")
        cores = int(container["resources"]["limits"]["cpu"])
        assert settings[served]["workers"] * settings[served]["threads"] == cores


def test_a_pods_time_limits_cover_the_servers():
    spec, container = kubernetes.deployment()["spec"]["template"]["spec"], kubernetes.container()
    sleeps = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= sleeps + facts.stop_s()
    assert sleeps > 5 + 5 * facts.queue_wait_s("minilm-torchscript")
    startup = container["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] > facts.startup_s()
    assert kubernetes.deployment()["spec"]["progressDeadlineSeconds"] > facts.startup_s()
    assert container["livenessProbe"]["httpGet"]["path"] != container["readinessProbe"]["httpGet"]["path"]


def test_scaling_reads_existing_metrics_and_no_raw_counter():
    triggers = kubernetes.written("components/autoscaling/scaledobject.yaml")["spec"]["triggers"]
    page = (ROOT / "docs" / "monitoring.md").read_text()
    for trigger in triggers:
        query = trigger["metadata"]["query"]
        assert OVER_TIME.search(query) and not COUNTER.search(OVER_TIME.sub("", query))
        assert re.sub("_sum$", "", re.search(r"tsi_\w+", query)[0]) in page
        assert trigger["metricType"] == "AverageValue", "KEDA's fallback works with no other"


def test_checkov_finds_only_accepted_findings(tmp_path):
    program = kubernetes.checkov()
    for name, folder in {**kubernetes.OVERLAYS, "own": kubernetes.own(tmp_path)}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(kubernetes.rendered(folder).values()))
    # 43: the image's digest, which depends on the user's registry; 15: the pull policy for a tag that moves; 21: the
    # namespace, which is chosen at apply.
    skipped = "CKV_K8S_43,CKV_K8S_15,CKV_K8S_21"
    command = [program, "-d", str(tmp_path), "--framework", "kubernetes", "--skip-check", skipped]
    done = subprocess.run([*command, "--skip-download", "-o", "json"], capture_output=True, text=True, timeout=300)
    summary = json.loads(done.stdout)
    failed = [f"{each['check_id']} {each['check_name']}: {each['resource']}" for each in
              summary["results"]["failed_checks"]]  # fmt: skip
    assert failed == [] and summary["summary"]["passed"] > 100
