"""What inputs are tried on: readers called directly, and commands through the entry point."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pyrogrn.experiments.commands.options import read_gene_sets
from pyrogrn.experiments.files.network_files import NetworkFile, read_edges
from pyrogrn.experiments.files.readers import read_expression, read_kinds, read_names
from pyrogrn.experiments.report.run import REPORTS
from pyrogrn.inference import Posterior, load_checkpoint
from pyrogrn.inference.amortised import load_weights
from pyrogrn.models.simulators import read_sergio
from pyrogrn.priors import PriorNetwork
from pyrogrn.priors.evidence import read_scores

from .sources import FITS, GENES, QUICK, TFS
from .stored_sources import ABLATE, INFER, TRAIN, placed

assert REPORTS  # imported before workers are forked, so that no case waits for it


@dataclass(frozen=True)
class Target:
    """One thing to call.

    Attributes
    ----------
    name
        In reports.
    files
        Names in the folder of sources that it reads; mutated.
    read
        A reader, called in the folder of the case; None for a command.
    command
        Words of the command line; its files as they are called here.
    weight
        How often, relative to others: readers take milliseconds, fits seconds.
    """

    name: str
    files: tuple[str, ...]
    read: Callable[[], Any] | None = None
    command: tuple[str, ...] = ()
    weight: float = 1.0


EXPRESSION = (
    *("x.csv", "genes_first.csv", "x.tsv.gz", "x.txt", "dense.h5ad", "csr.h5ad", "csc.h5ad", "x.zarr"),
    *("x.loom", "tenx.h5", "mtx", "x.gct"),
    *(("x.parquet",) if find_spec("pyarrow") else ()),
    *(("views.h5mu",) if find_spec("mudata") else ()),
)
ASKED = {"net_inferelator-prior.tsv": "?format=inferelator-prior"}
"""What has to be said of a valid network that could be of two formats."""
KEYS = {
    "labels.csv": {"perturbation_key": "pert", "time_key": "time", "trajectory_key": "course"},
    "dense.h5ad": {"perturbation_key": "pert", "context_key": "context", "covariates": ("age",)},
    "csr.h5ad": {"time_key": "time", "trajectory_key": "course"},
    "csc.h5ad": {"layer": "raw"},
    "x.loom": {"perturbation_key": "pert"},
}


def _expression(name: str, **options: Any) -> Target:
    # the first block of rows: what is streamed is checked where it is read
    read = lambda: read_expression(Path(name), tfs=list(TFS), drop_constant=True, **options).X
    return Target(f"read_expression {name} {' '.join(options)}", (name,), read)


def readers(folder: Path) -> list[Target]:
    """Readers of every kind of input."""
    made = [_expression(name) for name in EXPRESSION]
    made += [_expression(name, **keys) for name, keys in KEYS.items()]
    made += [_expression(name, missing=True, normalize="zscore") for name in ("x.csv", "dense.h5ad")]
    made += [_expression("csr.h5ad", backed=True), _expression("dense.h5ad", backed=True)]
    made.append(_expression("drugs.csv", inputs=Path("inputs.csv")))
    made[-1] = Target(made[-1].name, ("drugs.csv", "inputs.csv"), made[-1].read)
    for path in sorted(folder.glob("net_*")):
        name = path.name
        asked, files = name + ASKED.get(name, ""), (name,)
        if name == "net_phoenix.tsv":
            asked, files = f"{name}?genes=names_phoenix.csv", (name, "names_phoenix.csv")
        made.append(Target(f"network {name}", files, lambda asked=asked: NetworkFile.parse(asked).read(name="m")))
        made.append(Target(f"read_edges {name}", files, lambda asked=asked: read_edges(Path(asked)), weight=0.5))
    for name in ("truth.csv", "scores.csv"):
        made.append(Target(f"read_edges {name}", (name,), lambda name=name: read_edges(Path(name))))
    made += [
        Target("gene sets", ("sets.gmt",), lambda: read_gene_sets(["l=sets.gmt"]), weight=2),
        Target("tfs.txt", ("tfs.txt",), lambda: read_names(Path("tfs.txt"), GENES), weight=2),
        Target("tfs.csv", ("tfs.csv",), lambda: read_names(Path("tfs.csv"), GENES), weight=2),
        Target("tfs with data", ("tfs.csv", "x.csv"), lambda: read_expression(Path("x.csv"), tfs=Path("tfs.csv"))),
        _expression("panel.csv", perturbation_key="pert"),
        Target("evidence", ("scores.csv",), lambda: read_scores(Path("scores.csv")), weight=2),
        Target("nodes", ("nodes.csv",), lambda: read_kinds("nodes.csv"), weight=2),
        Target("sergio", ("targets.csv", "regulators.csv"), lambda: read_sergio("targets.csv", "regulators.csv")),
        Target("prior", ("truth.csv",), lambda: PriorNetwork.read("truth.csv", name="m", duplicates="mean")),
    ]
    for name in FITS:
        place = f"run_{name}/model"
        made.append(Target(f"posterior {name}", (place,), lambda place=place: Posterior.load(place), weight=3))
    state = "interrupted/made.partial/checkpoint.pt"
    made.append(Target("checkpoint", (state,), lambda: load_checkpoint(Path(state)), weight=3))
    made.append(Target("trained weights", ("weights.npz",), lambda: load_weights(Path("weights.npz")), weight=3))
    return made


def _command(*words: object, files: tuple[str, ...] = (), weight: float = 1.0) -> Target:
    told = tuple(map(str, words))
    return Target(" ".join(told), files, None, told, weight)


def commands() -> list[Target]:
    """Every command, on inputs so small that most end in a tenth of a second."""
    quick = (*QUICK, "--guide", "mean-field")
    made = [
        _command("score", "edges.csv", "truth.csv", files=("edges.csv", "truth.csv"), weight=6),
        _command(
            "score", "edges.csv", "truth.csv", "--tfs", "tfs.csv", "--json", files=("tfs.csv", "truth.csv"), weight=4
        ),
        _command("convert", "net_mode.csv", "made.csv", files=("net_mode.csv",), weight=6),
        _command(
            "convert",
            "net_panda-motif.tsv",
            "made.tsv",
            "--to",
            "panda-motif",
            files=("net_panda-motif.tsv",),
            weight=4,
        ),
        _command(
            "screen",
            "screened.csv",
            "--perturbation-key",
            "pert",
            "--out",
            "made.csv",
            files=("screened.csv",),
            weight=3,
        ),
        _command(
            "predict",
            "run_linear",
            "--knockout",
            "SPI1",
            "--draws",
            3,
            "--out",
            "made.csv",
            files=("run_linear/model",),
            weight=4,
        ),
        _command(
            "predict",
            "run_contexts",
            "--all-knockouts",
            "--context",
            "a",
            "--draws",
            3,
            "--out",
            "made.csv",
            files=("run_contexts/model",),
            weight=3,
        ),
        _command(
            *("score-cells", "run_muvi", "csr.h5ad", "--out", "made.csv.gz"),
            files=("run_muvi/model", "run_muvi/config.json", "csr.h5ad"),
            weight=2,
        ),
        _command(
            "predict",
            "run_cellbox",
            "--input",
            "SPI1=1",
            "--draws",
            2,
            "--out",
            "made.csv",
            files=("run_cellbox/model",),
            weight=2,
        ),
        _command(
            "course",
            "run_phoenix",
            "--times",
            "0,1",
            "--draws",
            2,
            "--genes",
            "SPI1",
            "--out",
            "made.csv",
            files=("run_phoenix/model",),
            weight=0.5,
        ),
        _command(
            "influence",
            "run_phoenix",
            "--starts",
            2,
            "--draws",
            2,
            "--out",
            "made",
            files=("run_phoenix/model",),
            weight=0.1,
        ),
        _command("flux", "run_cellbox", "--draws", 2, "--out", "made.csv", files=("run_cellbox/model",), weight=0.3),
        _command("methods", weight=0.2),
        _command(
            *("simulate", "linear", "--genes", 6, "--tfs", 2, "--cells", 9, "--edge-probability", 0.5, "--out", "made"),
            weight=2,
        ),
        _command("simulate", "panel", "--genes", 6, "--out", "made", weight=1),
        _command("simulate", "ode", "--genes", 4, "--trajectories", 3, "--out", "made", weight=1),
        _command("simulate", "ppca", "--genes", 6, "--cells", 9, "--out", "made", weight=1),
        _command(
            "simulate", "muvi", "--genes", 20, "--cells", 9, "--sets", 2, "--set-size", 5, "--out", "made", weight=1
        ),
        _command(
            "simulate", "sergio", "--genes", 6, "--tfs", 2, "--types", 2, "--cells", 3, "--out", "made", weight=0.5
        ),
        _command(
            "simulate",
            "sergio",
            "--targets",
            "targets.csv",
            "--regulators",
            "regulators.csv",
            "--cells",
            3,
            "--out",
            "made",
            files=("targets.csv", "regulators.csv"),
            weight=0.5,
        ),
        _command(*placed(TRAIN, "training"), files=("training/made.npz.work",), weight=1),
        _command(*placed(INFER, "interrupted"), "--resume", files=("interrupted/made.partial",), weight=2),
        _command(*placed(INFER, "unreported"), "--resume", files=("unreported/made",), weight=2),
        _command(*placed(ABLATE, "ablated"), "--resume", files=("ablated/made/runs",), weight=0.5),
        _command(
            *ABLATE,
            files=("x.csv", "truth.csv", "tfs.txt"),
            weight=0.5,
        ),
        _command(
            "infer",
            "x.csv",
            "--method",
            "linear",
            "--tfs",
            "tfs.csv",
            "--prior",
            "m=truth.csv",
            "--truth",
            "truth.csv",
            *quick,
            "--out",
            "made",
            files=("x.csv", "truth.csv", "tfs.csv"),
            weight=1.2,
        ),
        _command(
            "infer",
            "dense.h5ad",
            "--perturbation-key",
            "pert",
            "--control",
            "control",
            "--tfs",
            "tfs.txt",
            *quick,
            "--out",
            "made",
            files=("dense.h5ad",),
            weight=1,
        ),
        _command(
            "infer",
            "csr.h5ad",
            "--context-key",
            "context",
            "--normalize",
            "log1p-cpm",
            *quick,
            "--out",
            "made",
            files=("csr.h5ad",),
            weight=0.5,
        ),
        _command(
            "infer",
            "dense.h5ad",
            "--method",
            "muvi",
            "--gene-sets",
            "l=sets.gmt",
            "--min-overlap",
            2,
            "--factors",
            1,
            *QUICK,
            "--out",
            "made",
            files=("dense.h5ad", "sets.gmt"),
            weight=0.3,
        ),
        _command(
            "infer",
            "drugs.csv",
            "--method",
            "cellbox",
            "--inputs",
            "inputs.csv",
            "--nodes",
            "nodes.csv",
            *QUICK,
            "--out",
            "made",
            files=("drugs.csv", "inputs.csv", "nodes.csv"),
            weight=0.3,
        ),
        _command(
            "infer",
            "dense.h5ad",
            "--method",
            "symphony",
            "--evidence",
            "s=scores.csv",
            *QUICK,
            "--out",
            "made",
            files=("scores.csv",),
            weight=0.3,
        ),
        _command(
            "infer",
            *FITS["phoenix"],
            "--out",
            "made",
            files=("dense.h5ad",),
            weight=0.2,
        ),
        _command(
            "infer",
            "panel.csv",
            "--method",
            "factorbox",
            "--perturbation-key",
            "pert",
            *QUICK,
            "--out",
            "made",
            files=("panel.csv",),
            weight=0.2,
        ),
    ]
    return made
