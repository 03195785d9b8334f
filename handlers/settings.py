"""The section ``archive`` of model-config.yaml as typed records: all that a worker knows of its archive.

export writes these records, and the handlers read them. An unknown key is an error. Imports neither torch nor
TorchServe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from handlers.errors import ArchiveError


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model.

    ``dims`` has one entry per dimension: "batch" first, "tokens" for the length of the batch's longest text, and a
    number for a fixed size. ``dtype`` is NumPy's name.
    """

    name: str
    dims: tuple[str | int, ...]
    dtype: str = "float32"

    @property
    def per_token(self) -> bool:
        """Whether the tensor has a row per token."""
        return "tokens" in self.dims

    def shape(self, batch: int, tokens: int) -> list[int]:
        """The tensor's shape for ``batch`` items, the longest of which has ``tokens`` tokens (0 for images)."""
        sizes = {"batch": batch, "tokens": tokens}
        return [sizes[each] if isinstance(each, str) else each for each in self.dims]


@dataclass(frozen=True)
class TextInput:
    """The tokenization of texts, and the limits on their length."""

    max_length: int  # tokens of one sequence, special tokens included; longer texts are truncated
    pad_id: int
    vocabulary: int  # rows of the embedding table
    max_chars: int  # of one text
    max_total_chars: int  # of a request's texts together
    mask_token: str = ""  # fill-mask only
    unknown_id: int = -1  # id of the unknown token ([UNK]); -1: there is none


@dataclass(frozen=True)
class ImageInput:
    """The preparation of images, and the limit on their pixels.

    ``preparation`` names a function of handlers/image.py and its arguments, ``{"kind": "photo", "resize": 232,
    "crop": 224}``. ``mean`` and ``std`` are per channel, for pixels in 0..1. ``reduce``: large JPEG files may be
    decoded at a half, a quarter or an eighth of their size. The build sets it if a measurement gives the same answers.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: dict[str, Any]
    max_pixels: int  # of one image, and of a request's images together
    reduce: bool = False


@dataclass(frozen=True)
class Settings:
    """The whole section. ``inputs`` and ``outputs`` are in the model's order.

    ``head`` describes the eager model (handlers/architectures.py). ``parameters`` has the defaults of a request's
    options, such as ``top_k``. A task's labels are in the archive's labels.json.
    """

    model: str
    variant: str
    task: str
    device: str  # "cpu" or "gpu"
    runtime: str  # a key of handlers.runtimes.RUNTIMES
    weights: str  # their source, for people
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    random_weights: bool = False
    threads: int = 0  # intra-op threads of a worker; 0: all cores that it may run on
    max_items: int = 64  # of one request
    head: dict[str, Any] = field(default_factory=dict)
    text: TextInput | None = None
    image: ImageInput | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    example: dict[str, Any] = field(default_factory=dict)  # a request that the archive answers
    built_with: dict[str, str] = field(default_factory=dict)
    # The steps of a variant set the following.
    precision: str = "fp32"
    freeze: bool = False  # torch.jit.freeze and optimize_for_inference at load
    compiled_for: dict[str, Any] = field(default_factory=dict)  # a compiled package's requirements on the machine
    lean: dict[str, Any] = field(default_factory=dict)  # the spec that handlers.lean.build takes
    buckets: dict[str, Any] = field(default_factory=dict)  # batch sizes and lengths with a CUDA graph
    decode_on_gpu: bool = False

    @classmethod
    def read(cls, section: Mapping[str, Any] | None, where: str = "model-config.yaml") -> Settings:
        """The record of a parsed section. Raises ArchiveError for a missing section, a missing or an unknown key."""
        if not section:
            raise ArchiveError(f"{where} has no 'archive' section; run: make archive")
        found: Settings = _record(cls, section, where)
        return found

    @property
    def text_input(self) -> TextInput:
        """``text``, for a text model."""
        assert self.text is not None, f"{self.model} takes no texts"
        return self.text

    @property
    def image_input(self) -> ImageInput:
        """``image``, for an image model."""
        assert self.image is not None, f"{self.model} takes no images"
        return self.image

    def section(self) -> dict[str, Any]:
        """The record as plain YAML values."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


_NESTED = {"text": TextInput, "image": ImageInput}


def _record(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    known = {each.name: each for each in fields(kind)}
    unknown = sorted(set(values) - set(known))
    missing = sorted(
        name
        for name, each in known.items()
        if name not in values and each.default is MISSING and each.default_factory is MISSING
    )
    if unknown or missing:
        what = f"unknown keys: {', '.join(unknown)}" if unknown else f"missing keys: {', '.join(missing)}"
        raise ArchiveError(f"{where} was written by another version of this project ({what}); run: make archive")
    return kind(**{name: _value(name, value, where) for name, value in values.items()})


def _value(name: str, value: Any, where: str) -> Any:
    if name in ("inputs", "outputs"):
        return tuple(_record(TensorSpec, each, where) for each in value)
    if name in _NESTED and value is not None:
        return _record(_NESTED[name], value, where)
    return tuple(value) if name in ("dims", "mean", "std") else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
