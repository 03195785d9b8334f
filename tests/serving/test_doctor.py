"""``make doctor``: every check finds its fault when it really exists, and no check reports anything on a machine
without faults."""

import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap

import pytest

from serving.doctor.__main__ import CHECKS, examine, lines
from serving.doctor.finding import OK, STOP, WARN, Finding
from tests.conftest import ROOT, run
from tests.serving.places import (
    GONE,
    add_archive,
    card,
    changed,
    driver,
    emptied,
    flipped,
    for_a_gpu,
    foreign,
    group,
    huge,
    java_home,
    opened,
    packages,
    properties,
    server_record,
    sound,
    stale_folder,
    touched,
    wanting,
    without_haproxy,
)  # fmt: skip


@pytest.fixture
def tmp_path(tmp_path_factory):
    """A short path, since the path of a worker's socket is limited. pytest's own path has the test's name in it."""
    return tmp_path_factory.mktemp("d")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return sound(tmp_path)


# (check, how to break the place, level, expected text)
BROKEN = [
    ("python", lambda p, m, t: wanting(p, 'requires-python = ">=3.14"'), STOP, r">=3\.14 is needed"),
    ("python", lambda p, m, t: m.setitem(sys.modules, "ensurepip", None) or changed(p, set_up=False), STOP, "cannot"),
    ("torch", lambda p, m, t: packages(p, m, ("torchvision", "0.29.0", "torch==2.13.0")), STOP, "for torch 2.13.0"),
    ("torch", lambda p, m, t: packages(p, m, ("torch", "2.9.0"), ("torchvision", "0.24")), WARN, "tested: torch >="),
    ("transformers", lambda p, m, t: packages(p, m, ("transformers", "6.0.0")), WARN, "tested: transformers"),
    ("packages", lambda p, m, t: packages(p, m, ("torchserve", "0.11.0")), WARN, r"torchserve 0\.11\.0 \(==0\.12\.0\)"),
    ("java", lambda p, m, t: java_home(p, m, "11.0.2", "11.0.2"), WARN, "is Java 11, so Java 21"),
    ("java", lambda p, m, t: java_home(p, m, "21", "11.0.2"), STOP, "runs as Java 11; 17 is needed"),
    ("java", lambda p, m, t: opened(java_home(p, m, "21", "21"), t / "tmp/java/bin/java", 0), STOP, "does not run"),
    ("config", lambda p, m, t: changed(p, config=t / "none"), STOP, "cannot be read"),
    ("config", lambda p, m, t: properties(p, grpc_inference_port="9", metrics_address="//x:9"), STOP, "to two APIs"),
    ("config", lambda p, m, t: properties(p, grpc_inference_port="high"), STOP, "no port number"),
    ("config", lambda p, m, t: properties(p, grpc_inference_address="0.0.0.0"), WARN, "beyond loopback: grpc_inf"),
    ("config", lambda p, m, t: properties(p, disable_token_authorization="true"), WARN, "tokens are off"),
    ("config", lambda p, m, t: properties(p, enable_model_api="true"), WARN, "registered over HTTP"),
    ("balancer", lambda p, m, t: without_haproxy(changed(p, replicas=2), m), STOP, "2 replicas need, is not installed"),
    ("memory", lambda p, m, t: changed(p, replicas=20), STOP, "Java of each of 20 replicas take about 13"),
    ("run folder", lambda p, m, t: server_record(p, GONE), WARN, f"pid {GONE}.* has died"),
    ("run folder", lambda p, m, t: touched(p, p.run / "server.json", "{"), WARN, "is damaged"),
    ("run folder", lambda p, m, t: touched(p, p.run / "logs/config/startup.cfg"), WARN, "a snapshot"),
    ("run folder", lambda p, m, t: stale_folder(p, GONE), WARN, r"1 folder\(s\) of ended servers"),
    ("tokens", lambda p, m, t: touched(p, p.run / "key_file.json", mode=0o644), WARN, "mode 0644: others may read"),
    ("tokens", lambda p, m, t: opened(touched(p, p.run / "key_file.json"), p.run, 0o755), WARN, "mode 0755"),
    ("store", lambda p, m, t: flipped(p), STOP, "a-eager.mar is not what was built"),
    ("store", lambda p, m, t: emptied(p), STOP, "holds no archive"),
    ("store", lambda p, m, t: foreign(p), WARN, "not built by this project, and served unchecked: other"),
    ("settings", lambda p, m, t: touched(p, p.models, "[a]\nworkers = 0"), STOP, r"\[a\] workers = 0: a whole number"),
    ("settings", lambda p, m, t: touched(p, p.models, "[b]\nworkers = 2"), WARN, "models without an archive: b"),
    ("settings", lambda p, m, t: touched(p, p.models, "[a]\nvariant = 'int8'"), STOP, "a as eager; run: make archive"),
    ("settings", lambda p, m, t: touched(p, p.models, "[b]\nvariant = 'int8'"), WARN, "models without an archive: b"),
    ("settings", lambda p, m, t: touched(p, p.models, "[a]\nvariant = 'eager'\nchosen.machine = 'Abacus'"), WARN,
     "a was chosen on another kind of machine"),
    ("memory", lambda p, m, t: touched(p, p.models, "[a]\nworkers = 99"), STOP, "the store's 99 workers"),
    ("writers", lambda p, m, t: opened(p, p.store / "a-eager.mar", 0o664), WARN, "writable by others"),
    ("writers", lambda p, m, t: opened(p, p.store, 0o777), WARN, "writable by others"),
    ("disk", lambda p, m, t: huge(p), STOP, r"free, 8796\.\d GB needed \(tmp\)"),
    ("disk", lambda p, m, t: changed(p, temp=p.temp / ("x" * 60) / ("y" * 60)), STOP, "too long a path"),
    ("memory", lambda p, m, t: huge(p), STOP, "machine's memory is 8.2 GB"),
    ("memory", lambda p, m, t: group(p, {"memory.max": "max", "a/memory.max": "200000000"}), STOP, "limit is 200 MB"),
    ("memory", lambda p, m, t: group(p, {"memory/memory.limit_in_bytes": "200000000"}), STOP, "limit is 200 MB"),
    ("memory", lambda p, m, t: touched(p, p.proc / "meminfo", "MemTotal: 8000000 kB\nMemAvailable: 9 kB\n"), WARN,
     "9 KB are free now"),
    ("cores", lambda p, m, t: group(p, {"a/b/cpu.max": "50000 100000"}), WARN, "quota of 0.5 cores"),
    ("cores", lambda p, m, t: group(p, {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
                                        "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}), WARN, "quota of 0.5 cores"),
    ("limits", lambda p, m, t: group(p, {"a/b/pids.max": "100"}), WARN, "100 processes"),
    ("gpu", lambda p, m, t: for_a_gpu(p), STOP, "none: .*built for a GPU: a-graph"),
    ("gpu", lambda p, m, t: card(p), WARN, "1 NVIDIA card"),
]  # fmt: skip



def test_a_sound_machine_has_no_findings(place):
    assert {name: found for name, found in examine(place).items() if found.level != OK} == {}


@pytest.mark.parametrize(("check", "change", "level", "says"), BROKEN, ids=[f"{b[0]}-{b[3]}" for b in BROKEN])
def test_each_fault_is_found(place, monkeypatch, tmp_path, check, change, level, says):
    found = examine(change(place, monkeypatch, tmp_path), [check])[check]
    assert found.level == level and re.search(says, found.text), found
    assert found.cure or re.search("run:? make|set CONFIG|write one|correct it", found.text), found


def test_every_check_is_broken_by_some_test():
    assert {row[0] for row in BROKEN} | {"ports"} == set(CHECKS)


def test_a_port_in_use_is_named_with_its_owner(place):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = CHECKS["ports"](properties(place, metrics_address=f"http://127.0.0.1:{port}"))
    assert taken.level == STOP and f"{port} (metrics_address) by pid {os.getpid()}" in taken.text


def test_a_folder_of_a_server_that_lives_is_left_alone(place):
    assert CHECKS["run folder"](stale_folder(touched(place, place.proc / "77" / "stat"), 77)).level == OK


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to make a driver's library with")
@pytest.mark.parametrize(
    ("version", "count", "init", "level", "says"),
    [
        (13010, 1, 0, OK, "1 visible, driver for CUDA 13.1, torch for CUDA 13.0"),
        (12080, 1, 0, STOP, "driver is for CUDA 12.8, torch 13.0 needs a newer one"),
        (13010, 0, 0, STOP, "shows no GPU"),
        (13010, 1, 100, STOP, "shows no GPU"),
    ],
)
def test_drivers(place, monkeypatch, tmp_path, version, count, init, level, says):
    packages(place, monkeypatch, ("torch", "2.14.1"), files={"version": "cuda: str | None = '13.0'\n"})
    found = CHECKS["gpu"](driver(for_a_gpu(place), tmp_path, version, count, init))
    assert (found.level, says in found.text) == (level, True), found


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_report_fits_the_terminal(place, width):
    shown = lines({**examine(huge(place)), "x": Finding(WARN, "long " * 40, "cure " * 40)}, width)
    assert max(map(len, shown)) <= width
    assert [line for line in shown if "fix:" in line]


def doctor(place, *arguments, **settings):
    variables = {"CONFIG": place.config, "RUN_DIR": place.run, "MODEL_STORE": place.store, "TMPDIR": place.temp,
                 "MODELS_FILE": place.models}  # fmt: skip
    return run("serving.doctor", *arguments, **{name: str(path) for name, path in variables.items()}, **settings)


def test_the_exit_status_tells_whether_serve_would_work(place):
    fine = doctor(place)
    assert fine.returncode == 0, fine.stdout
    assert all(re.search(rf"^(ok|warn) +{name}", fine.stdout, re.MULTILINE) for name in CHECKS)
    broken = doctor(flipped(place))
    assert broken.returncode == 1 and "until this is fixed: store" in broken.stderr


def test_threads_of_models_toml_are_counted(place):
    found = CHECKS["cores"](touched(place, place.models, "[a]\nthreads = 3"))
    assert "for 1 workers with 3 threads together" in found.text


def test_archives_that_a_choice_leaves_out_do_not_count(place):
    add_archive(place, "a-int8")
    touched(place, place.models, "[a]\nvariant = 'int8'")
    (place.store / "a-eager.mar.sha256").unlink()
    found = examine(place, ["store", "settings", "cores"])
    assert {each.level for each in found.values()} == {OK}, found
    assert found["store"].text.startswith("1 archives") and "for 1 workers with" in found["cores"].text
    assert found["settings"].text.endswith("; a is served as int8")


def test_few_open_files_are_found(place):
    limited = subprocess.run(
        [sys.executable, "-c", textwrap.dedent("""
            import resource; from pathlib import Path
            from serving.doctor.machine import limits; from serving.doctor.finding import Place
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
            print(limits(Place(store=Path("none"), run=Path("none"))))
        """)], cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    assert "256 open files" in limited.stdout and "warn" in limited.stdout


def test_a_folder_that_cannot_be_written_is_found(place):
    """Root may write everywhere except on a read-only mount."""
    if os.getuid():
        assert CHECKS["disk"](opened(place, place.store, 0o500)).level == WARN  # it can still be served
        assert CHECKS["disk"](opened(place, place.run, 0o500)).level == STOP
        return
    mount = f"mount -t tmpfs -o ro none {place.run} && exec {sys.executable} -m serving.doctor"
    command = ["unshare", "-m", "sh", "-c", mount]
    if subprocess.run([*command[:2], "mount", "-t", "tmpfs", "none", place.temp], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    environment = {**os.environ, "RUN_DIR": str(place.run), "MODEL_STORE": str(place.store)}
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert shown.returncode == 1 and "is not writable (run)" in " ".join(shown.stdout.split())


def test_it_runs_before_anything_is_installed(place, tmp_path):
    """A bare checkout and the first Python on PATH, without the packages of any environment."""
    checkout = tmp_path / "check out"
    (checkout / "model_store").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "config.properties"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / "serving", checkout / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    bare = {"PATH": os.environ["PATH"], "PYTHONNOUSERSITE": "1", "HOME": str(tmp_path)}
    command = ["make", "doctor", f"CONFIG={place.config}"]
    shown = subprocess.run(command, cwd=checkout, env=bare, capture_output=True, text=True)
    assert "Traceback" not in shown.stderr
    assert all(re.search(rf"^(ok|warn|STOP) +{name}", shown.stdout, re.MULTILINE) for name in CHECKS), shown.stdout
    assert not (checkout / ".venv").exists()


def test_a_set_up_interpreter_without_the_packages_is_found(place):
    environment = {"PATH": os.environ["PATH"], "CONFIG": str(place.config), "MODEL_STORE": str(place.store)}
    command = [sys.executable, "-S", "-E", "-m", "serving.doctor"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert shown.returncode == 1 and "Traceback" not in shown.stderr
    assert re.findall(r"^STOP +(\w+)", shown.stdout, re.MULTILINE) == ["torch", "transformers", "packages", "java"]
