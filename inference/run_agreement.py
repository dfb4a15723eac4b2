"""Whether chains, or restarts, of a fit agree: R-hat, the same edges, as many of them; and whether they drew enough."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from ..models import Model
from .answers.registry import answers_of
from .checks import Check
from .choice import applies, engine_of
from .convergence import agreement, least_ess, rhats
from .density_check import density_check
from .draws.fitted import PosteriorLike
from .draws.intervals import thin_of
from .draws.kept_edges import KeptEdges
from .draws.layout import is_edge_site
from .draws.moments import aligned
from .engines.gibbs import Gibbs
from .points import NO_PROBABILITY, is_point
from .variational.densities import log_joint_of

RHAT_SAMPLER = 1.05  # the 1.01 of Vehtari et al. (2021) asks for thousands of draws
RHAT_HYPER = 1.1  # hyperparameters matter through the edges, and those have the sharper limit
RHAT_GUIDE = 1.1  # restarts end at slightly different optima
FEWEST = 50  # draws of a chain from which its halves can be compared
MIN_ESS = 40.0  # ten a chain: the mean of a hyperparameter is known to a sixth of its sd
MIN_JACCARD, MIN_CORRELATION, SMALL_DIFFERENCE = 0.8, 0.95, 0.1
NUM_EDGES = 1000  # whose R-hat is looked at: ArviZ takes a millisecond for each


def _hyperparameters(posterior: PosteriorLike[Model]) -> Mapping[str, np.ndarray]:
    """Draws of sites that are no edges, unthinned."""
    return {name: value for name, value in posterior.draws.items() if not is_edge_site(posterior.model, name)}


def _is_vector(posterior: PosteriorLike[Model], site: str) -> bool:
    """Whether a site has a value for each regulator, target or context."""
    return bool(set(posterior.dims[site]) - {"source", "signed_source", "view"})


def _upper(values: np.ndarray, quantile: float) -> float | None:
    return float(np.quantile(values, quantile, method="lower")) if len(values) else None


def trace_rhat(posterior: PosteriorLike[Model]) -> Check:
    """R-hat of the log-likelihood over chains or restarts (of NUTS, which keeps no record, of the joint density)."""
    trace = posterior.history.elbo
    if trace.shape[1] == 0:  # NUTS keeps no record
        trace = log_joint_of(posterior.model, aligned(posterior.draws, thin_of(posterior)))
    kept = max(value.shape[1] for value in posterior.draws.values())  # at most this many of the last sweeps
    return _rhat_row(
        posterior, "R-hat of the log-likelihood", _upper(rhats(trace[:, -kept:]), 1.0), "the fit to the data"
    )


def rhats_of(posterior: PosteriorLike[Model], seed: int) -> Iterator[Check]:
    """R-hat of the hyperparameters, the worst of them named, and of edges that `some_edges` takes with ``seed``."""
    worst, name = -math.inf, ""
    for site, value in _hyperparameters(posterior).items():
        one = _upper(rhats(value), 0.99 if _is_vector(posterior, site) else 1.0)
        if one is not None and not one <= worst:  # also when it is not a number
            worst, name = one, site
    yield _rhat_row(posterior, "R-hat of the hyperparameters", worst if name else None, name, limit=RHAT_HYPER)
    every = KeptEdges.of(posterior)
    if every is None and thin_of(posterior) > 1 and posterior.draws["W"].shape[1] < FEWEST:
        few = f"Only {posterior.draws['W'].shape[1]} draws of each edge by chain were kept, to save memory"
        limit = RHAT_SAMPLER if engine_of(posterior.guide).draws_chains else RHAT_GUIDE
        yield Check("R-hat of the edges", math.nan, limit, None, f"{few}: see whether inclusion agrees, of all draws.")
        return
    source, target = some_edges(posterior, seed)
    if every is None:
        drawn = posterior.draws["W"][:, :, source, target]
    else:
        drawn = every.draws[:, :, every.find(source, target, len(posterior.coords["target"]))[1]]
    edges = _upper(rhats(drawn), 0.99)
    yield _rhat_row(posterior, "R-hat of the edges", edges, "one edge in a hundred")


def effective_draws(posterior: PosteriorLike[Model]) -> Check:
    """Of the hyperparameter that chains know least."""
    scalar = {name: value for name, value in _hyperparameters(posterior).items() if not _is_vector(posterior, name)}
    sizes = {name: least_ess(value) for name, value in scalar.items()}
    sizes = {name: value for name, value in sizes.items() if math.isfinite(value)}
    if not sizes:
        return Check("effective draws", math.nan, MIN_ESS, None, "No hyperparameter varies: there is nothing to count.")
    name = min(sizes, key=lambda n: sizes[n])
    good = sizes[name] >= MIN_ESS
    meaning = f"The chains have drawn enough to know the hyperparameters (slowest: {name})."
    if not good:
        longer = "num_warmup and num_samples" if engine_of(posterior.guide).draws_chains else "num_draws"
        meaning = f"The chains move slowly ({name}): probabilities are rough; raise {longer}."
    return Check("effective draws", sizes[name], MIN_ESS, good, meaning)


def _longer_or_a_sampler(posterior: PosteriorLike[Model]) -> str:
    """What to do where fits do not meet; not every model has a sampler."""
    model = posterior.model
    sampler = ", or use the Gibbs sampler" if applies(Gibbs, type(model.edge_prior.family), type(model)) else ""
    return f"raise {answers_of(model).num_learned(posterior)[1]}{sampler}"


def _rhat_row(
    posterior: PosteriorLike[Model], check: str, value: float | None, what: str, *, limit: float | None = None
) -> Check:
    sampler = engine_of(posterior.guide).draws_chains
    limit = limit if limit is not None else RHAT_SAMPLER if sampler else RHAT_GUIDE
    number, ended = posterior.draws["W"].shape[0], len(posterior.attributes.get("restarts_kept", ()))
    runs = "chains" if sampler else f"places where {ended} restarts ended" if ended > number else "restarts"
    because = None
    if is_point(posterior):
        because = "A point estimate has no spread to compare: see whether the top edges agree."
    elif number < 2:
        because = f"Needs at least two {runs}, and there was one."
    elif value is None:
        because = "Nothing of this kind varies."
    if because is not None or value is None:
        return Check(check, math.nan, limit, None, str(because))
    good = value <= limit  # False for NaN
    meaning = f"The {number} {runs} agree."
    if not good:
        remedy = "raise num_warmup and num_samples" if sampler else _longer_or_a_sampler(posterior)
        meaning = f"The {number} {runs} disagree on {what}: the answer depends on where they started; {remedy}."
    return Check(check, value, limit, good, meaning)


def some_edges(posterior: PosteriorLike[Model], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of at most 1,000 edges that may exist: half of them the most probable, the others random."""
    source, target = np.nonzero(posterior.model.edge_prior.allowed.cpu().numpy())
    if len(source) > NUM_EDGES:
        order = np.argsort(-posterior.moments["W"].inclusion[source, target], kind="stable")
        half = NUM_EDGES // 2
        rest = np.random.default_rng(seed).choice(order[half:], NUM_EDGES - half, replace=False)
        chosen = np.concatenate([order[:half], rest])
        source, target = source[chosen], target[chosen]
    return source, target


