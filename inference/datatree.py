"""A posterior as an ArviZ DataTree: draws, prior, densities, predictions, history, each on named axes."""

import copy
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
from torch import Tensor

from ..models import ExpressionData, Model
from .elbo import by_restart, log_joint
from .moments import EdgeMoments, aligned
from .posterior import Posterior
from .predictive import predict_cells
from .samplers import Sampler
from .storage import package_version

MAX_VALUES = 5_000_000  # draws of edges kept in full up to here (20 MB in float32); beyond it ArviZ takes minutes
NUM_EDGES = 500  # then only the most probable edges
NUM_PRIOR_DRAWS = 500
BLOCK = 2_000_000  # edge weights evaluated at once
PLATES = {"context": -3, "tf": -2, "target": -1}


def to_datatree(
    posterior: Posterior, data: ExpressionData | None = None, *, seed: int = 0, num_observations: int = 1000
) -> xr.DataTree:
    """The posterior in the groups of the ArviZ schema.

    ``chain`` is a restart or a Markov chain, ``draw`` a sample of the guide or of the chain. Where the draws of large sites were
    thinned, all variables are: a draw is then a joint draw, and its coordinate is its number before thinning.

    ==================== =====================================================================================================
    group                content
    ==================== =====================================================================================================
    posterior            every site; edges (W, inclusion, …) in full up to five million values, beyond that the 500 with the
                         highest inclusion as ``W_edge`` … on dim ``edge``, labelled "source -> target"
    edges                ``mean, sd, inclusion, positive, negative`` of all edges from all draws (tf, target)
    edges_by_context     the same by context, where there are several
    prior                draws of the sites that are no edges, from the model's prior
    sample_stats         ``lp`` log p(X, z), for edges that may exist; variational guides also ``lq`` log q(z)
    log_prior            log density of each hyperparameter that has no parents: what power-scaling (``arviz_stats.psense``)
                         scales, as Kallioinen et al. (2024) recommend for hierarchical models
    svi, trace           ELBO and learning rate by (restart, step); of samplers, the log-likelihood by (chain, step)
    observed_data,       with ``data``: up to ``num_observations`` random (cell, target) pairs on dim ``observation``, labelled
    posterior_predictive "cell:target", in the units of the data; see `predictive.predict_cells`. The power-scaling of this
    log_likelihood       likelihood is that of the chosen pairs.
    ==================== =====================================================================================================

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
    groups["edges"] = build(_tables(posterior.moments["W"]), dims=("tf", "target"))
    if "W_context" in posterior.moments:
        groups["edges_by_context"] = build(_tables(posterior.moments["W_context"]), dims=("context", "tf", "target"))
    small = {name: model.dims[name] for name in draws if not is_edge_site(model, name)}
    prior = {name: value for name, value in prior_draws(model, seed=seed).items() if name in small}
    groups["prior"] = _Builder(build.attrs, model.coords).sampled(prior, small)
    lp, log_prior = evaluate(model, draws)
    densities = {name: posterior.attributes[name] for name in ("lp", "lq") if name in posterior.attributes}
    groups["sample_stats"] = build.sampled({"lp": lp} | densities, {})
    groups["log_prior"] = build.sampled(log_prior, model.dims)
    groups |= _history_group(build, posterior)
    if data is not None:
        cells = predict_cells(posterior, data, num_observations=num_observations, seed=seed)
        build = _Builder(build.attrs, {"draw": number, "observation": cells.labels})
        dims = {"X": ("observation",)}
        groups["posterior_predictive"] = build.sampled({"X": cells.draw(seed)}, dims)
        groups["log_likelihood"] = build.sampled({"X": cells.log_likelihood()}, dims)
        groups["observed_data"] = build({"X": cells.observed}, dims=("observation",))
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = build.attrs
    return tree


def to_arviz(posterior: Posterior, data: ExpressionData | None = None, *, seed: int = 0) -> Any:
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

    def __init__(self, attrs: Mapping[str, Any], coords: Mapping[str, Sequence]) -> None:
        self.attrs = dict(attrs)
        self.coords = {name: np.asarray(labels) for name, labels in coords.items()}

    def __call__(self, values: Mapping[str, np.ndarray], *, dims: Sequence[str]) -> xr.Dataset:
        """Every variable on the same ``dims``."""
        shared = {name: list(dims) for name in values}
        return dict_to_dataset(values, coords=self.coords, dims=shared, sample_dims=[], attrs=self.attrs)

    def sampled(self, values: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]]) -> xr.Dataset:
        """Variables ``(chain, draw, *dims)``."""
        named = {name: list(dims.get(name, ())) for name in values}
        return dict_to_dataset(values, coords=self.coords, dims=named, sample_dims=["chain", "draw"], attrs=self.attrs)


def attributes_of(posterior: Posterior) -> dict[str, Any]:
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


def thin_of(posterior: Posterior) -> int:
    """Draws between two kept draws of large sites."""
    return int(posterior.attributes.get("thin", 1))


def is_edge_site(model: Model, name: str) -> bool:
    """Whether a site has a value for every edge."""
    return {"tf", "target"} <= set(model.dims[name])


def is_sampler(posterior: Posterior) -> bool:
    """Whether the draws are of Markov chains (else of a guide)."""
    return posterior.guide in {cls.name for cls in Sampler.__subclasses__()}


# -- groups --------------------------------------------------------------------------------------------------------------
def _posterior_group(build: _Builder, posterior: Posterior, draws: Mapping[str, np.ndarray]) -> xr.Dataset:
    model = posterior.model
    edge_sites = [name for name in draws if is_edge_site(model, name)]
    values = {name: draws[name] for name in draws if name not in edge_sites}
    dims: dict[str, Sequence[str]] = dict(model.dims)
    if max(draws[name].size for name in edge_sites) <= MAX_VALUES:
        values |= {name: draws[name] for name in edge_sites}
    else:
        chosen = posterior.edges(top=NUM_EDGES)
        source = _positions(model.coords["tf"], chosen["source"])
        target = _positions(model.coords["target"], chosen["target"])
        build.coords["edge"] = np.asarray([f"{s} -> {t}" for s, t in zip(chosen["source"], chosen["target"], strict=True)])
        for name in edge_sites:
            values[f"{name}_edge"] = draws[name][..., source, target]
            dims[f"{name}_edge"] = (*model.dims[name][:-2], "edge")
    # ArviZ computes means and ranks, which numpy refuses for booleans
    return build.sampled({n: v.astype(np.int8) if v.dtype == bool else v for n, v in values.items()}, dims)


def _positions(axis: Sequence[str], names: Sequence[str]) -> np.ndarray:
    place = {name: i for i, name in enumerate(axis)}
    return np.array([place[name] for name in names], dtype=np.int64)


def _tables(moments: EdgeMoments) -> dict[str, np.ndarray]:
    return {f.name: getattr(moments, f.name) for f in fields(EdgeMoments)}


def _history_group(build: _Builder, posterior: Posterior) -> dict[str, xr.Dataset]:
    history = posterior.history
    build.coords["step"] = history.steps
    if not is_sampler(posterior):
        svi = {"elbo": history.elbo, "rate": history.rate}
        dims = {"elbo": ["restart", "step"], "rate": ["step"]}
        return {"svi": dict_to_dataset(svi, coords=build.coords, dims=dims, sample_dims=[], attrs=build.attrs)}
    if history.elbo.shape[1] == 0:  # NUTS records nothing while it runs
        return {}
    return {"trace": build({"log_likelihood": history.elbo}, dims=("chain", "step"))}


# -- densities and prior -------------------------------------------------------------------------------------------------
def padded(model: Model, name: str, value: Tensor) -> Tensor:
    """``(draw, *dims)`` → ``(draw, *plates, *event)`` with every plate dimension of the model."""
    plates, event = [1] * model.max_plate_nesting, []
    for dim, size in zip(model.dims[name], value.shape[1:], strict=True):
        if dim in PLATES:
            plates[PLATES[dim]] = size
        else:
            event.append(size)
    return value.reshape(len(value), *plates, *event)


def evaluate(model: Model, draws: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Log joint density of joint draws, and the log prior of each of the sites without parents.

    In float64, whatever the model was fitted in: sums over a million cells lose digits otherwise. Edges that may not exist do not
    count: their weights are free in the prior and integrate to one. Discrete sites that ``draws`` lacks are summed out.

    Parameters
    ----------
    draws
        By site, ``(chain, draw, *dims)``, as from `aligned`.

    Returns
    -------
    lp
        ``(chain, draw)``; NaN where a draw is not finite.
    log_prior
        By site without parents (edges left out), ``(chain, draw, *dims)``.
    """
    model = copy.deepcopy(model).double()
    device, base = model.constant.device, model.max_plate_nesting + 1
    shape = draws["W"].shape[:2]
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.items()}
    block = max(1, BLOCK // max(math.prod(v.shape[1:]) for v in flat.values()))
    lp: list[np.ndarray] = []
    log_prior: dict[str, list[np.ndarray]] = {}
    for start in range(0, math.prod(shape), block):
        values = {
            name: padded(model, name, torch.tensor(v[start : start + block], dtype=torch.float64, device=device))
            for name, v in flat.items()
        }
        count = len(values["W"])
        with torch.no_grad(), pyro.validation_enabled(False):  # draws of a diverged guide give NaN, not an error
            _, trace = log_joint(model, values, None, count)
            lp.append(_total(model, trace, count).cpu().numpy())
            for name, value in values.items():
                fn = trace.nodes[name]["fn"]
                if len(fn.batch_shape) < base and not is_edge_site(model, name):  # no parent has brought the draws in
                    single = fn.base_dist if fn.event_dim else fn  # by element, where the site is a vector
                    part = single.log_prob(value).reshape(flat[name][start : start + block].shape)
                    log_prior.setdefault(name, []).append(part.cpu().numpy())
    return np.concatenate(lp).reshape(shape), {n: np.concatenate(v).reshape(draws[n].shape) for n, v in log_prior.items()}


def _total(model: Model, trace: poutine.Trace, count: int) -> Tensor:
    """``(draw,)`` sum of a trace's log-probabilities without the edges that may not exist."""
    base, allowed = model.max_plate_nesting + 1, model.edge_prior.allowed
    total = allowed.new_zeros(count, dtype=torch.float64)
    enumerated = []
    for name, site in trace.nodes.items():
        if site["type"] != "sample":
            continue
        log_prob = site["log_prob"]
        if log_prob.dim() > base:
            enumerated.append(log_prob)
            continue
        if name in model.dims and is_edge_site(model, name):
            log_prob = torch.where(allowed, log_prob, 0.0)
        total = total + by_restart(log_prob, base, count)
    if enumerated:
        joint = torch.logsumexp(sum(enumerated), dim=0)  # `log_joint` has checked that these are elementwise
        total = total + by_restart(torch.where(allowed, joint, 0.0), base, count)
    return total


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
        Default 500, down to 50 for networks of more than four million edges.
    """
    shape = {name: [len(model.coords[d]) for d in dims] for name, dims in model.dims.items()}
    size = max(math.prod(s) for s in shape.values())
    if num_draws is None:
        num_draws = max(50, min(NUM_PRIOR_DRAWS, NUM_PRIOR_DRAWS * 4_000_000 // size))
    constant = model.constant
    # one lies in the support of every edge site: weights, inclusion variables, scales
    fixed = {name: padded(model, name, constant.new_ones(1, *s))[0] for name, s in shape.items() if is_edge_site(model, name)}
    held = poutine.condition(model, data=fixed)
    drawn: dict[str, list[np.ndarray]] = {}
    devices = [constant.device] if constant.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), pyro.validation_enabled(False):
        torch.manual_seed(seed)
        block = max(1, BLOCK // size)
        for start in range(0, num_draws, block):
            count = min(block, num_draws - start)
            with pyro.plate("prior_draw", count, dim=-(model.max_plate_nesting + 1)):
                trace = poutine.trace(held).get_trace()
            for name in shape:
                if name not in fixed:
                    value = trace.nodes[name]["value"].cpu().numpy()
                    drawn.setdefault(name, []).append(value.reshape(count, *shape[name]))
    return {name: np.concatenate(parts)[None] for name, parts in drawn.items()}
