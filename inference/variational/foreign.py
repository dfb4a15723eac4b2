r"""Guides that are not of this package: Pyro's automatic ones, and functions.

Each restart is a guide of its own with a parameter store of its own (`Fitted`); what they draw is laid out as the draws
of the guides here.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoGuide, AutoLaplaceApproximation
from pyro.params.param_store import StateDict
from pyro.poutine import Trace
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import unwrap
from torch import Tensor, nn

from ...models import ExpressionData, Model
from .base import Guide
from .elbo import log_joint

PyroGuideFunction = Callable[..., Any]


def is_class(source: object) -> bool:
    """Whether this is a class of automatic guides, perhaps with options: ``partial(AutoLowRankMultivariateNormal,
    rank=5)``."""
    kind = source.func if isinstance(source, partial) else source
    return isinstance(kind, type) and issubclass(kind, (AutoGuide, GuideMessenger))


def is_handler(source: object) -> bool:
    """Whether this is a class of automatic guides that are effect handlers, as `AutoNormalMessenger`."""
    kind = source.func if isinstance(source, partial) else source
    return isinstance(kind, type) and issubclass(kind, GuideMessenger)


def words(source: object) -> str:
    """The same for the same guide, in any process."""
    if isinstance(source, partial):
        options = ", ".join(f"{name}={value!r}" for name, value in source.keywords.items())
        return f"{words(source.func)}({options})"
    if isinstance(source, nn.Module):
        return type(source).__name__
    return getattr(source, "__qualname__", type(source).__name__)


def made_for(source: Any, model: Model) -> PyroGuideFunction:
    """A guide of ``model`` that shares no parameter with another: of a class a new one, which leaves the discrete sites
    to the objective; of a module a copy; a function is itself.

    Raises
    ------
    ValueError
        An automatic guide of another model, one of ours with several restarts.
    """
    laplace_of_some = isinstance(source, AutoLaplaceApproximation) or source is AutoLaplaceApproximation
    if is_class(source) or laplace_of_some:
        hidden = [name for name, site in latent_nodes(model, None).items() if site["fn"].has_enumerate_support]
        if hidden and laplace_of_some:
            raise ValueError(
                f"AutoLaplaceApproximation cannot sum out {', '.join(hidden)}, whose curvature it would miss: use "
                "AutoMultivariateNormal, or a prior without them"
            )
        if hidden and is_handler(source):
            raise ValueError(
                f"{words(source)} is an effect handler, under which Pyro sums out no discrete site "
                f"({', '.join(hidden)}): use AutoNormal, or a prior without them"
            )
        if is_class(source):
            return source(poutine.block(model, hide=hidden) if hidden else model)
    if isinstance(source, Guide) and source.num_restarts > 1:
        raise ValueError(
            f"the guide has {source.num_restarts} restarts of its own: pass its factory, as `MeanField()`, with "
            "`restarts=`, or a guide with one"
        )
    if isinstance(source, (AutoGuide, GuideMessenger)):
        check_model(source, model)
    return copied(source) if isinstance(source, nn.Module) else source


def check_model(guide: Any, model: Model) -> None:
    """Refuse an automatic guide of another model."""
    for part in guide.modules() if isinstance(guide, nn.Module) else (guide,):
        if isinstance(part, (AutoGuide, GuideMessenger)) and part._model is not None:
            own: Any = unwrap(part.model)
            if own is not model and isinstance(own, nn.Module):
                raise ValueError(
                    f"the {type(guide).__name__} was made for another {type(own).__name__} than this "
                    f"{type(model).__name__} (`device=` fits a copy: move the model first): pass the class, or one "
                    "made for this model"
                )


def copied(guide: nn.Module) -> nn.Module:
    """A copy whose parameters are its own; automatic guides go on referring to the same model."""
    if isinstance(guide, GuideMessenger):
        return copy.deepcopy(guide, {id(guide._model): guide._model})
    parts = [part for part in guide.modules() if isinstance(part, AutoGuide)]
    held = [(part._model, part.master) for part in parts]
    try:
        copy_of = copy.deepcopy(guide)  # forgets the models, also of the original
    finally:
        for part, (model, master) in zip(parts, held, strict=True):
            part._model, part.master = model, master
    twins = [part for part in copy_of.modules() if isinstance(part, AutoGuide)]
    for twin, (model, _) in zip(twins, held, strict=True):
        twin._model = model
    return copy_of


def arguments(guide: PyroGuideFunction, batch: ExpressionData | None) -> tuple[Any, ...]:
    """What to call model and guide with: the batch, or nothing where a function takes nothing and there is none.

    Raises
    ------
    ValueError
        A function that takes no batch, and there is one.
    """
    try:
        inspect.signature(guide).bind(batch)
    except TypeError:
        if batch is not None:
            raise ValueError(f"the guide {words(guide)} takes no batch: define it as `def guide(batch=None)`") from None
        return ()
    return (batch,)


# -- what a guide samples ----
def trace_of(guide: PyroGuideFunction, batch: ExpressionData | None) -> Trace:
    """One call of a guide. Guides that are effect handlers run the model too, and keep the latent sites apart."""
    if not isinstance(guide, GuideMessenger):
        return poutine.trace(guide).get_trace(*arguments(guide, batch))
    with poutine.trace(param_only=True) as params:
        guide(*arguments(guide, batch))
    trace = guide.get_traces()[1]
    for name, site in params.trace.nodes.items():
        if site["type"] == "param":
            trace.add_node(name, **site)
    return trace


def latent_nodes(model: Model, batch: ExpressionData | None) -> dict[str, Any]:
    """Sites of a model that are not observed, discrete ones included."""
    with torch.random.fork_rng(), torch.no_grad(), pyro.get_param_store().scope():
        trace = poutine.trace(model).get_trace(batch)
    return dict(_sampled(trace))


def _sampled(trace: Trace) -> list[tuple[str, Any]]:
    return [
        (name, site)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and type(site["fn"]).__name__ != "_Subsample"
    ]


def check_sites(model: Model, guide: PyroGuideFunction, trace: Trace, latent: dict[str, Any]) -> None:
    """Refuse a guide that misses sites of the model, has others, has them in other shapes, or learns nothing.

    Raises
    ------
    ValueError
        Names the guide and the sites.
    """
    own, name = dict(_sampled(trace)), words(guide)
    missing = [n for n, s in latent.items() if n not in own and not s["infer"].get("enumerate")]
    if missing:
        raise ValueError(
            f"the guide {name} does not sample {', '.join(missing)}: {type(model).__name__} needs "
            f"{', '.join(n for n, s in latent.items() if not s['infer'].get('enumerate'))}"
        )
    unknown = [n for n, s in own.items() if n not in latent and not s["infer"].get("is_auxiliary")]
    if unknown:
        raise ValueError(
            f"the guide {name} samples {', '.join(unknown)}, which {type(model).__name__} does not have "
            f"({', '.join(latent)}): mark helpers by infer={{'is_auxiliary': True}}"
        )
    for site in latent.keys() & own.keys():
        found, expected = tuple(own[site]["value"].shape), tuple(latent[site]["value"].shape)
        if found != expected:
            raise ValueError(f"the guide {name} samples {site} with shape {found}, the model has {expected}")
    if not any(site["type"] == "param" for site in trace.nodes.values()):
        raise ValueError(f"the guide {name} has no parameters, so nothing would be learned: declare them by pyro.param")


def objective_of(model: Model, trace: Trace, latent: dict[str, Any]) -> ELBO:
    """Discrete sites that the guide leaves out are summed out; where it draws some, differences of their costs are as
    narrow as the graph of the model allows."""
    own = dict(_sampled(trace))
    if latent.keys() - own.keys() or any(site["infer"].get("enumerate") for site in own.values()):
        return TraceEnum_ELBO(max_plate_nesting=model.max_plate_nesting)
    return Trace_ELBO() if all(site["fn"].has_rsample for site in own.values()) else TraceGraph_ELBO()


def spread_of(trace: Trace, latent: dict[str, Any]) -> str:
    """``density`` where q has one over all that it samples, ``point`` where it has no spread at all, else ``partly``.

    Sites that are Deltas, functions of others or points, add nothing; the number of random elements tells these apart.
    """
    own = dict(_sampled(trace))
    random = sum(site["value"].numel() for site in own.values() if not _is_delta(site["fn"]))
    if random == 0:
        return "point"
    return "density" if random == sum(own[n]["value"].numel() for n in latent if n in own) else "partly"


def _is_delta(fn: Any) -> bool:
    while hasattr(fn, "base_dist") and type(fn).__name__ in (
        "Independent",
        "MaskedDistribution",
        "ExpandedDistribution",
    ):
        fn = fn.base_dist
    return type(fn).__name__ == "Delta"


# -- fitted ----
@dataclass(frozen=True, eq=False)
class Restart:
    """One guide, and the state of the parameter store that is its own; None: whatever the store has."""

    guide: PyroGuideFunction
    store: StateDict | None


@dataclass(frozen=True, eq=False)
class Fitted:
    """Guides after training: `draw` as of `Guide`, one row a restart."""

    model: Model
    restarts: Sequence[Restart]
    batch: ExpressionData | None
    latent: dict[str, Any]

    @property
    def num_restarts(self) -> int:
        return len(self.restarts)

    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        """Values by site ``(restart, *plates, *event)`` and log q ``(restart,)``, zero where q has no density."""
        rows, densities = [], []
        for restart in self.restarts:
            trace = traced(restart, self.batch)
            rows.append({n: self._padded(n, s["value"]) for n, s in _sampled(trace) if n in self.latent})
            total = trace.log_prob_sum() if spread_of(trace, self.latent) == "density" else torch.zeros(())
            densities.append(torch.as_tensor(total).to(self.model.constant))
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}, torch.stack(densities)

    def _padded(self, name: str, value: Tensor) -> Tensor:
        missing = self.model.max_plate_nesting + self.latent[name]["fn"].event_dim - value.dim()
        return value.detach().reshape((1,) * (1 + missing) + tuple(value.shape))


def traced(restart: Restart, batch: ExpressionData | None) -> Trace:
    """One draw of a guide under its own parameters; not finite where it has diverged."""
    with pyro.validation_enabled(False), torch.no_grad():
        if restart.store is None:
            return trace_of(restart.guide, batch)
        with pyro.get_param_store().scope(restart.store):
            return trace_of(restart.guide, batch)


def laplace(restart: Restart, batch: ExpressionData | None) -> PyroGuideFunction:
    """The normal around the mode, of a guide that is one of Laplace; other guides are themselves."""
    guide = restart.guide
    if not isinstance(guide, AutoLaplaceApproximation):
        return guide
    try:
        with pyro.validation_enabled(False):
            if restart.store is None:
                return guide.laplace_approximation(*arguments(guide, batch))
            with pyro.get_param_store().scope(restart.store):
                return guide.laplace_approximation(*arguments(guide, batch))
    except RuntimeError as error:
        if "linalg" not in str(error):
            raise
        raise ValueError(
            "AutoLaplaceApproximation has not reached a mode with curvature in every direction: raise `num_steps=`, or "
            "use AutoMultivariateNormal"
        ) from error


def check_enumeration(model: Model, trace: Trace, batch: ExpressionData | None) -> None:
    """Refuse discrete sites that cannot be summed out edge by edge (`elbo.sum_sites`)."""
    values = {n: s["value"].detach() for n, s in _sampled(trace) if not s["infer"].get("is_auxiliary")}
    with torch.no_grad():
        log_joint(model, values, batch, 1)
