"""The one page of the ladder, as HTML with its figures inside."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from ..files.whole import whole_file
from ..report.page import badge, glossary, listing, page, paragraph, section, table
from ..report.pictures import panels, picture
from . import figures
from .plan import CORRECTED, OWN, RUNGS
from .result import PROMISED, TOLERANCE, Calibration
from .scoring import ALL, RATES

TERMS = {
    "rung": "; ".join(f"{number}: {what}" for number, what in RUNGS.items()),
    "share of edges": "of all pairs of an offered regulator and a made target, how many are true",
    "mean probability": "what is stated on average: more than the share of edges is too confident",
    "calibration error": "mean distance of stated probability and share of true edges over 15 bins (ECE); 0 is "
    "perfect, and noise alone makes a little",
    "bits a pair": "log score: how surprised one who believes the probabilities is by the truth; less is better",
    "bits of the base rate": "the same for one who knows nothing but the share of edges: above it, the probabilities "
    "are worse than none",
    "AUPRC": "average precision: how well the order of the pairs sorts true from false, whatever the probabilities",
    "listed, wrong, power": "edges in the largest list whose expected share of wrong edges is at most 5, 10 or 20%; "
    "the share of it that is wrong; the share of all true edges that is in it",
    "± ": "jackknife standard error over worlds",
    "causes hidden": "regulators that act and are neither measured nor offered; what they do is in the data",
    "residual noise": "what regressions leave over of your own genes in cells they have not seen, cell by cell: what "
    "your genes share beyond the regulators is still shared",
    "response": "in proportion (linear), up to a limit (saturating), or all at once (step)",
}


def write_page(result: Calibration, path: Path, *, command: str = "Python", title: str = "Calibration") -> None:
    """Answer, figures, tables and small print in one file."""
    summary = result.summary()
    badges = {
        True: _held(result),
        False: (_broken(summary), False),
        None: ("no list to judge", None),
    }
    content = [
        f"<h1>{escape(title)}</h1>",
        paragraph(result.headline(), "lead"),
        badge(*badges[result.kept]),
        paragraph(
            "The regulators are as you measured them; the targets were made on them, so that the truth is known, with "
            "the signal and the noise of your genes. What holds here need not hold on your real genes: it is the least "
            "that must hold."
        ),
        listing(result.notes),
        section("lists", "Lists of edges: what they promise and what they hold", *_lists(summary)),
        section("probabilities", "Probabilities", *_probabilities(result, summary)),
        section("responses", "By the kind of response", *_by_response(summary)),
        section("first", "The fit itself", *_first(summary)),
        section("terms", "What the numbers mean", glossary(TERMS)),
        section("made", "How this was made", *_made(result, command)),
    ]
    with whole_file(path) as place:
        place.write_text(page(title, "\n".join(content)), encoding="utf-8")


def _held(result: Calibration) -> tuple[str, bool | None]:
    """Of lists that hold, and whether the probabilities that they are made of do."""
    told, off = "lists keep their promise on made targets", result.off()
    if not off:
        return told, True
    where = ", ".join(f"{name} (calibration error {error:.2f})" for name, error in off.items())
    cause = ""
    if CORRECTED in off and OWN not in off:  # the same fits: what is off is not the fit
        cause = (
            f", where the model's prior draws another number of edges than the trial of infer learns on ({CORRECTED})"
        )
    return f"{told}; probabilities are far off in {where}{cause}", None


def _broken(summary: pd.DataFrame) -> str:
    """In which worlds lists hold more wrong edges than they promise."""
    worlds = _worlds(summary[summary["rung"] > 2])
    wrong = {name: float(own["value"][f"wrong_{PROMISED:g}"]) for name, own in worlds}
    over = [name for name, share in wrong.items() if share > TOLERANCE * PROMISED]
    return f"too many wrong edges in {len(over)} of {len(worlds)} worlds: {'; '.join(over)}"


def _worlds(summary: pd.DataFrame, *, response: str = ALL) -> list[tuple[str, pd.DataFrame]]:
    kept = summary[(summary["response"] == response) & (summary["rung"] != 2)]
    return [(str(name), part.set_index("score")) for name, part in kept.groupby("world", sort=False)]


def told(rows: pd.DataFrame, name: str, how: str) -> str:
    """A value with its standard error, where there is one."""
    value, error = rows.loc[name, ["value", "se"]].astype(float)
    if value != value:
        return "–"
    return format(value, how) + (f" ± {format(error, how)}" if error == error else "")


def _lists(summary: pd.DataFrame) -> list[str]:
    columns = [f"{what} at {rate:.0%}" for rate in RATES for what in ("listed", "wrong", "power")]
    rows = [
        [
            world,
            *(
                told(own, f"{what}_{rate:g}", how)
                for rate in RATES
                for what, how in (("listed", ".0f"), ("wrong", ".0%"), ("power", ".0%"))
            ),
        ]
        for world, own in _worlds(summary)
    ]
    caption = (
        "First: a list that keeps its promise lies on the dashed line, above it more edges are wrong than expected. "
        "Second: what lists find. Bars: two standard errors over worlds."
    )
    return [
        panels(figures.false_discoveries(summary), caption),
        table(("world", *columns), rows, numeric=columns, detail=[c for c in columns if not c.endswith("10%")]),
    ]


def _probabilities(result: Calibration, summary: pd.DataFrame) -> list[str]:
    names = {
        "pairs": ("pairs", ".0f"),
        "share of edges": ("base_rate", ".3f"),
        "mean probability": ("mean_inclusion", ".3f"),
        "calibration error": ("ece", ".3f"),
        "bits a pair": ("bits", ".3f"),
        "bits of the base rate": ("bits_of_base_rate", ".3f"),
        "AUPRC": ("auprc", ".3f"),
    }
    rows = [[world, *(told(own, *name) for name in names.values())] for world, own in _worlds(summary)]
    caption = (
        "On the dashed line probabilities are true; below it edges are rarer than stated. Larger points: more pairs; "
        f"bars: two standard errors, were the probabilities true. Bins with fewer than {figures.FEWEST_PAIRS} "
        "pairs are left out."
    )
    return [
        picture(figures.reliability_curves(result.reliability()), caption),
        table(("world", *names), rows, numeric=list(names), detail=("pairs", "bits a pair", "bits of the base rate")),
        *_of_correction(summary),
    ]


def _of_correction(summary: pd.DataFrame) -> list[str]:
    """Why corrected probabilities may be off where the model is right."""
    own = dict(_worlds(summary)).get(CORRECTED)
    if own is None:
        return []
    stated, true = (float(own["value"][name]) for name in ("mean_inclusion", "base_rate"))
    return [
        paragraph(
            f"“{CORRECTED}” are the same fits as the row before, as infer states them: corrected by a trial, which "
            "learns on targets that have as many regulators as your genes seem to have. Here the model's prior made "
            f"the targets, with whatever number it drew: {true:.0%} of the pairs are edges, and corrected "
            f"probabilities expect {stated:.0%}. How far the two are apart says what the correction costs where the "
            "model is right; what your genes are like is asked in the other rows."
        )
    ]


def _by_response(summary: pd.DataFrame) -> list[str]:
    kinds = [name for name in dict.fromkeys(summary["response"]) if name != ALL]
    if not kinds:
        return [paragraph("No world of rung 3 or 4 was made.")]
    names = (f"listed at {PROMISED:.0%}", "wrong", "power", "AUPRC", "calibration error")
    scores = ((f"listed_{PROMISED:g}", ".0f"), (f"wrong_{PROMISED:g}", ".0%"), (f"power_{PROMISED:g}", ".0%"))
    rows = [
        [world, kind, *(told(own, name, how) for name, how in (*scores, ("auprc", ".3f"), ("ece", ".3f")))]
        for kind in kinds
        for world, own in _worlds(summary, response=kind)
    ]
    return [table(("world", "response", *names), rows, numeric=names)]


def _first(summary: pd.DataFrame) -> list[str]:
    exact = summary[summary["rung"] == 2].set_index("score")
    if exact.empty:
        return [paragraph("The engine was not compared with the exact posterior.")]
    largest, mean = (told(exact, f"{name}_difference", ".4f") for name in ("largest", "mean"))
    return [
        paragraph(
            "On five of your regulators all graphs were enumerated, the constants of the prior held. The engine's "
            f"probabilities differ from the exact ones by {mean} on average and by {largest} at most: what is wrong "
            "with a list beyond that is the model's doing, or that of constants it has to learn."
        )
    ]


def _made(result: Calibration, command: str) -> Sequence[str]:
    entries = {"method": result.method, **{name: str(value) for name, value in result.settings.items()}}
    return [f"<pre>{escape(command)}</pre>", glossary(entries)]
