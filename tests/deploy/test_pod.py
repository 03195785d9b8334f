"""The pod of deploy/kubernetes without a cluster: the image with the Deployment's settings, Secret and variables. The
test does what a kubelet does: startup probe, readiness, liveness, a changed Secret, and the end."""

import os
import shutil
import subprocess
import threading
import time

import pytest

from deploy.manifests import facts
from tests.deploy import kubernetes
from tests.deploy.image import Container, assemble, build
from tests.deploy.test_image import LISTEN, namespaces

TOKENS = "a" * 40, "b" * 40
ARCHIVE = "minilm-torchscript"
# Prints the status of a GET, with a token if one is given.
ASK = """
import sys, urllib.error, urllib.request
port, path, token = sys.argv[1:4]
heads = {"Authorization": f"Bearer {token}"} if token else {}
request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=heads)
try: print(urllib.request.urlopen(request, timeout=float(sys.argv[4])).status)
except urllib.error.HTTPError as error: print(error.code)
"""
PREDICT = """
import sys, urllib.request
heads = {"Authorization": f"Bearer {sys.argv[2]}", "Content-Type": "text/plain"}
request = urllib.request.Request(f"http://127.0.0.1:8080/predictions/{sys.argv[1]}", b"hello", heads)
print(urllib.request.urlopen(request, timeout=60).read()[:12].decode())
"""
MIB = 2**20


def secret(folder, number):
    """The tokens' folder as a kubelet writes it: a link leads to the present version and is replaced."""
    version = folder / f"..version{number}"
    version.mkdir()
    (version / facts.TOKEN_FILE).write_text(TOKENS[number] + "\n")
    (folder / "..new").symlink_to(version.name)
    os.replace(folder / "..new", folder / "..data")
    if not (folder / facts.TOKEN_FILE).is_symlink():
        (folder / facts.TOKEN_FILE).symlink_to(f"..data/{facts.TOKEN_FILE}")


@pytest.fixture
def pod(store, tmp_path):
    """The container of the Deployment, as it starts; its log; the folder of its Secret."""
    make, tokens = prepared(store, tmp_path, ARCHIVE)
    with make(tmp_path / "log") as running:
        yield running, tmp_path / "log", tokens


def prepared(store, tmp_path, archive):
    """(a function that makes a container of the Deployment with only that archive; the folder of its Secret)."""
    if not namespaces():
        pytest.skip("no rights to make namespaces, or util-linux and iproute2 are missing")
    folders = {name: tmp_path / name for name in ("store", "settings", "tokens")}
    for folder in folders.values():
        folder.mkdir()
    for path in store.glob(f"{archive}.mar*"):
        shutil.copy(path, folders["store"])
    for name, text in kubernetes.rendered(kubernetes.OVERLAYS["cpu"])["ConfigMap"]["data"].items():
        (folders["settings"] / name).write_text(text)
    secret(folders["tokens"], 0)
    root = assemble(tmp_path / "root", build(tmp_path / "built"), folders["store"])
    subprocess.run(["chmod", "-R", "go+rX", tmp_path], check=True)
    variables = {each["name"]: each["value"] for each in kubernetes.container()["env"]}
    mounts = {facts.SETTINGS: folders["settings"], facts.TOKENS: folders["tokens"]}

    def make(log, temp=None, **others):
        return Container(root, log, mounts, {**variables, **others}, temp)

    return make, folders["tokens"]


def probe(running, kind):
    """Whether a probe of the Deployment succeeds, as the kubelet judges it."""
    wanted = kubernetes.container()[f"{kind}Probe"]
    if "exec" in wanted:
        return running.execute(*wanted["exec"]["command"]).returncode == 0
    ports = {each["name"]: each["containerPort"] for each in kubernetes.container()["ports"]}
    port, path = ports[wanted["httpGet"]["port"]], wanted["httpGet"]["path"]
    return 200 <= ask(running, port, path, timeout=wanted["timeoutSeconds"]) < 400


def ask(running, port, path, token="", timeout=30):
    """The status of a GET; 0 without an answer."""
    return int(running.execute("python", "-c", ASK, str(port), path, token, str(timeout)).stdout or 0)


