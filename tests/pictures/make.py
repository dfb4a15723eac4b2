"""Stored pictures of `pyrogrn.pl`, one of each function alone and one into axes; made by ``make baselines``.

A picture that moves by more than `test_pictures.py` allows fails; look at it, and if it is meant, make them again.
"""

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from picture_cases import CASES  # noqa: E402

DPI = 55
COLOURS = 48  # of a stored picture, which is a few kB


def alone(name: str) -> Axes:
    """The picture as a figure of its own, which is not pyplot's."""
    kept = sys.modules.pop("matplotlib.pyplot", None)
    try:
        return CASES[name](None)
    finally:
        if kept is not None:
            sys.modules["matplotlib.pyplot"] = kept


def within(name: str) -> Axes:
    """The picture in axes of the size of a column."""
    return CASES[name](Figure(figsize=(4.2, 3.2), layout="constrained").subplots())


WAYS = {"alone": alone, "axes": within}


def pixels(ax: Axes) -> np.ndarray:
    """``(row, column, 3)`` of the figure that the axes are in."""
    figure = ax.figure
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def stored(name: str, way: str) -> Path:
    return HERE / f"{name}_{way}.png"


def packed(picture: np.ndarray) -> bytes:
    """As a png of few colours."""
    stream = io.BytesIO()
    few = Image.fromarray(picture).quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(stream, format="png", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    for name in CASES:
        for way, draw in WAYS.items():
            stored(name, way).write_bytes(packed(pixels(draw(name))))
    print(f"{len(list(HERE.glob('*.png')))} pictures in {HERE}")
