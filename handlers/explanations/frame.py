"""The part of an upright image that a model sees. Clients need it to draw attributions over the original image."""

from __future__ import annotations

from typing import Any

from PIL import Image

from handlers.drawing import digit_frame
from handlers.image import Side, both, placement

SIDES = ("left", "top", "right", "bottom")


def frame(image: Image.Image, preparation: dict[str, Any]) -> dict[str, float]:
    """The sides of that part, as shares of the upright image's width and height. Values below 0 or above 1 lie outside
    the image, where the model sees black. ``preparation`` is the argument of handlers.image.prepare."""
    arguments = {key: value for key, value in preparation.items() if key != "kind"}
    found = _photo(image.size, **arguments) if preparation["kind"] == "photo" else digit_frame(image, **arguments)
    return dict(zip(SIDES, found, strict=True))


def _photo(
    size: tuple[int, int], resize: Side, crop: Side | None = None, corner: str = "round", **other: Any
) -> tuple[float, float, float, float]:
    place = placement(size, resize, crop, corner)
    height, width = (place.height, place.width) if crop is None else both(crop)
    return (
        place.left / place.width,
        place.top / place.height,
        (place.left + width) / place.width,
        (place.top + height) / place.height,
    )
