"""Digits in print: the fonts that packages of PyPI carry, by family; some train, others are held out."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT = 96  # pixels of the type size

# By family: the files' folder in its package, and the pattern of their names. Each family counts alike.
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


@lru_cache(maxsize=2)
def _faces(held_out: bool) -> tuple[tuple[Path, ...], ...]:
    families = (HELD_OUT if held_out else TRAINING).values()
    return tuple(tuple(sorted(Path(str(files(p).joinpath(folder))).glob(names))) for p, folder, names in families)


@lru_cache(maxsize=128)
def _font(path: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), HEIGHT, layout_engine=ImageFont.Layout.BASIC)


def typeset(digit: int, rng: np.random.Generator, held_out: bool = False) -> Image.Image:
    """``digit`` in a face chosen by ``rng``, cut out: mode L, ink 255 on 0."""
    families = _faces(held_out)
    family = families[rng.integers(len(families))]
    font = _font(family[rng.integers(len(family))])
    page = Image.new("L", (2 * HEIGHT, 2 * HEIGHT), 0)
    ImageDraw.Draw(page).text((HEIGHT // 2, HEIGHT // 4), str(digit), fill=255, font=font)
    return page.crop(page.getbbox())
