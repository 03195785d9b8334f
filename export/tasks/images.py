"""Code that the references of image tasks share: the library's own transforms and network."""

from __future__ import annotations

import io
from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Request


def photograph_cases(checkpoint: Checkpoint) -> list[Request]:
    """The images of the parity check: photographs, or digits for the digits model."""
    if checkpoint.image_input.preparation["kind"] == "digit":
        from export.digits import split

        return [Request(body, "image/png") for body in split()[2][:32]]
    return [Request(body, "application/octet-stream") for body in cases.photographs()]


def library_outputs(checkpoint: Checkpoint, bodies: list[bytes], batch: int = 1) -> Any:
    """float32 [images, width] for each ``batch`` of image files, computed by the checkpoint's own library."""
    import torch

    network, transform = library_model(checkpoint)
    batches = [bodies[start : start + batch] for start in range(0, len(bodies), batch)]
    with torch.inference_mode():
        return [network(torch.stack([transform(_open(body)) for body in each])).numpy() for each in batches]


def library_model(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """(network, transform) as the library's users load them. The transform takes a PIL image, RGB. The network returns
    logits, or features for image-embedding."""
    makers = {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}
    network, transform = makers[checkpoint.head["library"]](checkpoint)
    if checkpoint.image_input.preparation["kind"] == "digit":
        transform = _digit_transform(checkpoint)
    return network, transform


def _torchvision(checkpoint: Checkpoint) -> tuple[Any, Any]:
    from torch import nn
    from torchvision.models import get_model
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    head, image = checkpoint.head, checkpoint.image_input
    network = get_model(head["architecture"], weights=None, num_classes=head["classes"])
    network.load_state_dict(_state(checkpoint))
    if head["features"]:
        last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
        network.set_submodule(last, nn.Identity())
    if image.preparation["kind"] == "digit":
        return network.eval(), None
    transform = ImageClassification(
        crop_size=image.preparation["crop"], resize_size=image.preparation["resize"], mean=image.mean, std=image.std,
        interpolation=InterpolationMode(image.preparation["interpolation"]),
    )  # fmt: skip
    return network.eval(), transform


def _timm(checkpoint: Checkpoint) -> tuple[Any, Any]:
    import timm

    head, source = checkpoint.head, checkpoint.source
    folder = source.is_dir() and (source / "config.json").is_file()
    name = f"local-dir:{source}" if folder else head["architecture"]
    network: Any = timm.create_model(name, pretrained=False, num_classes=head["classes"])
    network.load_state_dict(_state(checkpoint))
    if head["features"]:
        network.reset_classifier(0)
    data = timm.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg)
    return network.eval(), timm.data.create_transform(**data, is_training=False)


def _transformers(checkpoint: Checkpoint) -> tuple[Any, Any]:
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    arguments = {"local_files_only": True}
    processor = AutoImageProcessor.from_pretrained(checkpoint.source, backend="pil", **arguments)
    network = AutoModelForImageClassification.from_pretrained(checkpoint.source, **arguments).float().eval()

    def transform(picture: Any) -> Any:
        return processor(picture, return_tensors="pt")["pixel_values"][0]

    if not checkpoint.head["features"]:
        return lambda images: network(pixel_values=images).logits, transform
    captured: list[Any] = []
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))

    def features(images: Any) -> Any:
        captured.clear()
        network(pixel_values=images)
        return captured[-1]

    return features, transform


def _state(checkpoint: Checkpoint) -> Any:
    """The weights of a torchvision or timm network, from the user's file if there is one."""
    from export.images.state import read_state

    source = checkpoint.source
    return read_state(source if source.is_file() else checkpoint.directory / "model.safetensors")


def _digit_transform(checkpoint: Checkpoint) -> Any:
    """The preparation of the digits model's training, since no library defines one for it."""
    import torch

    from handlers.image import prepare

    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (checkpoint.image_input.mean, checkpoint.image_input.std))

    def transform(picture: Any) -> Any:
        pixels = torch.from_numpy(prepare(picture, checkpoint.image_input.preparation)).permute(2, 0, 1)
        return (pixels.float() / 255 - mean) / std

    return transform


def _open(body: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(body)).convert("RGB")
