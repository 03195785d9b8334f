"""An archive is out of date if its sources have changed. A package compiled ahead also depends on the machine."""

import subprocess

import pytest

from export import fingerprint as module
from export.catalog import rows
from export.device import gpu_architecture, gpu_count
from export.fingerprint import fingerprint
from export.weights import Choice
from handlers.processor import instruction_sets


def of(variant, device="cpu"):
    (row,) = rows(["minilm"], [variant], "cpu")
    return fingerprint(row, device, Choice())


@pytest.mark.parametrize(("variant", "moves"), [("aoti", True), ("eager", False)])
def test_only_packages_compiled_ahead_depend_on_the_processor(monkeypatch, variant, moves):
    before = of(variant)
    monkeypatch.setattr(module, "instruction_sets", lambda: ["avx2"])
    assert (of(variant) != before) == moves


def test_a_package_for_a_gpu_depends_on_its_kind(monkeypatch):
    found = []
    for kind in ("sm_80", "sm_90"):
        monkeypatch.setattr(module, "gpu_architecture", lambda kind=kind: kind)
        found.append(of("aoti", "gpu"))
    assert len(set(found)) == 2


@pytest.mark.parametrize(("variant", "moves"), [("onnx", True), ("openvino", False), ("eager", False)])
def test_an_engines_version_counts_only_for_variants_that_use_it(monkeypatch, variant, moves):
    before, real = of(variant), module.installed
    monkeypatch.setattr(module, "installed", lambda names: real(names) | {n: "0" for n in names if n == "onnxruntime"})
    assert (of(variant) != before) == moves


def test_instruction_sets_are_read_from_the_processors_flags(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 sse4_2 avx512f lm\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert instruction_sets(cpuinfo) == ["avx2", "avx512f", "sse4_2"]
    assert len(instruction_sets(tmp_path / "none")) == 1


def test_the_gpus_architecture_comes_from_the_driver(tmp_path):
    """Uses a stub of libcuda with one device of compute capability 9.0."""
    source, library = tmp_path / "cuda.c", str(tmp_path / "cuda.so")
    source.write_text(
        "int cuInit(unsigned f) { return 0; }\n"
        "int cuDeviceGetCount(int *c) { *c = 1; return 0; }\n"
        "int cuDeviceGetAttribute(int *v, int which, int device) { *v = which == 75 ? 9 : 0; return 0; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert gpu_count(library) == 1 and gpu_architecture(library) == "sm_90"
    assert gpu_architecture("no-such-library.so") == ""
