"""Every function of `pyrogrn.pl` against its stored picture, and colours as eyes without one kind of cone see them."""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from pyrogrn import pl
from pyrogrn.experiments.figures import panels, style
from pyrogrn.experiments.figures.embedding import DIVERGING

sys.path.insert(0, str(Path(__file__).parent / "pictures"))
from make import WAYS, pixels, stored
from picture_cases import CASES, edges

BLOCK = 8  # pixels a side, over which letters of another version of a font average out
MOST_RMS, MOST_BLOCK = 2.5, 40.0  # of 255: of all blocks, of the one that differs most


def differs(picture: np.ndarray, path: Path) -> str:
    """In words; nothing where the pictures agree."""
    kept = np.asarray(Image.open(path).convert("RGB"))
    if picture.shape != kept.shape:
        return f"{picture.shape[1::-1]} pixels in place of {kept.shape[1::-1]}"
    rows, columns = (side // BLOCK * BLOCK for side in picture.shape[:2])
    gap = picture[:rows, :columns].astype(float) - kept[:rows, :columns]
    blocks = gap.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK, 3).mean((1, 3))
    rms, most = float(np.sqrt((blocks**2).mean())), float(np.abs(blocks).max())
    return f"rms {rms:.2f}, largest {most:.1f}" if rms > MOST_RMS or most > MOST_BLOCK else ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_pictures_are_as_they_were(name, way):
    words = differs(pixels(WAYS[way](name)), stored(name, way))
    assert not words, f"{stored(name, way)}: {words}; look at it, and if it is meant: make baselines"


def test_every_picture_function_is_stored():
    assert set(CASES) == set(pl.__all__) - {"canvas"}
    assert sum(path.stat().st_size for path in stored("edges", "alone").parent.glob("*.png")) < 250_000


def test_a_picture_that_moves_is_seen():
    kept = stored("edges", "alone")
    table = edges()
    moved = table.assign(weight=table["weight"].where(table.index != 3, 0.6))
    for changed in (moved, table.assign(prior=0.0), table.assign(upper=table["upper"] + 0.2), table.head(7)):
        assert differs(pixels(pl.edges(changed)), kept)
    renamed = pl.edges(table)
    renamed.set_title("Another title", loc="left")
    assert differs(pixels(renamed), kept)


def test_sizes():
    for name in ("paper", "wide", "slide"):
        ax = pl.canvas(name)
        assert pl.edges(edges(), ax=ax) is ax
        pixels(ax)  # lays it out
        low, high = ax.get_tightbbox().min, ax.get_tightbbox().max
        assert (low > -1).all()
        assert (high < ax.figure.get_size_inches() * ax.figure.dpi + 1).all()
    with pytest.raises(ValueError, match="choose paper, wide, slide"):
        pl.canvas("poster")


# -- colours ----
# Machado, Oliveira & Fernandes 2009, IEEE Trans Vis Comput Graph 15:1291: what is seen without one kind of cone
BLIND = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
TOLD_APART = 15.0  # CIELAB; 2.3 is just noticed side by side
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, kind: str) -> np.ndarray:
    """CIELAB of a colour as it is seen."""
    rgb = np.asarray(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(BLIND[kind]) @ linear, 0, 1)
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ seen / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLIND)
def test_colours_that_meet_in_a_picture_are_told_apart(kind):
    meet = [
        (style.ACTIVATION, style.REPRESSION, style.KNOWN),  # signs, and what is known
        (panels.EXPORT, panels.IMPORT),
        (style.KNOWN, style.GREY),  # bars of variance
        style.CHAINS[:4],  # the chains of a fit
        tuple(DIVERGING(end) for end in (0.0, 0.5, 1.0)),
    ]
    for colours in meet:
        for one, other in combinations(colours, 2):
            assert np.linalg.norm(lab(one, kind) - lab(other, kind)) > TOLD_APART, (kind, one, other)


def test_red_and_green_would_not_do():
    assert np.linalg.norm(lab("#c0504d", "deuteranopia") - lab("#7f8a3c", "deuteranopia")) < TOLD_APART
