"""Digits in print: fonts from PyPI packages, by family. Some families are for training, others are held out."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT = 96  # pixels of the type size

# For each family: the package, the folder in it, and the pattern of file names. Families are chosen equally often.
TRAINING = {
    "DejaVu Sans": ("matplotlib", "mpl-data/fonts/ttf", "DejaVuSans[.-]*"),
    "DejaVu Sans Mono": ("matplotlib", "mpl-data/fonts/ttf", "DejaVuSansMono*"),
    "DejaVu Serif": ("matplotlib", "mpl-data/fonts/ttf", "DejaVuSerif[.-]*"),
    "STIX": ("matplotlib", "mpl-data/fonts/ttf", "STIXGeneral*"),
    "Computer Modern": ("matplotlib", "mpl-data/fonts/ttf", "cm[brst][0-9st]*"),
    "Lato": ("font_lato", "files", "*.ttf"),
    "Source Sans": ("font_source_sans_pro", "files", "*.ttf"),
    "Source Serif": ("font_source_serif_pro", "files", "*.ttf"),
    "Amatic": ("font_amatic_sc", "files", "*.ttf"),
    "Fredoka": ("font_fredoka_one", "files", "*.ttf"),
}
HELD_OUT = {
    "Caladea": ("font_caladea", "files", "*.ttf"),
    "Hanken Grotesk": ("font_hanken_grotesk", "files", "*.otf"),
    "Intuitive": ("font_intuitive", "files", "*.ttf"),
    "Manrope": ("font_manrope", "files", "Manrope-[!V]*.ttf"),
}


@lru_cache(maxsize=32)
def faces(family: str) -> tuple[Path, ...]:
    """The font files of a family."""
    package, folder, names = {**TRAINING, **HELD_OUT}[family]
    return tuple(sorted(Path(str(files(package).joinpath(folder))).glob(names)))


@lru_cache(maxsize=128)
def _font(face: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(face), HEIGHT, layout_engine=ImageFont.Layout.BASIC)


def glyph(digit: int, face: Path) -> Image.Image:
    """``digit`` in ``face``, cropped to the ink: mode L, ink 255 on 0."""
    page = Image.new("L", (2 * HEIGHT, 2 * HEIGHT), 0)
    ImageDraw.Draw(page).text((HEIGHT // 2, HEIGHT // 4), str(digit), fill=255, font=_font(face))
    return page.crop(page.getbbox())


def typeset(digit: int, rng: np.random.Generator, held_out: bool = False) -> Image.Image:
    """``digit`` in a random face of a random family."""
    families = list(HELD_OUT if held_out else TRAINING)
    chosen = faces(families[rng.integers(len(families))])
    return glyph(digit, chosen[rng.integers(len(chosen))])
