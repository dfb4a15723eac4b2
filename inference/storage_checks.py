"""Whether what was read of a saved posterior fits together, asked once when it is loaded.

A folder that was edited, or put together from two, would otherwise fail anywhere, or answer with other numbers.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ..models import Model
from .draws.kept_edges import DRAWS, EDGES
from .draws.moments import EdgeMoments

NUMBERS = "fiub"  # kinds of numpy's types
KEPT_EDGES = (EDGES, DRAWS)
# what engines keep beside draws and diagnostics read; other arrays, of whoever saved them, may be text
KEPT = (
    *("lp", "lq", "khat_target", "restart_agreement", "restarts_kept", "restart_objective", "walkers"),
    *("chain_inclusion", "differs"),
    *KEPT_EDGES,
)


def check_names(manifest: Mapping[str, Any]) -> None:
    """Names are lists of text.

    Raises
    ------
    TypeError
        Which are not.
    """
    lists = {f"knowledge/{name}": manifest["knowledge"][name] for name in ("tfs", "targets", "sources")}
    lists |= {f"model/state/{name}": value for name, value in manifest["model"]["state"].items()}
    for place, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"{place} is no list of names")


def check_model(model: Model) -> None:
    """Every tensor that its class declares is there.

    Raises
    ------
    TypeError
        Which is not.
    """
    for base in type(model).__mro__:
        for name, kind in inspect.get_annotations(base).items():
            if kind is Tensor and not hasattr(model, name):
                raise TypeError(f"the model lacks its {name}")


def check_numbers(arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays hold numbers.

    Raises
    ------
    TypeError
        Which does not.
    """
    for name, value in arrays.items():
        if value.dtype.kind not in NUMBERS:
            raise TypeError(f"{name} holds {value.dtype} and no numbers")


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """What engines keep for the diagnostics are arrays of numbers.

    Raises
    ------
    TypeError
        Which is not.
    """
    for name in KEPT:
        value = attributes.get(name)
        if value is not None and np.asarray(value).dtype.kind not in NUMBERS:
            raise TypeError(f"{name} holds {np.asarray(value).dtype} and no numbers")
    place, draws = (attributes.get(name) for name in KEPT_EDGES)
    if (place is None) is not (draws is None):
        raise TypeError(f"only one of {EDGES} and {DRAWS} is there")
    if place is None or draws is None:
        return
    if np.ndim(place) != 1 or np.ndim(draws) != 3 or len(place) != np.shape(draws)[2]:
        raise TypeError(f"{EDGES} has shape {np.shape(place)} and {DRAWS} {np.shape(draws)}")
    if (np.diff(place) <= 0).any():
        raise TypeError(f"{EDGES} are not in order")


def check_draws(model: Model, draws: Mapping[str, np.ndarray], moments: Mapping[str, EdgeMoments]) -> None:
    """Draws are ``(chain, draw, *dims)`` of as many chains, with the axes of the model; moments likewise.

    Raises
    ------
    TypeError
        Which are not.
    """
    coords, dims = model.coords, model.dims
    chains = {value.shape[0] for value in draws.values() if value.ndim > 1}
    for site, value in draws.items():
        if value.ndim < 2 or len(chains) > 1:
            raise TypeError(f"the draws of {site} have shape {value.shape}, expected (chain, draw, ...), chains alike")
        axes = dims.get(site)
        if axes is not None and all(axis in coords for axis in axes):
            expected = tuple(len(coords[axis]) for axis in axes)
            if value.shape[2:] != expected:
                raise TypeError(f"the draws of {site} have shape {value.shape[2:]}, and the model says {expected}")
    for site, found in moments.items():
        shapes = {table.shape for table in vars(found).values()}
        if len(shapes) > 1:
            raise TypeError(f"the moments of {site} have shapes {sorted(shapes)}")
