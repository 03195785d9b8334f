"""What references of image tasks share: the library's own transforms and network, one image at a time."""

from __future__ import annotations

import io
from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Request


def photograph_cases(checkpoint: Checkpoint) -> list[Request]:
    """The images that parity is measured on: photographs, or drawings for a model that reads those."""
    if checkpoint.image.preparation["kind"] == "digit":
        from export.digits import split

        return [Request(body, "image/png") for body in split()[2][:32]]
    return [Request(body, "application/octet-stream") for body in cases.photographs()]


def library_outputs(checkpoint: Checkpoint, bodies: list[bytes]) -> Any:
    """float32 [1, width] for each image file, by the library that the checkpoint is from."""
    import torch

    network, transform = library_model(checkpoint)
    with torch.inference_mode():
        return [network(transform(_open(body)).unsqueeze(0)).numpy() for body in bodies]


def library_model(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """(network, transform) as the library's users have them; the transform takes a PIL image, RGB."""
    from safetensors.torch import load_file
    from torchvision.models import get_model
    from torchvision.transforms._presets import ImageClassification

    head, image = checkpoint.head, checkpoint.image
    network = get_model(head["architecture"], weights=None, num_classes=head["classes"])
    network.load_state_dict(load_file(checkpoint.source / "model.safetensors"))
    if image.preparation["kind"] == "digit":
        return network.eval(), _digit_transform(checkpoint)
    transform = ImageClassification(
        crop_size=image.preparation["crop"], resize_size=image.preparation["resize"], mean=image.mean, std=image.std
    )
    return network.eval(), transform


def _digit_transform(checkpoint: Checkpoint) -> Any:
    """The preparation that the digits model was trained with: it has no other definition."""
    import torch

    from handlers.image import prepare

    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (checkpoint.image.mean, checkpoint.image.std))

    def transform(picture: Any) -> Any:
        pixels = torch.from_numpy(prepare(picture, checkpoint.image.preparation)).permute(2, 0, 1)
        return (pixels.float() / 255 - mean) / std

    return transform


def _open(body: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(body)).convert("RGB")
