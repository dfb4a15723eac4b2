"""A posterior as an ArviZ DataTree: draws, prior, densities, predictions, history, each on named axes."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyro
import torch
import xarray as xr
from arviz_base import dict_to_dataset
from pyro import poutine

from ..models import ExpressionData, Model
from ..models.observation.observable import densities_not_asked
from .answers.cells import predict_cells
from .answers.chosen import chosen_edges
from .answers.registry import answers_of
from .arviz_limits import MAX_DENSITY, unpredicted, with_limits
from .choice import engine_of
from .draws.description import package_version
from .draws.fitted import PosteriorLike
from .draws.intervals import thin_of
from .draws.layout import has_edges, is_edge_site, padded
from .draws.moments import EdgeMoments, aligned
from .points import is_point
from .variational.densities import log_joint_of, log_prior_of

MAX_VALUES = 5_000_000  # draws of edges kept in full up to here (20 MB in float32); beyond it ArviZ takes minutes
MAX_TABLE = 1_000_000  # edges whose moments are all there; ArviZ does not ask for them, and `Posterior` keeps them
NUM_EDGES = 500  # then only the most probable edges
NUM_PRIOR_DRAWS = 500
PRIOR_BLOCK = (
    2_000_000  # numbers of the largest site in a block of prior draws: scales of edges are worked out for each
)


def to_datatree(
    posterior: PosteriorLike[Model], data: ExpressionData | None = None, *, seed: int = 0, num_observations: int = 1000
) -> xr.DataTree:
    """The posterior in the groups of the ArviZ schema.

    ``chain`` is a restart or a Markov chain, ``draw`` a sample of the guide or of the chain. Where the draws of large
    sites were thinned, all variables are: a draw is a joint draw, and its coordinate is its number before thinning.

    ``posterior``
        Every site. Edges (W, inclusion, …) in full up to five million values; beyond that the 500 of highest inclusion,
        as ``W_edge`` and so on, on a dimension ``edge`` labelled "source -> target".
    ``edges`` (of programs ``loadings``), ``edges_by_context``
        ``mean, sd, inclusion, positive, negative`` of all edges, from all draws; by context where there are several.
        Of more than a million edges, the 500 of highest inclusion, on ``edge``.
    ``prior``
        Draws of the sites that are no edges from the model's prior.
    ``sample_stats``
        ``lp``, log p(X, z), without edges that may not exist. Of variational guides, which draw these too, with them;
        and ``lq``, log q(z).
    ``log_prior``
        Log density of each hyperparameter without parents: what power-scaling (``arviz_stats.psense``) is to scale in a
        hierarchical model (Kallioinen et al. 2024).
    ``svi`` or ``trace``
        ELBO and learning rate by (restart, step); of samplers the log-likelihood by (chain, step), warm-up included.
    ``observed_data``, ``posterior_predictive``, ``log_likelihood``
        With ``data`` whose values the model predicts: random (cell, target) pairs, on a dimension ``observation``
        labelled "cell:target", in the units of the data (`answers.cells.predict_cells`). Power-scaling the likelihood
        is then scaling that of these pairs. Of cells of the fit, these predictions have seen the values: with many
        regulators for the cells they follow them. `diagnose` compares each value with those of the others alone.

    Where ArviZ cannot compute something from it (one draw, no predictions), its attribute ``limits`` says what and why
    (`arviz_limits`).

    Parameters
    ----------
    posterior
        What to export.
    data
        The cells to predict: those of the fit, or new ones of the same genes and contexts.
    seed
        Of prior draws, chosen pairs and predictive draws.
    num_observations
        Pairs; default 1,000, at which PSIS-LOO takes a second.

    Raises
    ------
    ValueError
        The fit diverged before the first draw; or ``data`` do not belong to the model.
    """
    if not posterior.draws:
        raise ValueError(f"nothing to export: the fit has no draws ({posterior.history.reason})")
    model = posterior.model
    draws = aligned(posterior.draws, thin_of(posterior))
    number = np.arange(draws["W"].shape[1]) * thin_of(posterior)
    build = _Builder(attributes_of(posterior), {**model.coords, "draw": number})
    groups = {"posterior": _posterior_group(build, posterior, draws)}
    name = "edges" if has_edges(model) else "loadings"
    point = is_point(posterior)
    tables: dict[str, tuple[EdgeMoments, tuple[str, ...]]] = {name: (posterior.moments["W"], model.axes)}
    if "W_context" in posterior.moments:
        tables["edges_by_context"] = (posterior.moments["W_context"], ("context", *model.axes))
    for name, (moments, axes) in tables.items():
        values = _tables(moments, point)
        if posterior.moments["W"].mean.size > MAX_TABLE:
            source, target = _labelled(build, posterior)
            values, axes = {n: v[..., source, target] for n, v in values.items()}, (*axes[:-2], "edge")
        groups[name] = build(values, dims=axes)
    if not answers_of(model).has_joint_density(model):
        return _tree(build, groups | _history_group(build, posterior), unpredicted(posterior, data), point)
    small = {name: model.dims[name] for name in draws if not is_edge_site(model, name)}
    prior = {name: value for name, value in prior_draws(model, seed=seed).items() if name in small}
    groups["prior"] = _Builder(build.attrs, model.coords).sampled(prior, small)
    densities = {name: posterior.attributes[name] for name in ("lp", "lq") if name in posterior.attributes}
    small_enough = posterior.moments["W"].mean.size <= MAX_DENSITY
    if densities or small_enough:
        groups["sample_stats"] = build.sampled(densities or {"lp": log_joint_of(model, draws)}, {})
    if small_enough:
        groups["log_prior"] = build.sampled(log_prior_of(model, draws), model.dims)
    groups |= _history_group(build, posterior)
    why = unpredicted(posterior, data)
    if data is not None and answers_of(model).has_predictions(model):
        cells = predict_cells(posterior, data, num_observations=num_observations, seed=seed)
        build = _Builder(build.attrs, {"draw": number, "observation": cells.labels})
        dims = {"X": ("observation",)}
        groups["posterior_predictive"] = build.sampled({"X": cells.draw(seed)}, dims)
        groups["log_likelihood"] = build.sampled({"X": cells.log_likelihood()}, dims)
        groups["observed_data"] = build({"X": cells.observed}, dims=("observation",))
    return _tree(build, groups, why, point)


def _tree(build: "_Builder", groups: Mapping[str, xr.Dataset], why: str | None, point: bool) -> xr.DataTree:
    tree = xr.DataTree.from_dict(dict(groups))
    tree.attrs = with_limits(build.attrs, groups, why, point=point)
    return tree


def to_arviz(posterior: PosteriorLike[Model], data: ExpressionData | None = None, *, seed: int = 0) -> Any:
    """What the installed ``arviz`` plots: the DataTree for 1.x, an ``InferenceData`` of the same groups for 0.x."""
    import arviz

    tree = to_datatree(posterior, data, seed=seed)
    if int(arviz.__version__.split(".")[0]) >= 1:
        return tree
    with warnings.catch_warnings():
        # extra groups are allowed by the schema, and warned of all the same
        warnings.filterwarnings("ignore", message=".*is not defined in the InferenceData scheme", category=UserWarning)
        return arviz.InferenceData.from_datatree(tree)


class _Builder:
    """Datasets that share attributes and coordinates; only the coordinates of the dimensions used are put in."""

    def __init__(self, attrs: Mapping[str, Any], coords: Mapping[str, Any]) -> None:
        self.attrs = dict(attrs)
        self.coords: dict[str, Any] = {name: np.asarray(labels) for name, labels in coords.items()}

    def __call__(self, values: Mapping[str, np.ndarray], *, dims: Sequence[str]) -> xr.Dataset:
        """Every variable on the same ``dims``."""
        shared: Any = {name: list(dims) for name in values}
        return dict_to_dataset(values, coords=self.coords, dims=shared, sample_dims=[], attrs=self.attrs)

    def sampled(self, values: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]]) -> xr.Dataset:
        """Variables ``(chain, draw, *dims)``."""
        named: Any = {name: list(dims.get(name, ())) for name in values}
        with warnings.catch_warnings():
            # of a large network fewer draws are kept than there are chains
            warnings.filterwarnings("ignore", "Found chain dimension to be longer than draw", UserWarning)
            return dict_to_dataset(
                values, coords=self.coords, dims=named, sample_dims=["chain", "draw"], attrs=self.attrs
            )


def attributes_of(posterior: PosteriorLike[Model]) -> dict[str, Any]:
    """What produced the posterior, in types that netCDF keeps."""
    attrs: dict[str, Any] = {
        "inference_library": "pyro",
        "inference_library_version": pyro.__version__,
        "creation_library": "pyrogrn",
        "creation_library_version": package_version(),
        "model": posterior.model.name,
        "edge_prior": type(posterior.model.edge_prior).__name__,
        "guide": posterior.guide,
        "calibrated": int(posterior.calibrated),
        "seed": posterior.seed,
        "reason": posterior.history.reason,
        "thin": thin_of(posterior),
    }
    return attrs if posterior.threshold is None else attrs | {"threshold": posterior.threshold}


# -- groups ----
def _posterior_group(build: _Builder, posterior: PosteriorLike[Model], draws: Mapping[str, np.ndarray]) -> xr.Dataset:
    model = posterior.model
    edge_sites = [name for name in draws if is_edge_site(model, name)]
    values = {name: draws[name] for name in draws if name not in edge_sites}
    dims: dict[str, Sequence[str]] = dict(model.dims)
    if max(draws[name].size for name in edge_sites) <= MAX_VALUES:
        values |= {name: draws[name] for name in edge_sites}
    else:
        source, target = _labelled(build, posterior)
        for name in edge_sites:
            values[f"{name}_edge"] = draws[name][..., source, target]
            dims[f"{name}_edge"] = (*model.dims[name][:-2], "edge")
    # ArviZ computes means and ranks, which numpy refuses for booleans
    return build.sampled({n: v.astype(np.int8) if v.dtype == bool else v for n, v in values.items()}, dims)


def _labelled(build: _Builder, posterior: PosteriorLike[Model]) -> tuple[np.ndarray, np.ndarray]:
    """Positions as `_best`, whose labels become the coordinate ``edge``."""
    source, target = _best(posterior)
    rows, columns = (posterior.model.coords[axis] for axis in posterior.model.axes)
    build.coords["edge"] = np.asarray([f"{rows[s]} -> {columns[t]}" for s, t in zip(source, target, strict=True)])
    return source, target


def _best(posterior: PosteriorLike[Model]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the most probable edges, or of the largest loadings."""
    model = posterior.model
    if not has_edges(model):
        order = np.argsort(-np.abs(posterior.moments["W"].mean), axis=None, kind="stable")[:NUM_EDGES]
        source, target = np.unravel_index(order, posterior.moments["W"].mean.shape)
        return source, target
    return chosen_edges(posterior, top=NUM_EDGES)


