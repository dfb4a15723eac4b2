"""What to do after reading a report of a network, with the commands to type."""

from html import escape

from ...inference import Posterior
from ...inference.answers.registry import answers_of
from ...inference.choice import engine_of
from ...inference.draws.layout import has_edges
from .page import Cell, table

OF_DYNAMICS = (
    "For a network do not use these edges but those of --method trajectory on the same courses "
    "(trajectory_edges.csv of a run): many weights make the same dynamics, and most edges that trainings are sure of "
    "are wrong where the truth is known."
)


def next_steps(posterior: Posterior, regulator: str | None, *, listed: bool) -> list[str]:
    """Questions and the commands that answer them.

    Parameters
    ----------
    posterior
        The fit.
    regulator
        One with a probable edge, for the examples; None: there is none.
    listed
        Whether a list at 10% has edges: commands that make one refuse to make an empty one.
    """
    gene = regulator or "GENE"
    steps = [("What of one gene: its regulators, its targets?", f"pyrogrn show RUN {gene}")]
    if posterior.model.neural_ode:
        steps.insert(0, ("Which gene regulates which?", "trajectory_edges.csv in RUN"))
    if has_edges(posterior.model) and posterior.model.plain_regression:
        steps.append(("How wrong is such a list on cells like mine?", "pyrogrn calibrate FILE --tfs TFS --out trust"))
        steps.append(
            (
                "How active is each regulator in each cell?",
                f"pyrogrn regulons RUN{'' if listed else ' --top 100'} --expression FILE --out regulons",
            )
        )
    if posterior.model.given_sources:
        steps.append(("What is each source of knowledge worth?", "pyrogrn ablate FILE --prior NAME=FILE --out worth"))
    needs = posterior.model.needs
    if engine_of(posterior.guide).point or not answers_of(posterior.model).predicts():
        pass
    elif "inputs" in needs:
        steps.append(("What would another combination do?", f"pyrogrn predict RUN --input {gene}=-1 --out answer.csv"))
    else:
        how = "knockdown" if "perturbed" in needs else "knockout"
        word = "knock-down" if "perturbed" in needs else "knock-out"
        steps.append((f"What would a {word} of {gene} do?", f"pyrogrn predict RUN --{how} {gene} --out answer.csv"))
    if {"perturbed", "inputs"} & set(needs):
        steps.append(("Which genes drive the variation of the others?", "pyrogrn flux RUN --out flux.csv"))
    if posterior.model.neural_ode:
        steps.append(("Which genes drive the dynamics?", "pyrogrn influence RUN --out influence"))
        times = "--times 0,1,2 --out course.csv"
        steps.append((f"How does it go on without {gene}?", f"pyrogrn course RUN --knockout {gene} {times}"))
    which = "--fdr 0.1" if listed else "--top 100"
    steps.append(("How do I draw it in Cytoscape?", f"pyrogrn convert RUN network.graphml --to graphml {which}"))
    steps.append(
        ("How do I test it?", "perturb the regulators of the edges that matter: interventions tell directions")
    )
    return [_answers(steps)]


def program_steps(posterior: Posterior, gene: str | None) -> list[str]:
    """The same of gene programs; ``gene`` is one with a large loading."""
    gene = gene or "GENE"
    steps = [
        ("In which programs is a gene?", f"pyrogrn show RUN {gene}"),
        ("How active are the programs in other cells?", "pyrogrn score-cells RUN FILE --out scores.csv.gz"),
    ]
    if posterior.coords["source"]:
        worth = "pyrogrn ablate FILE --method muvi --gene-sets LIBRARY=FILE.gmt --out worth"
        steps.append(("What is each library of gene sets worth?", worth))
    elif posterior.model.name == "ppca":
        name = "pyrogrn infer FILE --method muvi --gene-sets LIBRARY=FILE.gmt --out named"
        steps.append(("Which known gene sets are they?", name))
    steps.append(("How do I see them on a UMAP?", "in Python: pyrogrn.pl.umap_program(adata, PROGRAM)"))
    return [_answers(steps)]


def _answers(steps: list[tuple[str, str]]) -> str:
    rows = [
        [
            Cell(escape(question), "wide"),
            Cell(_command(answer) if "pyrogrn" in answer else escape(answer)),
        ]
        for question, answer in steps
    ]
    return table(("question", "command, where RUN is the folder of this report"), rows)


def _command(text: str) -> str:
    """A command, which lines of a narrow screen break between its words alone: not after the hyphens of an option."""
    return f"<code>{' '.join(f'<span>{escape(word)}</span>' for word in text.split())}</code>"
