"""The programs of a fit at a glance, and their top genes."""

from html import escape

from ..figures import programs as program_figures
from .page import Cell, bar, paragraph, table
from .parts import percents, probability, records
from .pictures import panels, picture
from .program_tables import ProgramTables

NUM_PANELS, NUM_GENES, NUM_TABLES = 9, 12, 12
MAX_LFSR = 0.05
MOST_PROGRAMS = 40


def glance(tables: ProgramTables) -> list[str]:
    """What each program explains, and how many genes belong to it."""
    factors, share = tables.factors, tables.importance()
    known = bool(factors["lower"].notna().any())  # not of a point estimate
    split = any(factors[axis].nunique() > 1 for axis in ("view", "group"))
    sure = tables.programs[tables.programs["lfsr"] < MAX_LFSR]["program"].value_counts()
    cases = factors.groupby("program", sort=False)
    interval = f"{tables.level:.0%} interval"
    header = ["program", "library", "variance explained", interval, "where largest", "genes", "sure"]
    left_out = set()
    if not known:
        left_out |= {interval, "genes", "sure"}
    if not split:
        left_out.add("where largest")
    if not factors["library"].astype(bool).any():
        left_out.add("library")
    rows = []
    for program in share.index[:MOST_PROGRAMS]:
        part = cases.get_group(program)
        best = next(iter(records(part.sort_values("variance_explained", ascending=False).head(1))))
        where = [str(getattr(best, axis)) for axis in ("view", "group") if part[axis].nunique() > 1]
        row = [
            name_cell(program),
            best.library or "–",
            bar(best.variance_explained / max(share.iloc[0], 1e-12), f"{best.variance_explained:.1%}"),
            percents(best.lower, best.upper),
            " · ".join(where) or "all cells",
            f"{best.genes:,.0f}",
            f"{sure.get(program, 0):,}",
        ]
        rows.append([cell for cell, name in zip(row, header, strict=True) if name not in left_out])
    names = [name for name in header if name not in left_out]
    within = " of a view, in a group of cells," if split else ""
    intro = (
        f"The variance that a program explains is the share of the variation of all genes{within} that would be lost "
        "without it."
    )
    caption = "Programs whose bars are near zero can be ignored."
    if known:
        intro += (
            " Genes: how many are expected to belong to the program. Sure: how many loadings have a false sign rate "
            f"below {MAX_LFSR:.0%}."
        )
        caption = f"Bars: posterior mean; lines: interval. {caption}"
    if len(rows) < len(share):
        intro += f" The {len(rows)} most important of {len(share)} are listed."
    drawn = program_figures.variance_explained(factors, level=tables.level)
    shown = table(names, rows, numeric=(interval, "genes", "sure"), detail=("library", "where largest", "genes"))
    return [paragraph(intro), picture(drawn, caption), shown]


LONG = 20  # letters of a name that is broken over lines: names of gene sets have no spaces, and tables would be cut off


def cut_name(program: str, limit: int = 46) -> str:
    """A name that fits a table."""
    return program if len(program) <= limit else program[: limit - 1] + "…"


def name_cell(program: str, *, again: bool = False) -> Cell:
    """The name of a program, which may be broken where it is long; greyed where it stands above it too."""
    name = cut_name(program)
    return Cell(
        escape(name), " ".join(["gene", *(["again"] if again else []), *(["long"] if len(name) > LONG else [])])
    )


def top_genes(tables: ProgramTables) -> list[str]:
    """The largest loadings of the most important programs."""
    programs, names = tables.programs, list(tables.importance().index)
    known = bool(programs["lower"].notna().any())  # not of a point estimate
    listed = bool((programs["prior"] > 0).any())
    caption = "Dots: posterior mean; lines: interval" if known else "Dots: the estimates"
    caption += "; diamonds: the gene is in the program's gene set." if listed else "."
    if known:
        caption += " A gene far from zero with a short line belongs to the program."
    drawn = program_figures.loading_forest(programs, names[:NUM_PANELS], level=tables.level, count=NUM_GENES)
    uncertain = ("sd", "lower", "upper", "sign_probability", "lfsr")
    numeric = ["loading", *(uncertain if known else ()), *(["prior"] if listed else [])]
    texts = {"sign_probability": probability, "lfsr": probability, "sd": "{:.3f}".format, "prior": _confidence}
    rows = []
    for name in names[:NUM_TABLES]:
        part = programs[programs["program"] == name]
        part = part.reindex(part["loading"].abs().sort_values(ascending=False, kind="stable").index).head(10)
        for i, row in enumerate(records(part)):
            cells = [
                name_cell(name, again=i > 0),
                Cell(escape(row.gene), "gene"),
                Cell("rises", "up") if row.loading >= 0 else Cell("falls", "down"),
            ]
            rows.append([*cells, *(texts.get(c, "{:+.3f}".format)(getattr(row, c)) for c in numeric)])
    shown = min(len(names), NUM_TABLES)
    most = "the most important program" if shown == 1 else f"the {shown} most important programs"
    told = paragraph(f"The ten largest loadings of {most}; all are in programs.csv.")
    detail = [name for name in numeric if name not in ("loading", "lfsr")]
    return [
        panels(drawn, caption),
        told,
        table(("program", "gene", "", *numeric), rows, numeric=numeric, detail=detail),
    ]


def _confidence(prior: float) -> str:
    return f"{prior:.2f}" if prior > 0 else "–"
