"""On a GPU host: every GPU row through its archive, and the message of a GPU archive on a machine without a GPU."""

import contextlib

import pytest

from export.catalog import rows, variant_names
from export.device import gpu_count
from handlers.errors import ArchiveError
from tests.conftest import run

gpu = pytest.mark.skipif(gpu_count() == 0, reason="no CUDA device here")


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("model", ["digits", "bert", "resnet50"])
def test_every_gpu_row_is_built_with_parity_through_its_archive(model, tmp_path):
    weights = "" if model == "digits" else "random"  # digits is trained here
    variants = [row.variant.name for row in rows([model], variant_names("gpu"), "gpu", by_default=True)]
    built = run(
        "export", MODELS=model, VARIANTS=" ".join(variants), DEVICE="cuda", WEIGHTS=weights,
        MODEL_STORE=str(tmp_path),
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list(tmp_path.glob("*.mar"))) == len(variants) > 5


@gpu
@pytest.mark.gpu
def test_photographs_are_decoded_on_the_gpu_as_on_the_host_and_damaged_ones_harm_nobody():
    import io

    import numpy as np
    import torch
    from PIL import Image

    from bench.photos import CROP, RESIZE, on_host
    from export.cases import encode, photographs
    from handlers.errors import RequestError
    from handlers.gpu_photos import GpuPhotos
    from handlers.image_structure import inspect

    photos = GpuPhotos(torch.device("cuda"), RESIZE, CROP, lambda file: on_host(file.data))
    views = [Image.open(io.BytesIO(data)).convert("RGB") for data in photographs()]
    files = [encode(view, "JPEG") for view in views]
    items = [inspect(data) for data in files]
    assert all(photos.takes(item) for item in items)
    expected = np.stack([on_host(data) for data in files]).astype(int)

    def off_by():
        return np.abs(photos(items).cpu().numpy() - expected).mean(axis=(1, 2, 3)).round(2).tolist()

    first = off_by()
    assert max(first) < 3.0, first  # grey levels of 255; what the host's own reduced decoding is held to
    generator = np.random.default_rng(0)
    taken = 0
    for number in range(1500):
        damaged = bytearray(files[number % len(files)])
        for at in generator.integers(2, len(damaged) - 2, 1 + number % 7):
            damaged[at] = generator.integers(256)
        with contextlib.suppress(RequestError):
            item = inspect(bytes(damaged))
            if item.cost <= 1_000_000 and photos.takes(item):
                taken += 1
                photos([item])
    assert taken > 1000
    assert off_by() == first


@pytest.mark.skipif(gpu_count() > 0, reason="a CUDA device is here")
def test_without_a_gpu_gpu_variants_are_refused_with_the_reason(tmp_path):
    for settings in ({"VARIANTS": "graph"}, {"VARIANTS": "eager", "DEVICE": "gpu"}):
        refused = run("export", MODELS="digits", MODEL_STORE=str(tmp_path), **settings)
        assert refused.returncode == 2 and "gpu" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.skipif(gpu_count() > 0, reason="a CUDA device is here")
@pytest.mark.parametrize("runtime", ["torchscript", "graph"])
def test_a_gpu_archive_on_a_cpu_host_names_the_cure(tmp_path, runtime):
    from handlers.runtimes import load_runtime
    from handlers.settings import Settings, TensorSpec

    settings = Settings("digits", "fp16", "t", "gpu", runtime, "w", (), (TensorSpec("y", ("batch", 3)),))
    with pytest.raises(ArchiveError, match="make archive MODELS=digits VARIANTS=fp16 DEVICE=cpu"):
        load_runtime(tmp_path, settings)
