"""Methods and strategies of an ablation by name: what is fitted, and how."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ...inference import Amortised, Gibbs, Posterior, default_guide, fit
from ...inference.amortised import KINDS
from ...inference.choice import known_models, row_of
from ...models import ExpressionData, LinearNetwork, Model
from ...priors import EDGE_PRIORS, EdgePrior, HardMask, PriorNetwork, SpikeSlab
from .base_grn import CELLORACLE, celloracle_model, fit_celloracle
from .held_trust import fit_held
from .information import kl_bits
from .program_models import PROGRAMS, program_strategies
from .settings import UNSET, Settings, own_prior

PRIOR_ONLY = "prior-only"
OWN = "own"  # the edge prior of a method that has one of its own
EVIDENCE = "evidence"  # of symphony: sources are lists of edges that were observed, and no prior
HELD = ("inclusion", "scale")  # strategies with a trust that can be held
SAMPLED = "sampled"


@dataclass(frozen=True)
class Effort:
    """How long fits take.

    Parameters
    ----------
    num_chains, num_warmup, num_samples
        Of samplers, as `Gibbs`; chains are the restarts of variational fits. Default 4, 300, 400.
    num_steps
        Most steps of variational fits. Default 3,000.
    """

    num_chains: int = 4
    num_warmup: int = 300
    num_samples: int = 400
    num_steps: int = 3000

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1:
            raise ValueError(f"{self}: expected at least 1 of each")


def kebab(name: str) -> str:
    """``SpikeSlab`` -> ``spike-slab``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _strategies() -> dict[str, Callable[..., EdgePrior]]:
    spike: dict[str, Callable[..., EdgePrior]] = {
        "inclusion": lambda **options: SpikeSlab(**{"strategy": "inclusion"} | options),
        "scale": lambda **options: SpikeSlab(**{"strategy": "scale"} | options),
        "mask": lambda **options: HardMask(SpikeSlab(**options)),
    }
    others = {kebab(kind.__name__): kind for kind in EDGE_PRIORS if kind not in (SpikeSlab, HardMask)}
    masked = {f"mask:{name}": (lambda kind=kind, **options: HardMask(kind(**options))) for name, kind in others.items()}
    return spike | others | masked


STRATEGIES = _strategies()
"""How knowledge enters, by name: ``inclusion``, ``scale``, ``mask`` of the spike-and-slab prior; any other edge prior
by its name, which takes knowledge by its first strategy; ``mask:NAME`` that prior on the listed edges alone."""

LACKING = {  # what the data must have, by the field that holds it
    "time": "needs time courses: pass data with times (--time-key), or another method",
    "perturbed": "needs knock-downs: pass data with perturbations (--perturbation-key)",
    "inputs": "needs inputs: pass data with inputs (--inputs), a table of conditions x nodes",
}


def networks_by_name() -> dict[str, type[Model]]:
    """Models of networks, also those of the user's own that have a row in `inference.choice`."""
    return {name: model for name, model in known_models().items() if model.infers == "network"}


def method_names() -> list[str]:
    """What ``methods=`` takes."""
    return [*networks_by_name(), CELLORACLE, *KINDS, PRIOR_ONLY, *PROGRAMS]


def strategies_of(method: str) -> tuple[str, ...]:
    """Strategies that a method can be given; ``("own",)`` where it brings its own edge prior, ``("evidence",)`` of
    symphony, which with sources as a prior is the linear network."""
    if method in PROGRAMS:
        return program_strategies(method)
    kind = networks_by_name().get(method)
    if kind is None:
        return ("inclusion",) if method == PRIOR_ONLY else (OWN,)
    if "evidence" in kind.takes:
        return (EVIDENCE,)
    return tuple(STRATEGIES) if row_of(kind).prior is SpikeSlab else (OWN,)


def check_method(method: str, data: ExpressionData) -> None:
    """Refuse an unknown method, and data that a method cannot use, before anything is run."""
    if method not in method_names():
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(method_names())}")
    kind = networks_by_name().get(method, LinearNetwork)
    if method == CELLORACLE and data.num_contexts > 1:
        raise ValueError(
            f"method {method} fits each of the {data.num_contexts} cell types by itself: ablate the cells of one type "
            "(no --context-key)"
        )
    for need in kind.needs:
        if getattr(data, need) is None:
            raise ValueError(f"method {method} {LACKING.get(need, f'needs data with {need!r}')}")


def edge_prior_of(
    strategy: str, networks: Mapping[str, PriorNetwork], options: Mapping[str, Any] | None = None
) -> EdgePrior:
    """The edge prior of a strategy; without sources a mask leaves every edge to its base."""
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}: choose one of {', '.join(STRATEGIES)}")
    prior = STRATEGIES[strategy](**(options or {}))
    return prior if networks else prior.family


