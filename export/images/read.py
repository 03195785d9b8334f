"""Reads an image checkpoint into one record: a weights file with its architecture's name, or a folder of timm's or of
transformers' layout. ``write.py`` loads the weights into a network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.errors import CheckpointError
from export.images import by_name, processor
from export.images.labels import by_index, choose_labels
from export.images.record import ImageModel
from export.images.state import check_fit, read_state

TIMM_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def read_image_model(
    source: Path, architecture: str | None = None, labels: Path | None = None, labelled: bool = True
) -> ImageModel:
    """The record of the checkpoint at ``source``.

    A weights file needs its ``architecture``, a classifier of torchvision or timm (by_name.library_of). Its preparation
    is that of the library's published weights for this architecture. A folder has its own architecture and preparation.
    ``labels`` is a file with the classes' names. Without it, the labels are the checkpoint's own, or those of the
    published weights if they have the same number of classes. With ``labelled`` False, for a task without class names,
    a checkpoint may have no labels. Raises CheckpointError.
    """
    if not source.exists():
        raise CheckpointError(f"There is no checkpoint at {source}; give a weights file or a folder that exists.")
    if source.is_file():
        return _from_file(source, architecture, labels, labelled)
    if architecture:
        raise CheckpointError(f"{source} is a folder, whose config.json names the architecture: leave out ARCH=.")
    config = folder_config(source)
    return (_from_timm if layout(config, source) == "timm" else _from_transformers)(source, config, labels, labelled)


def folder_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder. Raises CheckpointError."""
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{folder} has no readable config.json ({type(error).__name__}); give a folder of timm or transformers, or "
            "a weights file with ARCH=."
        ) from None


def layout(config: dict[str, Any], folder: Path) -> str:
    """"timm" or "transformers": the library whose layout a config.json has. Raises CheckpointError."""
    if isinstance(config.get("architecture"), str):
        return "timm"
    if config.get("architectures"):
        return "transformers"
    raise CheckpointError(f"{folder}/config.json names no architecture, as those of timm and transformers do.")


def weights_file(folder: Path) -> Path:
    """The weights of a folder of timm's layout. Raises CheckpointError."""
    for name in TIMM_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder} has no weights; expected {' or '.join(TIMM_WEIGHTS)}.")


def _from_file(source: Path, architecture: str | None, labels: Path | None, labelled: bool) -> ImageModel:
    if not architecture:
        raise CheckpointError(f"{source} does not say what network it is of; name it: ARCH=resnet34 or ARCH=timm:NAME.")
    library, name = by_name.library_of(architecture)
    classes, network = _fitting(source, library, name)
    if library == "torchvision":
        entry = by_name.published(name, network, source.name)
        pixels, known = by_name.torchvision_pixels(entry), tuple(entry.meta["categories"])
    else:
        pixels, known = by_name.timm_pixels(network.pretrained_cfg, name), _imagenet(network.pretrained_cfg)
    chosen = choose_labels(labels, known if len(known) == classes else (), classes, source, labelled)
    return ImageModel(**vars(pixels), library=library, architecture=name, classes=classes, labels=chosen)


def _fitting(source: Path, library: str, name: str, folder: Path | None = None) -> tuple[int, Any]:
    """(the number of classes of a weights file, a network with this number). Raises CheckpointError if they do not
    fit."""
    state = read_state(source)
    head = by_name.head_of(library, by_name.shapes(library, name, directory=folder))
    if head not in state:
        raise CheckpointError(f"{source} lacks {head}, the final layer of {name}; name the architecture it is of.")
    classes = state[head].shape[0]
    network = by_name.shapes(library, name, classes, folder)
    check_fit(state, network, source, name)
    return classes, network


def _imagenet(config: dict[str, Any]) -> tuple[str, ...]:
    """ImageNet's 1000 classes if timm publishes the architecture with 1000 classes; else none. timm has the classes in
    torchvision's order."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.DEFAULT.meta["categories"]) if config.get("num_classes") == 1000 else ()


def _from_timm(folder: Path, config: dict[str, Any], labels: Path | None, labelled: bool) -> ImageModel:
    library, name = by_name.library_of(f"timm:{config['architecture']}")
    weights = weights_file(folder)
    classes, network = _fitting(weights, library, name, folder)
    stated = config.get("num_classes", classes)
    if stated != classes:
        raise CheckpointError(f"{folder}/config.json says {stated} classes and the weights have {classes}; correct it.")
    known = _timm_labels(config, folder) or (_imagenet(network.pretrained_cfg) if classes == 1000 else ())
    chosen = choose_labels(labels, known, classes, folder, labelled)
    pixels = by_name.timm_pixels(network.pretrained_cfg, name)
    return ImageModel(**vars(pixels), library=library, architecture=name, classes=classes, labels=chosen)


def _timm_labels(config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """The labels. A name that has a description is replaced by it, since many names are only WordNet ids."""
    within = config.get("pretrained_cfg") or {}
    names = config.get("label_names") or within.get("label_names") or ()
    described = config.get("label_descriptions") or within.get("label_descriptions") or {}
    ordered = by_index(names, folder) if isinstance(names, dict) else tuple(names)
    return tuple(str(described.get(name, name)) for name in ordered)


def _from_transformers(folder: Path, config: dict[str, Any], labels: Path | None, labelled: bool) -> ImageModel:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

    architecture, kind = str(config["architectures"][0]), str(config.get("model_type"))
    known = CLASSIFIERS.get(kind, ())
    if architecture not in ((known,) if isinstance(known, str) else known):
        raise CheckpointError(
            f"{folder} is of {architecture}, which is no image classifier of transformers; expected one such as "
            "ResNetForImageClassification."
        )
    loaded = AutoConfig.from_pretrained(folder, local_files_only=True)
    if loaded.problem_type not in (None, "single_label_classification"):
        raise CheckpointError(
            f"{folder} is for {loaded.problem_type}; only classifiers of one label per image are supported."
        )
    named = by_index(loaded.id2label, folder)
    chosen = choose_labels(labels, named, loaded.num_labels, folder, labelled)
    return ImageModel(
        **vars(processor.processor_pixels(folder)),
        library="transformers",
        architecture=architecture,
        classes=loaded.num_labels,
        labels=chosen,
    )
