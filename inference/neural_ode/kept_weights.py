"""Whether what was kept of the weights of a PHOENIX, from which its draws are made again, belongs to the model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...models.phoenix import Phoenix


def expected_shapes(model: Phoenix) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays ``phoenix.KIND.NAME`` of one chain, by name."""
    sources = len(model.knowledge.sources)
    sites: dict[str, tuple[int, ...]] = {**model.weight_shapes, "upsilon": (len(model.genes),)}
    sites |= {"weight_scale": (len(model.depth.names),), "noise": ()}
    if sources:
        sites["trust"] = (sources,)
    shapes = {f"phoenix.{kind}.{name}": shape for kind in ("center", "log_spread") for name, shape in sites.items()}
    for name in model.depth.names:
        shapes[f"phoenix.mask.{name}"] = model.weight_shapes[name]
    return shapes


def check_kept_weights(model: Phoenix, attributes: Mapping[str, Any], chains: int) -> None:
    """Every array is there, holds finite numbers and has the shape that the model says, one row a chain.

    A posterior without any, put together by hand, is left to what is asked of it.

    Raises
    ------
    TypeError
        Which is not as it should be.
    """
    kept = {name: value for name, value in attributes.items() if name.startswith("phoenix.")}
    if not kept:
        return
    expected = expected_shapes(model)
    for name in model.depth.names:  # kept where there are sources
        place = f"phoenix.confidence.{name}"
        if place in kept:
            expected[place] = (len(model.knowledge.sources), *model.weight_shapes[name])
    if missing := sorted(set(expected) - set(kept)):
        raise TypeError(f"the kept weights lack {missing[0]}")
    if unknown := sorted(set(kept) - set(expected)):
        raise TypeError(f"the model has no weights {unknown[0]}")
    for name, shape in expected.items():
        value = np.asarray(kept[name])
        if value.dtype.kind not in "fiub":
            raise TypeError(f"{name} holds {value.dtype} and no numbers")
        if value.shape != (chains, *shape):
            raise TypeError(f"{name} has shape {value.shape}, expected {(chains, *shape)}")
        if not np.isfinite(value).all():
            raise TypeError(f"{name} has values that are not finite")
