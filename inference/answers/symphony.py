"""Linear networks with observed edges."""

from ...models import Symphony
from .linear import LinearAnswers


class SymphonyAnswers(LinearAnswers[Symphony]):
    """As a linear network; of its sources that are observations, the prior knows nothing."""

    predicts_held_out = False

    def has_edge_prior(self, model: Symphony) -> bool:
        return not model.has_evidence
