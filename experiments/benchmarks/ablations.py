"""What each source of prior knowledge is worth on real and simulated data, and how wrong it may be before it hurts.

``python -m pyrogrn.experiments.benchmarks.ablations --data FOLDER "yeast sources"`` runs one part; what it finished
is kept, and so are rows of other parts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch

from ...inference import Gibbs, fit
from ...models import ExpressionData, LinearNetwork
from ...priors import PriorNetwork
from ..ablation import AblationResult, Change, Effort, ablate, scale_source, standard_changes
from .results import Results

SEEDS = (0, 1, 2)  # of chains, cells held out, and damage
# for yeast with all sources the mean error of a probability is 0.028 with 4 chains of 800 and 0.024 with 8 of 600, as
# chains settle in different places; 16 of 300 bring it to 0.019, in 45 s of one core
EFFORT = Effort(num_chains=16, num_warmup=200, num_samples=300, num_steps=1000)
# for average precision and log scores, in a third of the time; the floor under the bits is reported with them
SHORT = Effort(num_chains=8, num_warmup=150, num_samples=200, num_steps=1000)
WORK = Path(tempfile.gettempdir()) / "pyrogrn-ablations"  # finished fits, so that an interrupted run goes on
NUM_TARGETS = 200  # of the bacteria's thousands, drawn once: a fit stays below a minute
REPORTED = (
    "average_precision",
    "delta_average_precision",
    "log_score_bits",
    "delta_log_score_bits",
    "ece",
    "delta_elpd",
    "gain_bits",
    "gain_bits_rate",
    "gain_bits_floor",
    "gain_bits_per_edge",
    "moved_bits",
    "moved_bits_floor",
    "expected_edges",
    "chain_error",
    "seconds",
)
CONFIDENCE = 0.9
NO_REFIT = "ecoli no refit"


@dataclass(frozen=True)
class Part:
    """One call of `ablate`: a question asked of a data set."""

    name: str
    load: Callable[[Path], tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]]
    changes: Sequence[Change]
    methods: Sequence[str] = ("linear",)
    strategies: Sequence[str] | None = None
    trust: Sequence[str | float] = ("sampled",)
    hold_out_cells: float = 0.2
    effort: Effort = SHORT

    @property
    def done(self) -> str:
        """Marks the part as complete with fits of this length: those of another are run again."""
        return done(self.effort)


def done(effort: Effort) -> str:
    """Label of the row that says a part is complete."""
    return f"all, {effort.num_chains} chains of {effort.num_samples}"


def run(folder: Path, results: Results, *, only: Sequence[str] = ()) -> None:
    """All parts that the results lack, or of them those named in ``only``.

    ``ValueError`` for a name that no part has.
    """
    known = {NO_REFIT: done(EFFORT)} | {part.name: part.done for part in parts()}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"no part {unknown[0]!r}: choose from {', '.join(known)}")
    results.resume()
    lacking = [n for n in only or known if results.value(n, known[n], "0-2", "parts_done") is None]
    if NO_REFIT in lacking:
        forget(results, NO_REFIT)
        no_refit(folder, results)
        results.add(NO_REFIT, done(EFFORT), "0-2", "parts_done", 1.0)
    for part in (part for part in parts() if part.name in lacking):
        found = ablation(part, folder)
        forget(results, part.name)
        add(results, part, found)


def forget(results: Results, name: str) -> None:
    """Drop the rows of a part: those of another effort, or of a run that was interrupted."""
    results.rows = [row for row in results.rows if row["task"] != name]


def ablation(part: Part, folder: Path, *, jobs: int = 1) -> AblationResult:
    """Run one part; finished fits of an earlier run are read."""
    data, networks, truth = part.load(folder)
    return ablate(
        data,
        networks,
        truth=truth,
        methods=part.methods,
        changes=part.changes,
        strategies=part.strategies,
        trust=part.trust,
        seeds=SEEDS,
        hold_out_cells=part.hold_out_cells,
        effort=part.effort,
        out=WORK / part.name.replace(" ", "_").replace(",", ""),
        backend="serial" if jobs == 1 else "loky",
        jobs=None if jobs == 1 else jobs,
    )


def no_refit(folder: Path, results: Results, *, num_held: int = 10) -> None:
    """One source left out of single targets by reweighting the draws of one fit, against a fit without its edges there.

    The edges that the source lists for ``num_held`` random targets: mean absolute difference of their probabilities.
    """
    data, networks, _ = ecoli(folder)
    source = networks["gold"]
    guide = Gibbs(EFFORT.num_chains, EFFORT.num_warmup, EFFORT.num_samples)
    held = sorted(np.random.default_rng(0).choice(sorted(set(source.targets)), num_held, replace=False))
    posterior = lambda network, seed: fit(
        LinearNetwork.from_data(data, networks={"gold": network}), guide=guide, seed=seed
    )
    whole, again, refit = posterior(source, 0), posterior(source, 1), posterior(source.held_out(held), 2)
    started = time.perf_counter()
    scaled = scale_source(whole, "gold")
    seconds = time.perf_counter() - started
    place = {gene: i for i, gene in enumerate(data.genes)}
    columns = np.array([place[gene] for gene in held])
    listed = whole.model.knowledge.probability[0].numpy()[:, columns] > 0
    pick = lambda table: table[:, columns][listed].astype(float)
    reference = pick(refit.moments["W"].inclusion)
    each = {"fit with the source": whole.moments["W"].inclusion, "scaled": scaled.inclusion}
    for name, table in each.items():
        results.add(NO_REFIT, name, 0, "mean difference from refit", np.abs(pick(table) - reference).mean())
        results.add(NO_REFIT, name, 0, "mean probability", pick(table).mean())
    results.add(NO_REFIT, "refit", 2, "mean probability", reference.mean())
    noise = np.abs(pick(again.moments["W"].inclusion) - pick(whole.moments["W"].inclusion)).mean()
    results.add(NO_REFIT, "another seed", 1, "mean difference between seeds", noise)
    results.add(NO_REFIT, "scaled", 0, "seconds", seconds)
    results.add(NO_REFIT, "refit", 2, "seconds", refit.history.seconds)
    results.add(NO_REFIT, "scaled", 0, "reliable", float(scaled.reliable[columns].mean()))


def add(results: Results, part: Part, result: AblationResult) -> None:
    """Means over seeds with their standard errors, trust, and the break-even points."""
    seeds = f"{SEEDS[0]}-{SEEDS[-1]}"
    for row in result.summary().to_dict("records"):
        method = f"{label(row)}: {row['change']}"
        for name in REPORTED:
            if row[name] == row[name]:
                results.add(part.name, method, seeds, name, row[name], row[f"{name}_se"])
            if name.startswith("delta") and row[name] == row[name]:
                results.add(part.name, method, seeds, f"{name}_within_se", row[f"{name}_within"])
    for row in result.trust_summary().to_dict("records"):
        if row["trust"] == "sampled":
            method = f"{label(row)}: {row['change']}"
            results.add(part.name, method, seeds, f"trust in {row['source']}", row["mean"], row["mean_se"])
    for measure in ("delta_log_score_bits", "delta_average_precision"):
        for row in result.break_even(measure).to_dict("records"):
            method = f"{label(row)}: {row['sources']} {row['damage']}"
            score = f"break-even of {measure.removeprefix('delta_')}"
            for name in ("", ", lower", ", upper", ", never"):
                value = row[name.removeprefix(", ") or "break_even"]
                results.add(part.name, method, seeds, score + name, value)
    results.add(part.name, part.done, seeds, "parts_done", 1.0)


def label(row: dict) -> str:
    """Method with the way knowledge enters it."""
    way = "" if row["strategy"] == "own" else f" {row['strategy']}"
    return f"{row['method']}{way}" + ("" if row["trust"] == "sampled" else f", trust {row['trust']}")


# -- the data sets ----
def parts() -> list[Part]:
    """Which source helps how much; at which damage it starts to hurt, by method and strategy."""
    none = Change("no source", ())
    swept = (0.1, 0.2, 0.4, 0.7, 1.0)
    yeast_sources = ("motif", "ATAC motif", "YEASTRACT")
    yeastract = [c for c in standard_changes(yeast_sources, corrupt=swept, damage_of=("YEASTRACT",))]
    yeastract = [c for c in yeastract if set(c.sources) <= {"YEASTRACT"}]
    gold = standard_changes(("gold",), corrupt=swept, hold_out=(0.5,), shuffle=True)
    few = standard_changes(("gold",), corrupt=(0.2, 0.5, 1.0))
    human = ("CollecTRI", "DoRothEA")
    published = [none, *(Change(f"published, {share:.0%} moved", (f"prior {share:.0%}",)) for share in (0, 0.05, 0.1))]
    published += [Change("published, 20% moved", ("prior 20%",))]
    published += [Change("published 20%, shuffled", ("prior 20%",), "shuffled", 1.0)]
    further = [Change(f"truth, {share:.0%} moved", ("prior 0%",), "moved", share) for share in (0.4, 0.7, 1.0)]
    beeline = standard_changes(human, corrupt=(0.5, 1.0))
    return [
        Part("yeast sources", yeast, standard_changes(yeast_sources, hold_out=(0.5,)), effort=EFFORT),
        Part("ecoli gold", ecoli, gold, effort=EFFORT),
        Part("sim350 published", sim350, published + further, methods=("trajectory",)),
        Part("beeline_mhsc_gm string", beeline_of("beeline_mhsc_gm", "string"), beeline),
        Part("beeline_mdc string", beeline_of("beeline_mdc", "string"), beeline),
        Part("ecoli trust", ecoli, few, ("linear",), ("inclusion", "scale"), ("sampled", 3.0)),
        Part("yeast strategies", yeast, yeastract, ("linear",), ("inclusion", "scale", "mask")),
        Part("yeast methods", yeast_course, yeastract, ("trajectory", "prior-only"), hold_out_cells=0.0),
        Part("ecoli methods", ecoli, few, ("grnular", "glad-tf")),
        Part("ecoli strategies", ecoli, few, ("linear",), ("scale", "mask", "mask:laplace", "collaborative")),
        Part("bsubtilis gold", bsubtilis, gold),
        Part("beeline_hhep string", beeline_of("beeline_hhep", "string"), beeline),
        Part("beeline_mesc string", beeline_of("beeline_mesc", "string"), beeline),
    ]


def yeast(folder: Path) -> tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]:
    """Two series of a cell cycle: regulators and targets of the gold standard. YEASTRACT nearly contains the gold
    standard: it shows what a right source would do, and not what YEASTRACT is worth."""
    place = folder / "yeast_pramila"
    gold, cells = pd.read_csv(place / "gold_standard.csv"), pd.read_csv(place / "expression.csv.gz")
    genes = sorted(set(cells.columns) & (set(gold["source"]) | set(gold["target"])))
    tfs = sorted(set(gold["source"]) & set(genes))
    data = ExpressionData.from_frame(cells[genes], tfs=tfs)
    files = {"motif": "motif_prior", "ATAC motif": "atac_motif_prior", "YEASTRACT": "yeastract"}
    read = lambda name, file: PriorNetwork.read(place / f"{file}.csv.gz", name=name, signed=False)
    return data, {name: read(name, file) for name, file in files.items()}, gold


def yeast_course(folder: Path) -> tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]:
    """The same as two time courses."""
    data, networks, gold = yeast(folder)
    cells = pd.read_csv(folder / "yeast_pramila" / "expression.csv.gz")
    return data.with_times(cells["time_min"].tolist(), cells["replicate"].tolist()), networks, gold


def ecoli(folder: Path) -> tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]:
    """Stress responses of E. coli (logs of the intensities); the source is the gold standard itself, to be damaged, or
    taken away from half of the targets, which are then scored."""
    place = folder / "ecoli_stress"
    cells, gold = pd.read_csv(place / "expression.csv.gz"), pd.read_csv(place / "network.csv.gz")
    levels = cells.drop(columns=["condition", "replicate", "time_point"]).clip(lower=1.0)
    return of_gold(levels.apply(np.log2), gold)


def bsubtilis(folder: Path) -> tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]:
    """Transcriptomes of B. subtilis, as `ecoli`."""
    place = folder / "bsubtilis"
    cells = pd.read_csv(place / "expression.csv.gz").drop(columns=["sample"])
    return of_gold(cells, pd.read_csv(place / "gold_standard.csv.gz"))


def of_gold(cells: pd.DataFrame, gold: pd.DataFrame) -> tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]:
    """Regulators of a gold standard and `NUM_TARGETS` of its targets, with the gold standard as the source."""
    gold = gold[gold["source"].isin(cells.columns) & gold["target"].isin(cells.columns)]
    gold = gold.loc[gold["source"] != gold["target"], ["source", "target"]].drop_duplicates()
    targets = np.random.default_rng(0).choice(sorted(set(gold["target"])), NUM_TARGETS, replace=False)
    gold = gold[gold["target"].isin(targets)]
    tfs = sorted(set(gold["source"]))
    data = ExpressionData.from_frame(cells[sorted({*targets, *tfs})], tfs=tfs).without_constant_genes()
    source = PriorNetwork.from_edges(gold.assign(probability=CONFIDENCE), name="gold")
    return data, {"gold": source}, gold


def sim350(folder: Path) -> tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]:
    """Simulated time courses with the published priors, of which 0, 5, 10, and 20% of the edges are misplaced."""
    place = folder / "sim350"
    cells = anndata.read_h5ad(place / "trajectories.h5ad")
    cells = cells[cells.obs["split"] == "train"].copy()
    truth, table = pd.read_csv(place / "network.csv"), pd.read_csv(place / "priors.csv.gz")
    data = ExpressionData.from_anndata(
        cells, tfs=sorted(set(truth["source"])), time_key="time", trajectory_key="trajectory"
    )
    networks = {}
    for noise, share in ((0.0, "0%"), (0.025, "5%"), (0.05, "10%"), (0.1, "20%")):
        rows = table.loc[np.isclose(table["noise"], noise), ["source", "target"]].assign(probability=CONFIDENCE)
        networks[f"prior {share}"] = PriorNetwork.from_edges(rows, name=f"prior {share}")
    return data, networks, truth


def beeline_of(name: str, truth: str) -> Callable[[Path], tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]]:
    """A BEELINE set: CollecTRI and DoRothEA as sources, a network of the set as the truth; regulators are those of the
    truth that some source lists."""

    def load(folder: Path) -> tuple[ExpressionData, dict[str, PriorNetwork], pd.DataFrame]:
        adata = anndata.read_h5ad(folder / name / "expression.h5ad")
        known = pd.read_csv(folder / name / f"network_{truth}.csv.gz", dtype=str)
        files = {"CollecTRI": "collectri_human.csv.gz", "DoRothEA": "dorothea_abc_human.csv.gz"}
        networks = {n: PriorNetwork.read(folder / "priors" / f, name=n) for n, f in files.items()}
        genes = [str(g) for g in adata.var_names]
        listed = {source for network in networks.values() for source in network.align(genes, genes)[0].sources}
        tfs = [g for g in genes if g in listed & set(known["source"])]
        data = ExpressionData.from_anndata(adata, tfs=tfs).without_constant_genes()
        return data, networks, known

    return load


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names of parts; default all")
    parser.add_argument("--data", type=Path, required=True, help="folder of benchmark data")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.error(f"no folder {arguments.data}: the benchmarks need the data; nothing was run")
    torch.set_num_threads(1)
    try:
        run(arguments.data, Results(arguments.out / "ablations.csv"), only=arguments.only)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
