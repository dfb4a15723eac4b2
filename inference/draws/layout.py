"""How the values of sites are laid out: among the plates of a model, and by axis."""

from collections.abc import Mapping

from torch import Tensor

from ...models import Model


def padded(model: Model, name: str, value: Tensor) -> Tensor:
    """``(draw, *dims)`` → ``(draw, *plates, *event)`` with every plate dimension of the model."""
    where = model.plate_of(name)
    plates, event = [1] * model.max_plate_nesting, []
    for dim, size in zip(model.dims[name], value.shape[1:], strict=True):
        if dim in where:
            plates[where[dim]] = size
        else:
            event.append(size)
    return value.reshape(len(value), *plates, *event)


def laid_out(model: Model, sites: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All sites of `padded`."""
    return {name: padded(model, name, value) for name, value in sites.items()}


def has_edges(model: Model) -> bool:
    """Whether W is a network of regulators and targets; else it has the loadings of programs."""
    return model.axes == ("tf", "target")


def is_edge_site(model: Model, name: str) -> bool:
    """Whether a site has a value for every edge, or loading."""
    return set(model.axes) <= set(model.dims[name])
