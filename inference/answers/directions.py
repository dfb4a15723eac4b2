"""What observations cannot tell a prediction: which of two regulators acts on the other."""

from typing import NamedTuple

import numpy as np

from ...models import LinearNetwork, Symphony
from ..draws.fitted import PosteriorLike

PROBABLE = 0.5  # inclusion beyond which an edge counts


class Unresolved(NamedTuple):
    """``edges`` probable edges between regulators of which neither end was perturbed in any cell, with an example;
    ``perturbed``: whether any regulator was."""

    edges: int
    example: tuple[str, str] | None
    perturbed: bool


def unresolved_edges(posterior: PosteriorLike[LinearNetwork | Symphony]) -> Unresolved:
    """Edges whose direction a regression cannot know: both ends are regulators and targets, and no cell has an
    intervention on either, which would cut what comes in there."""
    model = posterior.model
    tfs, targets = list(model.tfs), list(model.targets)
    cut = {targets[int(i)] for i in model.perturbed.tolist()}
    both = set(tfs) & set(targets)
    open_ended = both - cut
    rows = np.isin(np.asarray(tfs, dtype=object), list(open_ended))
    columns = np.isin(np.asarray(targets, dtype=object), list(open_ended))
    allowed = model.edge_prior.allowed.cpu().numpy()
    inclusion = np.where(allowed, posterior.moments["W"].inclusion, 0.0) * np.outer(rows, columns)
    number = int((inclusion > PROBABLE).sum())
    best = np.unravel_index(int(inclusion.argmax()), inclusion.shape) if number else None
    example = None if best is None else (tfs[int(best[0])], targets[int(best[1])])
    return Unresolved(number, example, bool(cut & both))


def direction_notes(posterior: PosteriorLike[LinearNetwork | Symphony]) -> list[str]:
    """What is to be said with a prediction of knock-outs; nothing where directions are known."""
    found = unresolved_edges(posterior)
    if found.example is None:
        return []
    one, other = found.example
    many = "1 probable edge is" if found.edges == 1 else f"{found.edges} probable edges are"
    seen = "these cells have interventions on other regulators only" if found.perturbed else "the data have none"
    return [
        f"directions are not known: {many} between regulators that are targets themselves, "
        f"and only interventions tell {one} -> {other} from {other} -> {one} ({seen}). Levels after a knock-out are "
        "averaged over the directions that these cells allow, feedback among them: intervals are wide for it, and most "
        "signs are open. Where regulators act on each other in a circle these cells do not identify what a knock-out "
        "does: intervals can then miss the truth by far, and more often than they say; cells with interventions "
        "(`perturbation_key=`) help. With `steps=` intervals lack that "
        "doubt: the regression's own directions are followed, wrong ones too"
    ]
