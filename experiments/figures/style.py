"""What all figures share: colours, style and labels.

Each figure is a function of plain tables and arrays that returns a ``matplotlib.figure.Figure``.

No pyplot and no global state: a figure that is not kept is gone. Backgrounds are white, so that figures can be read on
a dark page and printed. Colours are those of Okabe & Ito, distinguishable with any colour vision.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

ACTIVATION, REPRESSION = "#0072B2", "#D55E00"
INK, GREY, PALE = "#1f2933", "#7b8794", "#e4e7eb"
KNOWN = "#009E73"  # prior knowledge, and the truth
CHAINS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#000000")
MAX_POINTS = 50_000  # of a scatter plot: more cannot be seen, and take long
WEIGHT_UNIT = "sd of target per sd of regulator"
STYLE = {
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 8.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}

P = ParamSpec("P")
T = TypeVar("T")
MAKER: ContextVar[Callable[..., Figure]] = ContextVar("MAKER", default=Figure)
"""What makes a new figure: `Figure`, or of a notebook pyplot, which shows it."""


def new_figure(**options: Any) -> Figure:
    """A figure with ``figsize`` and ``layout``, by `MAKER`."""
    return MAKER.get()(**options)


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw under `STYLE`, whatever the settings of the caller, which stay as they were."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return wrapper


def counted_in_powers(ax: Axes) -> None:
    """A logarithmic y axis of numbers of things, written out: powers of ten are mathematics, whose parser takes longer
    to make than most of a picture."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.yaxis.set_minor_locator(NullLocator())


def sign_colours(weight: np.ndarray) -> list[str]:
    """Blue for activation, vermilion for repression."""
    return [ACTIVATION if w >= 0 else REPRESSION for w in weight]


def edge_label(source: str, target: str, weight: float) -> str:
    """``A → B`` for activation, ``A ⊣ B`` for repression."""
    return f"{shortened(source)} {'→' if weight >= 0 else '⊣'} {shortened(target)}"


def shortened(name: str, limit: int = 18) -> str:
    """A name that fits a label; ``$`` would start mathematics."""
    name = name if len(name) <= limit else name[: limit - 1] + "…"
    name = "".join(letter if letter.isprintable() else "·" for letter in name)  # no font has a line break
    return name.replace("$", r"\$")


def told_apart(names: Sequence[str], limit: int = 18) -> list[str]:
    """Names that fit labels and stay different: where a cut end makes some alike, the middle that they share goes.

    Examples
    --------
    >>> told_apart(["HALLMARK_INTERFERON_ALPHA", "HALLMARK_INTERFERON_GAMMA", "TNF"], 18)
    ['HALLMA…ALPHA', 'HALLMA…GAMMA', 'TNF']
    """
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        alike.setdefault(shortened(name, limit), []).append(name)
    labels = {}
    for label, group in alike.items():
        differ = (len(set(letters)) > 1 for letters in zip(*group, strict=False))
        same = next((i for i, there in enumerate(differ) if there), min(map(len, group)))
        for name in group:
            start = 1 + max(name.rfind(mark, 0, same) for mark in "_ -.")  # of the word in which they differ
            whole = len(group) == 1 or start <= limit // 3
            labels[name] = label if whole else shortened(f"{name[: limit // 3]}…{name[start:]}", limit)
    return [labels[name] for name in names]


def nothing_to_draw(ax: Axes, text: str) -> None:
    """Say in the axes why there is nothing to draw."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color=GREY)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
