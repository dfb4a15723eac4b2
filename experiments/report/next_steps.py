"""What to do after reading a report of a network, with the commands to type."""

from html import escape

from ...inference import Posterior
from ...inference.answers.promise import why_no_list
from ...inference.choice import engine_of
from ...inference.draws.layout import has_edges
from .page import Cell, table


def next_steps(posterior: Posterior, regulator: str | None) -> list[str]:
    """Questions and the commands that answer them.

    Parameters
    ----------
    posterior
        The fit.
    regulator
        One with a probable edge, for the examples; None: there is none.
    """
    gene = regulator or "GENE"
    steps = [("What of one gene: its regulators, its targets?", f"pyrogrn show RUN {gene}")]
    if has_edges(posterior.model) and posterior.model.plain_regression:
        steps.append(("How wrong is such a list on cells like mine?", "pyrogrn calibrate FILE --tfs TFS --out trust"))
        steps.append(
            ("How active is each regulator in each cell?", "pyrogrn regulons RUN --expression FILE --out regulons")
        )
    if posterior.coords["source"]:
        steps.append(("What is each source of knowledge worth?", "pyrogrn ablate FILE --prior NAME=FILE --out worth"))
    if not engine_of(posterior.guide).point:
        steps.append(
            (f"What would a knock-out of {gene} do?", f"pyrogrn predict RUN --knockout {gene} --out knockout.csv")
        )
    which = "--fdr 0.1" if why_no_list(posterior) is None else "--top 100"
    steps.append(("How do I draw it in Cytoscape?", f"pyrogrn convert RUN network.graphml --to graphml {which}"))
    steps.append(
        ("How do I test it?", "perturb the regulators of the edges that matter: interventions tell directions")
    )
    rows = [
        [
            Cell(escape(question), "wide"),
            Cell(f"<code>{escape(answer)}</code>" if "pyrogrn" in answer else escape(answer)),
        ]
        for question, answer in steps
    ]
    return [table(("question", "command, where RUN is the folder of this report"), rows)]