def until(condition, seconds, log):
    """Waits for the condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.3)


def worker(running):
    """The process of the model's worker."""
    [found] = [each for each in running.process.parent().children(recursive=True) if is_worker(each)]
    return found


def is_worker(process):
    return any("model_service_worker" in part for part in process.cmdline())


@pytest.mark.served
def test_the_pod_lives_as_the_manifests_say(pod):
    running, log, tokens = pod
    ready = f"/v2/models/{ARCHIVE}/ready"
    until(lambda: "Starting TorchServe" in log.read_text(), 120, log)
    assert not probe(running, "startup"), "nothing is warm yet"
    until(lambda: probe(running, "startup"), facts.startup_s() / 2, log)
    assert "Ready after" in log.read_text(), "the startup probe does not wait for warm-up"
    assert probe(running, "readiness") and probe(running, "liveness")

    assert [ask(running, 8080, ready, token) for token in ("", TOKENS[0], TOKENS[1])] == [401, 200, 401]
    assert ask(running, 8082, "/metrics") == 200
    listening = {each.rsplit(":", 1)[1] for each in running.execute("python", "-c", LISTEN).stdout.split()
                 if not each.startswith(("127.0.0.1", "::ffff:127.0.0.1"))}  # fmt: skip
    assert listening == {"8080", "8082"}

    secret(tokens, 1)
    until(lambda: ask(running, 8080, ready, TOKENS[1]) == 200, 60, log)
    assert ask(running, 8080, ready, TOKENS[0]) == 401, "a token that left the Secret still opens"

    used = sum(each.memory_full_info().pss for each in [running.process, *running.process.children(recursive=True)])
    limit = int(kubernetes.container()["resources"]["limits"]["memory"].removesuffix("Mi"))
    wanted = int(kubernetes.container()["resources"]["requests"]["memory"].removesuffix("Mi"))
    assert used / MIB < limit
    print(f"a warm pod: {used / MIB:.0f} MiB; requested {wanted}, limit {limit}")

    busy = worker(running)
    busy.suspend()  # the worker has a request, others wait in the queue, and it does not answer
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(
        running.execute("python", "-c", PREDICT, ARCHIVE, TOKENS[1]).stdout)) for _ in range(3)]  # fmt: skip
    for each in clients:
        each.start()
    until(lambda: queued(running) > 0, 30, log)
    assert probe(running, "liveness") and probe(running, "readiness"), "a busy server would be killed or taken out"
    busy.resume()
    for each in clients:
        each.join()
    assert answers == ['{"embedding"\n'] * 3

    busy.kill()
    until(lambda: not probe(running, "readiness"), 30, log)
    assert probe(running, "liveness"), "a server that replaces a worker would be killed"
    until(lambda: probe(running, "readiness"), 120, log)

    sleeps = kubernetes.container()["lifecycle"]["preStop"]["exec"]["command"]
    assert running.execute(sleeps[0], "0").returncode == 0
    running.process.terminate()
    grace = kubernetes.deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert running.ended(timeout=grace - int(sleeps[1])) == 0, log.read_text()


def queued(running):
    """Requests in the model's queue, by its metrics."""
    text = running.execute("python", "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8082/metrics')"
                           ".read().decode())").stdout  # fmt: skip
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("tsi_queue_length{"))


@pytest.mark.served
def test_a_container_that_was_killed_starts_again_with_its_emptydir(store, tmp_path):
    make, _ = prepared(store, tmp_path, "null")
    temp = tmp_path / "emptydir"
    temp.mkdir()
    temp.chmod(0o1777)
    for start in ("first", "second"):
        log = tmp_path / start
        with make(log, temp, MODELS="null", VARIANTS="") as running:
            until(lambda log=log, running=running: "Ready after" in log.read_text() or not running.running(), 240, log)
            assert probe(running, "readiness"), start
            java = [each for each in running.process.children(recursive=True) if each.name() == "java"]
        assert len(java) == 1 and not java[0].is_running(), start
        # Every process got SIGKILL, as on an out-of-memory kill. Their files stay in /tmp for the life of the pod.
        assert len(list(temp.glob("torchserve-*"))) == 1, start
