"""Converts transformers' image processors to a preparation of handlers/image.py. A setting without an equivalent is an
error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.errors import CheckpointError
from export.images.record import Pixels

# The processors that only resize, crop, rescale and normalise. ConvNext's has its own rule for the size.
STANDARD = ("BitImageProcessor", "CLIPImageProcessor", "ConvNextImageProcessor", "DeiTImageProcessor",
            "MobileNetV1ImageProcessor", "SiglipImageProcessor", "ViTImageProcessor")  # fmt: skip
UNUSED = ("do_pad", "do_flip_channel_order", "do_grayscale", "do_thumbnail")  # settings that must be off
WARPED = 384  # ConvNext: from this size on, images are scaled to a square and not cropped


def processor_pixels(folder: Path) -> Pixels:
    """The preparation by the image processor of a transformers folder, with its Pillow backend (``backend="pil"``). The
    torchvision backend rounds differently. Raises CheckpointError for unsupported settings."""
    processor = _load(folder)
    name = type(processor).__name__.removesuffix("Fast")
    if name not in STANDARD:
        raise CheckpointError(f"{folder} has the processor {name}; supported are {', '.join(STANDARD)}.")
    if on := [setting for setting in UNUSED if getattr(processor, setting, None)]:
        raise CheckpointError(f"The processor of {folder} has {on[0]} set, which is not supported.")
    resize, crop = _sizes(processor, name, folder)
    height, width = crop if isinstance(crop, list) else (crop, crop)
    mean, std = _normalisation(processor)
    preparation = {
        "kind": "photo",
        "resize": resize,
        "crop": crop,
        "interpolation": _filter(processor),
        "corner": "floor",
    }
    return Pixels(height, width, mean, std, preparation)


def _load(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    if not (folder / "preprocessor_config.json").is_file():
        raise CheckpointError(
            f"{folder} has no preprocessor_config.json, which says how images are prepared; save the processor with "
            "processor.save_pretrained(folder)."
        )
    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        detail = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"The image processor of {folder} cannot be loaded: {detail}") from None


def _sizes(processor: Any, name: str, folder: Path) -> tuple[int | list[int], int | list[int]]:
    """(resize, crop) of the preparation."""
    size = {key: value for key, value in dict(processor.size or {}).items() if value}
    if not processor.do_resize or set(size) not in ({"height", "width"}, {"shortest_edge"}):
        what = f"the size {size}" if processor.do_resize else "do_resize off"
        raise CheckpointError(
            f"The processor of {folder} has {what}; supported are height and width, or shortest_edge, with do_resize."
        )
    if name == "ConvNextImageProcessor":
        return _convnext(size, processor, folder)
    resize = size.get("shortest_edge") or [size["height"], size["width"]]
    if processor.do_center_crop:
        crop = dict(processor.crop_size)
        height, width = crop["height"], crop["width"]
        return resize, height if height == width else [height, width]
    if isinstance(resize, int):
        raise CheckpointError(
            f"The processor of {folder} resizes the shortest edge and crops nothing, so that images differ in size; "
            "set do_center_crop and crop_size."
        )
    return resize, resize


def _convnext(size: dict[str, int], processor: Any, folder: Path) -> tuple[int | list[int], int | list[int]]:
    """ConvNextImageProcessor.resize: below 384 the shorter side becomes size / crop_pct and a square is cropped."""
    if "shortest_edge" not in size or processor.do_center_crop:
        raise CheckpointError(
            f"The processor of {folder} is a ConvNextImageProcessor with a size other than shortest_edge or with "
            "do_center_crop, which is not supported."
        )
    edge = size["shortest_edge"]
    return ([edge, edge], [edge, edge]) if edge >= WARPED else (int(edge / processor.crop_pct), edge)


def _filter(processor: Any) -> str:
    from PIL.Image import Resampling

    return Resampling(2 if processor.resample is None else processor.resample).name.lower()


def _normalisation(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of pixels in 0..1: (factor * value - mean) / std = (value / 255 - mean / k) / (std / k), where k is
    255 * factor."""
    k = 255 * (processor.rescale_factor if processor.do_rescale else 1.0)
    mean = processor.image_mean if processor.do_normalize else (0.0,) * 3
    std = processor.image_std if processor.do_normalize else (1.0,) * 3
    # Exact for the usual factor: 255 * (1 / 255) is 1, apart from rounding.
    k = round(k, 12)
    return tuple(float(each) / k for each in mean), tuple(float(each) / k for each in std)
