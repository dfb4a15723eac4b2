r"""The sites of a guide as Pyro sees them: each in the plates that the model samples it in, with its own density.

Restarts are a plate ``restart`` to the left of all of them, at dimension ``-(max_plate_nesting + 1)``; one restart has
no such plate, and its values have the shapes that they have in the model.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ...models import Model
from ...priors.shapes import broadcast_shapes
from .sites import Site

RESTART = "restart"


def register(name: str, guide: nn.Module) -> None:
    """Put the parameters of a guide into Pyro's parameter store, where an optimiser finds them.

    Raises
    ------
    ValueError
        The store has other tensors under these names, which an optimiser would move in the place of this guide's.
    """
    pyro.module(name, guide)
    store = pyro.get_param_store()
    for own, parameter in guide.named_parameters():
        held = f"{name}$$${own}"
        if held in store and store._params[held] is not parameter:
            raise ValueError(
                f"the parameter store has {held!r} of another guide, which would be trained in the place of this "
                "one: run each under `pyro.get_param_store().scope()`, or `pyro.clear_param_store()` first; values "
                f"that you have loaded go into a guide by `pyro.module({name!r}, guide, update_module_params=True)`"
            )


@contextmanager
def restart_plate(num_restarts: int, max_plate_nesting: int) -> Iterator[None]:
    """The plate of restarts; none where there is one."""
    if num_restarts == 1:
        yield
        return
    with pyro.plate(RESTART, num_restarts, dim=-(max_plate_nesting + 1)):
        yield


Plates = Mapping[str, pyro.plate]
"""By name; each is made once in a call of a guide."""


def make_plates(sites: Sequence[Site]) -> Plates:
    """The plates of all sites, at the dimensions that they have in the model."""
    frames = {frame.name: frame for site in sites for frame in site.plates}
    return {name: pyro.plate(name, frame.size, dim=frame.dim) for name, frame in frames.items()}


@contextmanager
def placed(site: Site, plates: Plates) -> Iterator[None]:
    """Inside the plates of a site, and under the weight of its log density."""
    with ExitStack() as stack:
        for frame in site.plates:
            stack.enter_context(plates[frame.name])
        if not isinstance(site.weight, (int, float)) or site.weight != 1:
            stack.enter_context(poutine.scale(scale=site.weight))
        yield


def laid(flat: Tensor, site: Site) -> Tensor:
    """Columns of ``flat`` (restart, dimension) that are of a site: ``(restart, *plates, *event)``, or of one restart in
    the shape that the site has in the model."""
    columns = flat[:, site.start : site.stop]
    return columns.reshape(site.own_shape if len(flat) == 1 else (len(flat), *site.shape))


def columns(z: Tensor, site: Site) -> Tensor:
    """The part of a draw ``(*batch, dimension)`` of the whole vector that is of a site, in its shape in the model, or
    with plates to the left of it where ``batch`` has any."""
    shape = (
        site.own_shape if z.dim() == 1 else (*z.shape[: z.dim() - 1 - len(site.shape) + site.event_dim], *site.shape)
    )
    return z[..., site.start : site.stop].reshape(shape)


def sample_normal(site: Site, location: Tensor, scale: Tensor, plates: Plates) -> Tensor:
    """A draw of the site from a normal in unconstrained space, carried into its support."""
    loc, sd = laid(location, site), laid(scale, site)
    normal: TorchDistribution = dist.Normal(loc, sd).to_event(site.event_dim)
    # the transform keeps its last value: the density of a draw needs no inverse, which has fewer digits
    fn = dist.TransformedDistribution(normal, [site.transform.with_cache(1)])
    with placed(site, plates):
        return pyro.sample(site.name, fn)


def sample_point(site: Site, z: Tensor, plates: Plates, *, jacobian: bool) -> Tensor:
    """The site as a Delta at the unconstrained ``z``; with ``jacobian``, its log density carries −log |∂value/∂z|."""
    value = site.transform(z)
    density = value.new_zeros(value.shape[: value.dim() - site.event_dim])
    if jacobian:
        log_abs = site.transform.log_abs_det_jacobian(z, value)
        density = -log_abs.reshape(*density.shape, -1).sum(-1)
    with placed(site, plates):
        return pyro.sample(site.name, dist.Delta(value, log_density=density, event_dim=site.event_dim))


def padded_values(values: dict[str, Tensor], sites: Sequence[Site], model_dims: int) -> dict[str, Tensor]:
    """Values with every plate dimension of the model; what lies to the left of these stays there."""
    result = {}
    for site in sites:
        value = values[site.name]
        missing = model_dims + site.event_dim - value.dim()
        result[site.name] = value.reshape((1,) * max(missing, 0) + tuple(value.shape))
    return result


class ColumnNormal(TorchDistribution):
    r"""Gaussian columns :math:`N(m_g, (L_g L_g^\top)^{-1})` of a site ``(*batch, row, column)`` in plates of rows and
    columns.

    The rows of a column depend on each other, so ``log_prob`` is by the chain rule: element (t, g) has the density of
    :math:`w_{tg}` given the rows after it, :math:`\log L_{tt} - \tfrac12 (L^\top (w - m))_t^2 - \tfrac12\log 2\pi`.
    Their sum over the rows is the joint density.

    Parameters
    ----------
    mean
        ``(*batch, column, row)``.
    factor
        ``(*batch, column, row, row)`` lower Cholesky factors of the precisions.
    """

    arg_constraints = {}  # noqa: RUF012 as torch declares it
    support = constraints.real
    has_rsample = True

    def __init__(self, mean: Tensor, factor: Tensor, *, validate_args: bool | None = None) -> None:
        batch = broadcast_shapes(mean.shape, factor.shape[:-1])
        self.mean_by_column = mean.expand(batch)
        self.factor = factor.expand(*batch, batch[-1])
        shape = torch.Size((*batch[:-2], batch[-1], batch[-2]))
        super().__init__(shape, torch.Size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.mean_by_column.mT

    @property
    def variance(self) -> Tensor:
        return torch.cholesky_inverse(self.factor).diagonal(dim1=-2, dim2=-1).mT

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "ColumnNormal":
        """The same over more dimensions to the left."""
        *left, row, column = batch_shape
        factor = self.factor.expand(*left, column, row, row)
        return ColumnNormal(self.mean_by_column.expand(*left, column, row), factor, validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Reparameterised draws ``(*sample, *batch, row, column)``."""
        shape = (*sample_shape, *self.mean_by_column.shape)
        noise = torch.randn(shape, dtype=self.factor.dtype, device=self.factor.device)
        step = torch.linalg.solve_triangular(self.factor.mT.expand(*shape, shape[-1]), noise[..., None], upper=True)
        return (self.mean_by_column + step[..., 0]).mT

    def log_prob(self, value: Tensor) -> Tensor:
        """``(*batch, row, column)``; the sum over rows is the log density of a column."""
        away = value.mT - self.mean_by_column
        noise = (self.factor.mT @ away[..., None])[..., 0]
        log_scale = self.factor.diagonal(dim1=-2, dim2=-1).log()
        return (log_scale - 0.5 * noise.square() - 0.5 * math.log(2 * math.pi)).mT


class Restarted(nn.Module):
    """A model in the plate of restarts, for `pyro.infer.SVI` of a guide with several.

    Examples
    --------
    ::

        guide = MeanField()(model, num_restarts=4)
        svi = SVI(restarted(model, 4), guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    """

    def __init__(self, model: Model, num_restarts: int) -> None:
        super().__init__()
        self.model, self.num_restarts = model, num_restarts
        self.max_plate_nesting = model.max_plate_nesting + (num_restarts > 1)

    def forward(self, *args: object, **kwargs: object) -> None:
        """The story of ``model``, once for each restart."""
        with restart_plate(self.num_restarts, self.model.max_plate_nesting):
            self.model(*args, **kwargs)


def restarted(model: Model, num_restarts: int) -> Restarted:
    """``model`` in a plate ``restart`` of that size, to the left of its own: what a guide with several restarts is a
    guide of. Enumeration needs ``max_plate_nesting=restarted(model, n).max_plate_nesting``."""
    if num_restarts < 1:
        raise ValueError(f"num_restarts={num_restarts}: expected at least 1")
    return Restarted(model, num_restarts)