def canonical(method: str, strategy: str, trust: str | float, sources: bool) -> tuple[str, str | float]:
    """Strategy and trust that are really run: without sources, several ways of entering them are one and the same."""
    if sources or strategies_of(method) == (OWN,):
        return strategy, (trust if sources else SAMPLED)
    base = strategy.removeprefix("mask:")
    return ("inclusion" if base in ("inclusion", "scale", "mask") else base), SAMPLED


def make_model(
    method: str,
    strategy: str,
    data: ExpressionData,
    networks: Mapping[str, PriorNetwork],
    settings: Settings = UNSET,
) -> Model:
    """The network of a method with the knowledge in it."""
    if method == CELLORACLE:
        return celloracle_model(data, networks, settings.model)
    kind: Any = LinearNetwork if method in KINDS or method == PRIOR_ONLY else networks_by_name()[method]
    options: dict[str, Any] = {**settings.model, "networks": networks}
    if strategy == EVIDENCE:
        del options["networks"]
        own = {"edge_prior": own_prior(kind)(**settings.prior)} if settings.prior else {}
        return kind.from_data(data, evidence=networks, **options, **own)
    if strategy != OWN:
        options["edge_prior"] = edge_prior_of(strategy, networks, settings.prior)
    elif settings.prior:
        options["edge_prior"] = own_prior(kind)(**settings.prior)
    elif "edge_prior" in inspect.signature(kind.from_data).parameters:
        options["edge_prior"] = SpikeSlab() if method in KINDS else None
    return kind.from_data(data, **options)


def guide_of(method: str, model: Model, effort: Effort, settings: Settings = UNSET) -> Any:
    """The default engine of a method at this effort, with what ``--set guide.`` says of it."""
    guide: Any = Amortised(method, num_chains=effort.num_chains) if method in KINDS else default_guide(model)
    guide = guide.sized(num_chains=effort.num_chains, num_warmup=effort.num_warmup, num_samples=effort.num_samples)
    return replace(guide, **settings.guide) if settings.guide else guide


def fit_method(
    method: str,
    model: Model,
    data: ExpressionData,
    *,
    trust: str | float,
    effort: Effort,
    seed: int,
    settings: Settings = UNSET,
) -> Posterior:
    """The posterior of a method by its default engine.

    Raises
    ------
    ValueError
        Trust held at a value where that is not possible; a fit that diverged.
    """
    if method == CELLORACLE:
        return fit_celloracle(model, data, settings.model, seed=seed, num_steps=effort.num_steps)
    guide = guide_of(method, model, effort, settings)
    if trust != SAMPLED and model.knowledge.sources:
        sampled = Gibbs in row_of(type(model)).engines and not guide.learns_on_simulations
        if not sampled or not model.edge_prior.family.holds_trust:
            raise ValueError(
                f"trust can be held at a value for spike-and-slab networks (strategies inclusion and scale), not for "
                f"method {method} with {type(model.edge_prior).__name__}: use trust='sampled' there"
            )
        network: Any = model  # of regressions: it has a Gibbs sampler
        return fit_held(network, float(trust), guide=guide, seed=seed)
    posterior = fit(
        model,
        data if guide.reads_cells else None,
        guide=guide,
        seed=seed,
        restarts=effort.num_chains,
        num_steps=effort.num_steps,  # samplers have their own length
        **{"num_draws": effort.num_samples, **settings.fit},
    )
    if posterior.history.reason.startswith("diverged"):
        raise ValueError(f"the fit {posterior.history.reason}: leave this method out, or check the data")
    return posterior


def chain_error(posterior: Posterior) -> float:
    """Mean standard error of an edge's probability by how far chains differ; NaN with one chain."""
    chains = posterior.attributes.get("chain_inclusion")
    if chains is None or len(chains) < 2:
        return float("nan")
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    return float((chains.std(0, ddof=1)[allowed] / np.sqrt(len(chains))).mean())


def chain_noise(posterior: Posterior) -> float:
    r"""Bits that the noise of the chains alone puts into Σ KL of the edges' probabilities; NaN with one chain.

    .. math:: \frac{n_e n_o}{C^2} \sum_{tg} \tfrac12 \big[KL(q^e\|q^o) + KL(q^o\|q^e)\big],

    :math:`q^e, q^o` the means over the :math:`n_e` even and the :math:`n_o` odd of C chains. KL is quadratic in small
    differences: that of the halves has variance :math:`\sigma^2 C/(n_e n_o)` with σ² that of one chain, the mean of
    all chains has :math:`\sigma^2/C`.
    """
    chains = posterior.attributes.get("chain_inclusion")
    if chains is None or len(chains) < 2:
        return float("nan")
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    even, odd = (chains[start::2].mean(0)[allowed] for start in (0, 1))
    count = len(chains)
    share = (count // 2) * (count - count // 2) / count**2
    return float(share * 0.5 * (kl_bits(even, odd) + kl_bits(odd, even)).sum())