def inclusion_by_chain(posterior: PosteriorLike[Model]) -> np.ndarray:
    """``(chain, tf, target)`` inclusion probabilities of each chain alone."""
    if "chain_inclusion" in posterior.attributes:
        return posterior.attributes["chain_inclusion"]
    if posterior.threshold is None:
        return posterior.draws["inclusion"].mean(1)
    return (np.abs(posterior.draws["W"]) > posterior.threshold).mean(1)


def same_edges(posterior: PosteriorLike[Model]) -> Iterator[Check]:
    """Whether chains or restarts, each alone, have the same top edges and the same inclusion."""
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    inclusion = inclusion_by_chain(posterior)[:, allowed]
    number, runs = len(inclusion), "chains" if engine_of(posterior.guide).draws_chains else "restarts"
    names = ("top edges agree", "inclusion agrees")
    if number < 2 or not np.isfinite(inclusion).all():
        for check, limit in zip(names, (MIN_JACCARD, MIN_CORRELATION), strict=True):
            yield Check(check, math.nan, limit, None, f"Needs at least two {runs} with finite results.")
        return
    found, point = agreement(inclusion, np.abs(posterior.draws["W"].mean(1)[:, allowed])), is_point(posterior)
    good: bool | None = found.jaccard >= MIN_JACCARD
    meaning = f"The {number} {runs} name the same top {found.k} edges."
    if not good and found.above < found.k:
        good = None
        counted = "are beyond the threshold" if point else "are probable"
        meaning = f"Only {found.above} edges {counted}; the order of the rest of the top {found.k} is arbitrary."
    elif not good:
        meaning = f"The {number} {runs} name different top {found.k} edges: do not rely on single edges; run longer."
    yield Check(names[0], found.jaccard, MIN_JACCARD, good, meaning)
    if point:
        yield Check(names[1], math.nan, MIN_CORRELATION, None, NO_PROBABILITY)
        return
    good = found.correlation >= MIN_CORRELATION or found.largest <= SMALL_DIFFERENCE
    meaning = f"Edge probabilities of the {number} {runs} agree (largest difference {found.largest:.2f})."
    if good and found.largest > SMALL_DIFFERENCE:
        meaning = (
            f"Edge probabilities of the {number} {runs} agree on the whole (correlation {found.correlation:.2f}); "
            f"single ones differ by up to {found.largest:.2f}."
        )
    if not good:
        meaning = f"Edge probabilities of the {number} {runs} differ by up to {found.largest:.2f}: run longer."
    yield Check(names[1], found.correlation, MIN_CORRELATION, good, meaning)
    yield density_check(inclusion, runs)
