"""How many regulators made targets have: as many as makes fits state as many edges of them as of real genes."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...models import ExpressionData
from ...models.data.out_of_fold import OutOfFold
from ...priors import PriorNetwork
from .trial import (
    FEWEST_MOST,
    HIDDEN,
    KINDS,
    Bench,
    MakeModel,
    Stated,
    TrialOptions,
    benches_like,
    heard_fit,
    overlapping,
    short_fit,
    stated,
)
from .witnesses import Witnesses, measured_well

Causes = dict[int, tuple[int, int]]
"""By kind of world, the fewest and the most regulators of a target that stands for a gene that is explained."""
AGREED = 1.2  # between two chains of the real genes: what they do not agree on is not known
SEEN_THROUGH = 1  # a kind of worlds, see `benches_like`


def stated_alike(
    data: ExpressionData,
    donors: OutOfFold,
    networks: Mapping[str, PriorNetwork],
    make: MakeModel,
    cells: Sequence[float | None],
    options: TrialOptions,
    *,
    witnesses: Witnesses | None = None,
    further: bool = False,
    seed: int,
    threads: int = 1,
) -> tuple[Stated, Causes]:
    """What fits of all worlds say (`stated`), of targets with one to four regulators, or as many more as makes the fits
    state as many edges of them as they do of the real genes that they stand for (`causes_like`), if regulators are
    measured well; and how many that are. ``further``: after the usual worlds come more with hidden causes
    (`benches_like`). ``threads`` as of `stated`."""

    def worlds(causes: Causes | None = None) -> list[Bench]:
        made = lambda more: benches_like(
            data, donors, networks, options, seed=seed, causes=causes, further=more, threads=threads
        )
        return [*made(False), *(made(True) if further else [])]

    benches = worlds()
    found = stated(benches, make, cells, options, witnesses=witnesses, seed=seed, threads=threads)
    made = {kind: edges_stated(found, benches, kind) for kind in range(KINDS) if (found.world % KINDS == kind).any()}
    if not measured_well(data):  # where each of several regulators tells a part of one, fits state more edges anyhow
        return found, dict.fromkeys(made, FEWEST_MOST)
    real = real_edges(
        data, donors, networks, make, cells, options, made, witnesses=witnesses, seed=seed, threads=threads
    )
    causes = causes_like(real, made, options.raised)
    more = {kind: span for kind, span in causes.items() if span != FEWEST_MOST}
    if more:
        kept = ~np.isin(found.world % KINDS, list(more))
        del benches  # before others are made
        benches = worlds(more)
        new = stated(benches, make, cells, options, witnesses=witnesses, seed=seed, threads=threads)
        found = Stated.together([found.of(kept), new])
    return found, causes


def edges_stated(found: Stated, benches: Sequence[Bench], kind: int) -> list[float]:
    """A target of worlds of this kind, by posterior."""
    number = sum(int((bench.world % KINDS == kind).sum()) for bench in benches)
    return [total(row) / number for row in found.probability[:, found.world % KINDS == kind]]


def total(probability: np.ndarray) -> float:
    """Edges stated; NaN of a posterior that says the same of all, which is what was known before (`says_nothing`)."""
    return float("nan") if np.ptp(probability) == 0 else float(probability.sum())


def causes_like(real: Sequence[float], made: Mapping[int, Sequence[float]], raised: float) -> Causes:
    """As many regulators as real genes have.

    Where the linear model is wrong a fit states more edges than there are, and where effects are small fewer. So what
    is stated of real genes is not believed, but compared with what the same fits state of made targets that stand for
    them, whose regulators are known; their number is raised in proportion (indirect inference, Gourieroux, Monfort &
    Renault 1993, J Appl Econom 8:S85). Only where every posterior states more of the real genes, and two chains agree:
    what one posterior alone sees is what the model gets wrong, and there two short chains seldom agree. One that says
    nothing is not asked. It is not lowered below one to four: of networks whose genes have one regulator or two, lists
    were then empty or nearly so.

    Parameters
    ----------
    real
        Edges a gene that are stated of the real genes: by two chains of the likelihood of all cells, then by the other
        posteriors; the last may be missing, if these two show that nothing is to be raised.
    made
        By kind, edges a gene that each posterior states of made targets with one to four regulators, NaN where it says
        nothing. Of worlds with hidden causes fewer regulators are offered, and less is stated anyhow: they have as many
        as `SEEN_THROUGH`.
    raised
        Of `TrialOptions`.
    """
    found = {}
    for kind in made:
        first = made[SEEN_THROUGH if kind == HIDDEN and SEEN_THROUGH in made else kind]
        times = [has / max(of, 1e-9) for has, of in zip(real, (first[0], *first), strict=False)]
        said = [each for each in times if not np.isnan(each)]
        agreed = not np.isnan(times[:2]).any() and max(real[:2]) < AGREED * min(real[:2])
        many = float(np.median(said)) if agreed and min(said) > raised else 1.0
        found[kind] = (round(many * FEWEST_MOST[0]), round(many * FEWEST_MOST[1]))
    return found


def real_edges(
    data: ExpressionData,
    donors: OutOfFold,
    networks: Mapping[str, PriorNetwork],
    make: MakeModel,
    cells: Sequence[float | None],
    options: TrialOptions,
    made: Mapping[int, Sequence[float]],
    *,
    witnesses: Witnesses | None = None,
    seed: int,
    threads: int = 1,
) -> list[float]:
    """Edges a gene that are stated of the genes that lend themselves to targets, as `causes_like` takes them: no more
    fits are made than it needs, each by ``threads``."""
    genes = donors.genes
    own = data.select_genes((*data.tfs, *genes))
    known = overlapping(networks, data.tfs, genes)
    model = make(own, known, genes)
    allowed = model.edge_prior.allowed.cpu().numpy()
    edges = lambda inclusion: total(inclusion[allowed]) / len(genes)
    first = edges(short_fit(model, None, options, seed=seed, threads=threads))
    if all(first <= options.raised * stated[0] for stated in made.values()):
        return [first, first]
    found = [first, edges(short_fit(model, None, options, seed=seed + 1, threads=threads))]
    if witnesses is not None:
        found.append(edges(heard_fit(model, own, known, make, witnesses, options, seed=seed, threads=threads)))
    return found + [
        edges(short_fit(model, number, options, seed=seed, threads=threads)) for number in cells if number is not None
    ]
