"""A source of prior knowledge about made targets, as wide as a real source is about real genes."""

import numpy as np
import pandas as pd

from ...priors import PriorNetwork
from ..data.expression import ExpressionData
from .semi_synthetic import World


def prior_like(network: PriorNetwork, data: ExpressionData, world: World, *, moved: float, seed: int) -> PriorNetwork:
    """Build a source around the truth of a world.

    Each target is listed with as many regulators as the real source lists for the real gene that lent the target its
    scale: those that act first, then others, as a source that lists more than acts must. Then a share of all edges is
    moved to random places. Confidences are drawn from those of the real source; signs are the true ones, for the share
    of edges for which the real source has one (others are 0), and travel with an edge that is moved.

    Parameters
    ----------
    network
        The real source.
    data
        The real cells, of which the world was made.
    world
        Its regulators that are offered, and its targets.
    moved
        Share of the edges that is moved, in [0, 1].
    seed
        Same seed, same source.

    Raises
    ------
    ValueError
        A share outside [0, 1]; a source without an edge between the real regulators and genes.
    """
    generator = np.random.default_rng([seed, 5])
    listed = network.to_frame()
    listed = listed[listed["source"].isin(set(data.tfs)) & listed["target"].isin(set(data.genes))]
    if listed.empty:
        raise ValueError(f"prior {network.name!r} lists no edge between the candidate regulators and genes of the data")
    number = listed["target"].value_counts()
    tfs = world.data.tfs
    share = len(tfs) / len(data.tfs)  # of the regulators that are offered, a source lists the offered ones
    rows: list[tuple[str, str, int]] = []
    for g, (target, donor) in enumerate(zip(world.targets, world.donors, strict=True)):
        wanted = generator.binomial(int(number.get(donor, 0)), share) if share < 1 else int(number.get(donor, 0))
        order = generator.permutation(len(tfs))
        order = order[np.argsort(world.sign[order, g] == 0, kind="stable")]  # those that act come first
        rows += [(tfs[t], target, int(world.sign[t, g])) for t in order[: min(wanted, len(tfs))]]
    if not rows:  # genes that the source says nothing of: one edge, for there are no empty sources
        t, g = divmod(int(generator.integers(world.sign.size)), len(world.targets))
        rows = [(tfs[t], world.targets[g], int(world.sign[t, g]))]
    table = pd.DataFrame(rows, columns=["source", "target", "sign"])
    guessed = generator.choice([-1, 1], size=len(table))
    table["sign"] = np.where(table["sign"] == 0, guessed, table["sign"])
    signed = float((listed["sign"] != 0).mean())
    table.loc[generator.random(len(table)) >= signed, "sign"] = 0
    table["probability"] = generator.choice(listed["probability"].to_numpy(), size=len(table))
    made = PriorNetwork.from_edges(table, name=network.name)
    return made.corrupted(moved, generator, sources=tfs, targets=world.targets)
