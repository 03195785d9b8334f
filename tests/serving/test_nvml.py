"""GPU memory and utilisation: from the driver's library to the metrics of a real server.

Without a GPU, a small C library stands in for the driver's, with made-up values. With one, the same tests
ask the driver itself: pytest -n0 tests/serving/test_nvml.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import astuple

import pytest

from serving import nvml
from serving.nvml import Gpu
from tests import metrics
from tests.conftest import ROOT
from tests.serving.nvml_stub import STUB
from tests.trust.place import eventually, place

NAMES = ("tsi_gpu_memory_used_bytes", "tsi_gpu_memory_total_bytes", "tsi_gpu_utilization_ratio")
OF_STUB = [
    Gpu("0", "GPU-11111111-2222-3333-4444-555555555555", 15 << 30, 141 << 30, 0.37),
    Gpu("1", "GPU-66666666-7777-8888-9999-000000000000", 1 << 30, 141 << 30, None),  # with MIG
]
REAL = nvml.library() is not None and any(nvml.devices(nvml.library()))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The variables with which a process finds a driver's library."""
    if REAL:
        return {}
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is neither a GPU nor a C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "stub.c").write_text(STUB)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", nvml.LIBRARY, "stub.c"], cwd=folder, check=True)
    return {"LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}


def sampler(**environment):
    """The program as the front end starts it."""
    return subprocess.Popen(
        [sys.executable, "-I", str(ROOT / "serving" / "nvml.py")], env={**os.environ, **environment}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_the_program_says_what_each_gpu_does_and_ends_with_its_reader(driver):
    with sampler(**driver) as program:
        found = [Gpu(**each) for each in json.loads(program.stdout.readline())]
        program.stdin.close()
        assert program.wait(20) == 0
    if not REAL:
        assert found == OF_STUB
    assert found and all(0 < each.memory_used <= each.memory_total for each in found)


def test_without_a_driver_there_is_nothing_to_start(monkeypatch):
    monkeypatch.setattr(nvml, "LIBRARY", "no-such-library.so")
    assert nvml.library() is None and nvml.java_options() == []
    with sampler() if not REAL else subprocess.Popen(["true"]) as program:
        assert program.wait(20) == 0


@pytest.mark.served
def test_a_server_shows_them_with_the_labels_gpu_and_uuid_alone(driver, null_store, tmp_path):
    with place(tmp_path, null_store) as made:
        made.serve(**driver)
        eventually(lambda: NAMES[0] in metrics.text(made.config))
        found = {}
        for name, labels, value in metrics.SAMPLE.findall(metrics.text(made.config)):
            if name in NAMES:
                assert [key for key, _ in metrics.LABEL.findall(labels)] == ["gpu", "uuid"]
                found[name, dict(metrics.LABEL.findall(labels))["gpu"]] = float(value)
        program = [each for each in made.processes() if each.cmdline()[-1].endswith("/nvml.py")]
        assert len(program) == 1, "one process asks the driver, whatever the number of workers"
    assert made.processes() == []
    if not REAL:
        expected = {(name, each.gpu): float(value) for each in OF_STUB
                    for name, value in zip(NAMES, astuple(each)[2:], strict=True) if value is not None}  # fmt: skip
        assert found == expected


@pytest.mark.served
@pytest.mark.skipif(REAL, reason="this machine has a GPU")
def test_without_a_gpu_the_metrics_are_absent(served):
    assert "tsi_workers_ready" in metrics.text(served.config) and "tsi_gpu" not in metrics.text(served.config)


@pytest.mark.skipif(not REAL, reason="no GPU here, or no driver")
def test_on_a_gpu_the_values_are_those_of_nvidia_smi():
    asked = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    rows = [line.split(", ") for line in subprocess.check_output(asked, text=True).splitlines()]
    found = nvml.gpus(nvml.library())
    assert [(each.gpu, each.uuid) for each in found] == [(index, uuid) for index, uuid, _ in rows]
    for each, (_, _, total) in zip(found, rows, strict=True):
        assert each.memory_total == pytest.approx(int(total) << 20, rel=0.01)
        assert each.utilization is None or 0 <= each.utilization <= 1
