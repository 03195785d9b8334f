"""The errors of runtimes: another torch version, another processor, a damaged file, no compiler."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from handlers.errors import ArchiveError
from handlers.runtimes import load_runtime
from handlers.runtimes.torch_aoti import require, target
from handlers.settings import Settings, TensorSpec


def of(runtime):
    """The settings of an archive with the runtime ``runtime`` and one output."""
    return Settings("digits", runtime, "t", "cpu", runtime, "w", (), (TensorSpec("y", ("batch", 3)),))


HERE = {"torch": "2.14.1", "processor": ["avx", "avx2", "fma"]}
GPU = {"torch": "2.14.1", "gpu": "sm_90"}


def test_a_package_runs_with_its_torch_version_and_instruction_sets():
    require(HERE, HERE, "bert")
    require(HERE, {**HERE, "processor": ["avx", "avx2", "avx512f", "fma"]}, "bert")
    require(GPU, GPU, "bert")


@pytest.mark.parametrize(
    ("wanted", "found", "says"),
    [
        ({**HERE, "torch": "2.11.0"}, HERE, r"bert-aoti was compiled for torch 2\.11\.0 \(here: 2\.14\.1\); run"),
        ({**HERE, "processor": ["amx_tile", "avx2", "avx512f"]}, HERE, r"for a processor with amx_tile, avx512f; run"),
        ({**GPU, "gpu": "sm_80"}, GPU, r"for gpu sm_80 \(here: sm_90\)"),
        (GPU, HERE, r"for gpu sm_90 \(here: none\); run on this machine: make archive MODELS=bert VARIANTS=aoti"),
    ],
)
def test_a_package_for_another_machine_is_refused_by_name(wanted, found, says):
    with pytest.raises(ArchiveError, match=says):
        require(wanted, found, "bert")


def test_this_machine_is_described():
    import torch

    facts = target(torch.device("cpu"))
    assert facts["torch"] == torch.__version__.partition("+")[0] and facts["processor"]


@pytest.mark.parametrize(
    ("runtime", "file"),
    [("torchscript", "model.pt"), ("aoti", "model.pt2"), ("onnx", "model.onnx"), ("openvino", "model.xml")],
)
def test_a_damaged_model_is_one_sentence(tmp_path, runtime, file):
    import torch

    (tmp_path / file).write_bytes(b"PK\x03\x04 not a model")
    settings = replace(of(runtime), compiled_for=target(torch.device("cpu")))
    with pytest.raises(ArchiveError, match=f"make archive MODELS=digits VARIANTS={runtime}") as refused:
        load_runtime(tmp_path, settings)
    assert "\n" not in str(refused.value)


def test_a_package_is_loaded_without_starting_a_compiler(tmp_path):
    """A server has no compiler. torch's own loader starts one, and takes minutes with many instruction sets."""
    import torch

    from export.steps import Draft
    from export.steps.compilers import write_package

    draft = Draft(torch.nn.Linear(4, 3).eval(), (torch.zeros(2, 4),), None, (TensorSpec("x", ("batch", 4)),), ())
    write_package(draft, tmp_path / "model.pt2")
    source = f"""
import sys, pathlib, numpy, torch, torch._inductor.package
from handlers.runtimes.torch_aoti import load_aoti, target
def watch(event, _):
    if event in ("subprocess.Popen", "os.exec", "os.fork", "os.posix_spawn", "os.system"):
        raise AssertionError(event)
sys.addaudithook(watch)
from handlers.settings import Settings, TensorSpec
settings = Settings("digits", "aoti", "t", "cpu", "aoti", "w", (), (TensorSpec("y", ("batch", 3)),),
                    compiled_for=target(torch.device("cpu")))
print(load_aoti(pathlib.Path({str(tmp_path)!r}), settings, None)(numpy.zeros((1, 4), numpy.float32))["y"].shape)
"""
    fresh = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", source], env=fresh, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(1, 3)", done.stderr


@pytest.mark.parametrize("before", [True, False])
def test_the_search_for_algorithms_ends_also_if_the_capture_fails(monkeypatch, before):
    """Another variant in the same process must not search: it would not search in its own worker either."""
    import torch

    from handlers.runtimes.cuda_graph import searching

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    with pytest.raises(RuntimeError), searching():
        assert torch.backends.cudnn.benchmark
        raise RuntimeError("out of memory")
    assert torch.backends.cudnn.benchmark is before


def test_compile_without_a_compiler_says_how_to_install_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    settings = of("compile")
    with pytest.raises(ArchiveError, match="no no-such-compiler here; install it"):
        load_runtime(tmp_path, settings)


def test_a_compiler_without_a_shared_libstdcxx_is_not_used(tmp_path, monkeypatch):
    from export.steps import StepError
    from export.steps.compilers import compiler

    static = tmp_path / "g++"
    static.write_text("#!/bin/sh\necho libstdc++.so\n")  # what gcc prints for a library that it does not have
    static.chmod(0o755)
    monkeypatch.setenv("CXX", str(static))
    assert compiler() in ("g++", "/usr/bin/g++")
    monkeypatch.setattr("export.steps.compilers.has_shared_library", lambda name: False)
    with pytest.raises(StepError, match="apt-get install g"):
        compiler()


def test_a_batch_that_does_not_fit_into_memory_is_a_503_with_advice():
    import numpy as np
    import torch

    from handlers.errors import OutOfMemory
    from handlers.runtimes.torch_module import ModuleRuntime

    def full(tensor):
        raise torch.OutOfMemoryError("CUDA out of memory, and much that a client cannot use")

    with pytest.raises(OutOfMemory, match="no memory left for these 3 items; send fewer") as refused:
        ModuleRuntime(full, torch.device("cpu"), ["y"])(np.zeros((3, 2)))
    assert refused.value.status == 503
