"""Small image checkpoints that the libraries themselves make, each with the library's own answer to a photograph."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SEED = 7
LABELS = ("ant", "bee", "cat", "dog", "eel")


@dataclass(frozen=True)
class Made:
    """A checkpoint, the user's options for it, and a function from the bytes of an image to logits [1, classes]."""

    source: Path
    architecture: str | None
    labels: Path | None
    answer: Callable[[bytes], Tensor]
    network: nn.Module


def randomise(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with random running statistics, so that answers differ between images."""
    torch.manual_seed(SEED)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def label_file(folder: Path) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


def torchvision_file(folder: Path) -> Made:
    """A ResNet-18 of 5 classes as a training script saves it: under "state_dict", through DataParallel."""
    from torchvision.models import ResNet18_Weights, resnet18

    torch.manual_seed(SEED)
    network = randomise(resnet18(weights=None, num_classes=5))
    torch.save({"epoch": 3, "state_dict": nn.DataParallel(network).state_dict()}, folder / "weights.pth")
    transform = ResNet18_Weights.DEFAULT.transforms()
    return Made(
        folder / "weights.pth",
        "resnet18",
        label_file(folder),
        lambda data: network(transform(opened(data))[None]),
        network,
    )


def timm_file(folder: Path, architecture: str = "test_resnet") -> Made:
    from safetensors.torch import save_file
    from timm import create_model

    torch.manual_seed(SEED)
    network = randomise(create_model(architecture, num_classes=5))
    save_file(network.state_dict(), folder / "weights.safetensors")
    return Made(
        folder / "weights.safetensors", f"timm:{architecture}", label_file(folder), timm_answer(network), network
    )


def timm_answer(network: nn.Module) -> Callable[[bytes], Tensor]:
    from timm.data import create_transform, resolve_data_config

    transform = create_transform(**resolve_data_config(model=network))
    return lambda data: network(transform(opened(data))[None])


def timm_folder(folder: Path) -> Made:
    """A ViT for 96 px that timm saved for the hub, with labels and an argument of its architecture."""
    from timm import create_model
    from timm.models import save_for_hf

    torch.manual_seed(SEED)
    network = create_model(
        "test_vit", num_classes=5, img_size=96, pretrained_cfg_overlay={"crop_mode": "squash"}
    ).eval()
    config = {"label_names": list(LABELS)}
    save_for_hf(network, folder, model_config=config, safe_serialization=True)
    saved = json.loads((folder / "config.json").read_text())
    network.pretrained_cfg = {**network.pretrained_cfg, **saved["pretrained_cfg"]}
    return Made(folder, None, None, timm_answer(network), network)


def transformers_folder(folder: Path, kind: str) -> Made:
    """A small ``ResNet``, ``ViT`` or ``ConvNext`` for image classification, saved with its processor."""
    import transformers

    settings = {
        "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "ViT": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
                "image_size": 64, "patch_size": 16},
        "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    }  # fmt: skip
    processors = {
        "ResNet": transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.9),
        "ViT": transformers.ViTImageProcessor(size={"height": 64, "width": 64}),
        "ConvNext": transformers.ConvNextImageProcessor(size={"shortest_edge": 384}),
    }
    torch.manual_seed(SEED)
    names = dict(enumerate(LABELS))
    config = getattr(transformers, f"{kind}Config")(**settings[kind], id2label=names)
    network = randomise(getattr(transformers, f"{kind}ForImageClassification")(config))
    network.save_pretrained(folder)
    processors[kind].save_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")

    def answer(data: bytes) -> Tensor:
        return network(**processor(opened(data), return_tensors="pt")).logits

    return Made(folder, None, None, answer, network)


MADE: dict[str, Callable[[Path], Made]] = {
    "torchvision file": torchvision_file,
    "timm file": timm_file,
    "timm folder": timm_folder,
    "transformers ResNet": lambda folder: transformers_folder(folder, "ResNet"),
    "transformers ViT": lambda folder: transformers_folder(folder, "ViT"),
    "transformers ConvNext": lambda folder: transformers_folder(folder, "ConvNext"),
}


def images_of(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 [H, W, 3] as the network's input, float [1, 3, H, W]."""
    values = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    return (values - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
