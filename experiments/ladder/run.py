"""Take a method up the ladder on the user's own cells."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...inference.choice import applies
from ...models import ExpressionData, LinearNetwork
from ...models.data.accepts import takes_anndata
from ...models.simulators import OutOfFold, World, donors_of, own_world, prior_like, semi_synthetic, with_plain_genes
from ...priors import EdgePrior, PriorNetwork, SpikeSlab
from .enumeration import enumerated
from .path import UserPath
from .plan import CORRECTED, OWN, Plan, plans
from .result import Calibration, Trial
from .scoring import pairs_of

NUM_TARGETS, NUM_WORLDS = 200, 3
HIDDEN, MOVED = 0.5, (0.5,)
OF_SIMULATIONS = (
    "rungs 1 and 2 are those of a model that is fitted to the data; what this method learned on is a family of "
    "simulations, and how it does on fresh ones is in docs/results/amortised.md"
)
MANY_ZEROS = 0.3  # of the regulators' values, above which much of what they say is noise of measurement
OF_ZEROS = (
    "{share:.0%} of the regulators' values are zero. Targets are made from the values as measured, so what dropout and "
    "low depth do to a list is not in these numbers: on simulated cells with that much dropout far more of the list "
    "was wrong than on made targets (docs/results/ladder.md)"
)
OF_OTHER_PRIORS = (
    "rung 2 was left out: the exact posterior is that of a spike-and-slab prior, which this engine is not for"
)


@takes_anndata
def calibrate(
    data: ExpressionData,
    networks: Mapping[str, PriorNetwork] | None = None,
    *,
    method: str = "linear",
    edge_prior: EdgePrior | None = None,
    rungs: Sequence[int] = (1, 2, 3, 4),
    hidden: float = HIDDEN,
    moved: Sequence[float] = MOVED,
    targets: int = NUM_TARGETS,
    worlds: int = NUM_WORLDS,
    seed: int = 0,
    path: UserPath | None = None,
    say: Callable[[str], None] | None = None,
) -> Calibration:
    """How far the probabilities of a method, and the lists made of them, can be trusted on cells like these.

    The regulators stay as measured, and targets are made on them whose true regulators are known (`semi_synthetic`);
    they are fitted as ``pyrogrn infer`` would fit them, and the edges listed are compared with the truth. What holds on
    made targets need not hold on the real ones: what nobody has thought of is in neither.

    Parameters
    ----------
    data
        The cells, normalised as they would be fitted.
    networks
        Prior networks by name; for each, a source of the same width is made around the truth of each world.
    method
        ``linear``, ``grnular``, ``glad-tf`` or ``glad``.
    edge_prior
        Of the network. Default that of the model.
    rungs
        1: targets that the model's own prior makes; 2: the exact posterior of five regulators; 3: targets that answer
        in proportion, up to a limit or by a step, every cause offered, Gaussian noise; 4: the same with the noise of
        real genes, with causes hidden, and both. Default all.
    hidden
        Share of the regulators that is hidden on rung 4. Default ½.
    moved
        Shares of the edges of the made sources that are at random places; each is a world of its own. Default ½.
    targets
        Made targets a world. Default 200.
    worlds
        Worlds of each kind, each with other targets, weights and noise: standard errors are over these. Default 3.
    seed
        World r uses ``seed + r``. The global generators are not touched.
    path
        Instead of ``method`` and ``edge_prior``: a method with its options.
    say
        Told of each world that is done.

    Returns
    -------
    Calibration
        ``rows``, ``summary()``, ``reliability()``, ``headline()``.

    Raises
    ------
    ValueError
        A method for which there are no worlds; fewer than four regulators or six cells; regulators that explain no
        gene; numbers out of range.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> cells = simulate_linear(num_genes=20, num_tfs=6, num_cells=80, seed=0).data
    >>> found = calibrate(cells, rungs=[3], targets=20, worlds=1)
    >>> sorted(found.rows["response"].unique())
    ['all', 'linear', 'saturating', 'step']
    """
    path = path or UserPath(method, edge_prior)
    if targets < 1 or worlds < 1:
        raise ValueError(f"targets={targets}, worlds={worlds}: expected at least 1 of each")
    for share in moved:
        if not 0 <= share <= 1:
            raise ValueError(f"`moved` has {share}, expected shares from 0 to 1")
    networks = dict(networks or {})
    data = with_plain_genes(data, seed=seed)
    donors = donors_of(data, 2 * targets, seed=seed)
    first = path.model(data.select_genes((*data.tfs, *donors.genes)))  # refuses what `infer` refuses
    engine = path.engine(first)
    found = plans(rungs, hidden=hidden, moved=moved, priors=bool(networks), as_measured=engine.reads_cells)
    found, notes = _possible(found, path, engine)
    trials: list[Trial] = []
    exact: list[dict[str, float]] = []
    for plan in found:
        for replicate in range(worlds):
            started = time.perf_counter()
            own = seed + replicate
            if plan.rung == 2:
                probability, true = enumerated(data, donors, path, seed=own)
                gap = abs(probability - true)
                differences = {"largest_difference": float(gap.max()), "mean_difference": float(gap.mean())}
                exact.append({"replicate": replicate, "seed": own, **differences})
            else:
                trials += _trials(plan, replicate, data, donors, networks, path, targets=targets, seed=own)
            if say is not None:
                say(f"{plan.name}, {replicate + 1} of {worlds}: {time.perf_counter() - started:.1f} s")
    settings = {"targets": targets, "worlds": worlds, "hidden": hidden, "moved": list(moved), "seed": seed}
    made = [note for note in data.notes if "taken for plain ones" in note]
    zeros = float((data.select_genes(data.tfs).X == 0).double().mean())
    if zeros > MANY_ZEROS:
        made.append(OF_ZEROS.format(share=zeros))
    return Calibration(path.method, tuple(trials), tuple(exact), settings, (*made, *notes))


def _possible(found: list[Plan], path: UserPath, engine: Any) -> tuple[list[Plan], list[str]]:
    """The worlds that there are for this path, and why others are left out.

    Raises
    ------
    ValueError
        None is left.
    """
    notes = []
    if engine.learns_on_simulations and any(plan.kind is None for plan in found):
        found, notes = [plan for plan in found if plan.kind is not None], [OF_SIMULATIONS]
    elif not applies(type(engine), SpikeSlab, LinearNetwork) and any(plan.rung == 2 for plan in found):
        found, notes = [plan for plan in found if plan.rung != 2], [OF_OTHER_PRIORS]
    if not found:
        raise ValueError(f"method {path.method}: none of these rungs is for it ({notes[0]})")
    return found, notes


def _trials(
    plan: Plan,
    replicate: int,
    data: ExpressionData,
    donors: OutOfFold,
    networks: Mapping[str, PriorNetwork],
    path: UserPath,
    *,
    targets: int,
    seed: int,
) -> list[Trial]:
    """Make a world, fit it as a user would, and keep what was said of its pairs.

    Of rung 1 that is what the model states, and beside it, as `CORRECTED`, what a trial made of it: whether the fit is
    right where the model is, is no question to a correction that is learned on targets of another kind.
    """
    started = time.perf_counter()
    world, sources = _world(plan, data, donors, networks, path, targets=targets, seed=seed)
    model = path.model(world.data, sources)
    edges = path.fit(model, world.data, sources, seed=seed).edges()
    told = [(plan, edges)]
    if plan.name == OWN and "inclusion_model" in edges:
        told = [(plan, edges.assign(inclusion=edges["inclusion_model"])), (Plan(CORRECTED, plan.rung), edges)]
    seconds = time.perf_counter() - started
    return [Trial(one, replicate, seed, pairs_of(table, world), seconds) for one, table in told]


def _world(
    plan: Plan,
    data: ExpressionData,
    donors: OutOfFold,
    networks: Mapping[str, PriorNetwork],
    path: UserPath,
    *,
    targets: int,
    seed: int,
) -> tuple[World, dict[str, PriorNetwork]]:
    """The cells with their truth, and the sources of prior knowledge about them."""
    if plan.name == OWN:
        return own_world(data, donors, path.model, num_targets=targets, seed=seed), {}
    assert plan.kind is not None
    world = semi_synthetic(data, donors, plan.kind, num_targets=targets, seed=seed)
    share = 0.0 if plan.moved is None else plan.moved
    sources = {
        name: prior_like(network, data, world, moved=share, seed=seed + 101 * i)
        for i, (name, network) in enumerate(networks.items())
    }
    return world, sources
