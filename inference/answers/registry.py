"""Which model is answered for by what."""

from typing import Any

from ...models import (
    PMFGRN,
    CellBox,
    FactorBox,
    FactorModel,
    LinearNetwork,
    Model,
    NetREXCF,
    Phoenix,
    Symphony,
    TrajectoryNetwork,
)
from ..lookup import along_bases
from .activities import ActivityAnswers
from .base import Answers, M
from .cellbox import CellBoxAnswers
from .courses import CourseAnswers
from .linear import LinearAnswers
from .netrex_cf import FilterAnswers
from .panels import PanelAnswers
from .programs import ProgramAnswers
from .symphony import SymphonyAnswers
from .trajectory import TrajectoryAnswers

ANSWERS: dict[type[Model], Answers[Any]] = {
    LinearNetwork: LinearAnswers(),
    Symphony: SymphonyAnswers(),
    FactorBox: PanelAnswers(),
    TrajectoryNetwork: TrajectoryAnswers(),
    CellBox: CellBoxAnswers(),
    Phoenix: CourseAnswers(),
    PMFGRN: ActivityAnswers(),
    NetREXCF: FilterAnswers(),
    FactorModel: ProgramAnswers(),
}
"""By class of model; a class without a row has that of its nearest base."""

REFUSING: Answers[Any] = Answers()


def answers_of(model: Model) -> Answers[Any]:
    """What the fit of a model can be asked; of a model without a row, nothing but what every fit has."""
    return along_bases(ANSWERS, type(model)) or REFUSING


def register_answers(model: type[M], answers: Answers[M]) -> None:
    """Answer for a class of models, and for those derived from it.

    Parameters
    ----------
    model
        The class, from anywhere.
    answers
        What its fits can be asked. Takes the place of what the class had.
    """
    ANSWERS[model] = answers