def _tables(moments: EdgeMoments, point: bool) -> dict[str, np.ndarray]:
    """All moments; of a point estimate the mean alone, and the others not a number."""
    values = {f.name: getattr(moments, f.name) for f in fields(EdgeMoments)}
    return {name: value * np.nan if point and name != "mean" else value for name, value in values.items()}


def _history_group(build: _Builder, posterior: PosteriorLike[Model]) -> dict[str, xr.Dataset]:
    history = posterior.history
    build.coords["step"] = history.steps
    if not engine_of(posterior.guide).draws_chains:
        svi = {"elbo": history.elbo, "rate": history.rate}
        dims: Any = {"elbo": ["restart", "step"], "rate": ["step"]}
        return {"svi": dict_to_dataset(svi, coords=build.coords, dims=dims, sample_dims=[], attrs=build.attrs)}
    if history.elbo.shape[1] == 0:  # NUTS records nothing while it runs
        return {}
    return {"trace": build({"log_likelihood": history.elbo}, dims=("chain", "step"))}


# -- densities and prior ----


def prior_draws(model: Model, *, seed: int = 0, num_draws: int | None = None) -> dict[str, np.ndarray]:
    """Draws ``(1, draw, *dims)`` of the sites that are no edges, from the prior of the model.

    The model is traced under an outer plate with its edges held fixed: no other site has an edge for a parent, so these
    draws are those of the full prior, and a network of any size costs little.

    Parameters
    ----------
    model
        Its data do not enter.
    seed
        Seed; the caller's generators are not touched.
    num_draws
        Default 500; where scales are worked out for each edge, of networks of more than 400,000 edges fewer, from four
        million on 50.
    """
    coords = model.coords
    shape = {name: [len(coords[d]) for d in dims] for name, dims in model.dims.items()}
    made = [n for n in shape if not (model.hyper_without_edges and is_edge_site(model, n))]
    size = max(math.prod(shape[name]) for name in made)
    if num_draws is None:
        num_draws = max(50, min(NUM_PRIOR_DRAWS, NUM_PRIOR_DRAWS * 400_000 // size))
    constant = model.constant
    # one lies in the support of every edge site: weights, inclusion variables, scales
    fixed = {
        name: padded(model, name, constant.new_ones(1, *s))[0] for name, s in shape.items() if is_edge_site(model, name)
    }
    held = poutine.condition(model.hyper, data=fixed)
    drawn: dict[str, list[np.ndarray]] = {}
    devices = [constant.device] if constant.device.type == "cuda" else []
    forked, plain = torch.random.fork_rng(devices=devices), pyro.validation_enabled(False)
    with forked, torch.no_grad(), plain, densities_not_asked():
        torch.manual_seed(seed)
        block = max(1, PRIOR_BLOCK // size)
        for start in range(0, num_draws, block):
            count = min(block, num_draws - start)
            with pyro.plate("prior_draw", count, dim=-(model.max_plate_nesting + 1)):
                trace = poutine.trace(held).get_trace()
            for name in shape:
                if name not in fixed:
                    value: Any = trace.nodes[name]["value"]
                    drawn.setdefault(name, []).append(value.cpu().numpy().reshape(count, *shape[name]))
    return {name: np.concatenate(parts)[None] for name, parts in drawn.items()}
