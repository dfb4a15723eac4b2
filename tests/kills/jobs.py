"""What is killed and resumed: one command of each kind on inputs made here, seconds long."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pyrogrn.experiments.files.simulation import write_factor_simulation, write_simulation
from pyrogrn.experiments.sweep import sweep
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_muvi, simulate_panel


@dataclass(frozen=True)
class Job:
    """A command without its output.

    Attributes
    ----------
    words
        Of the command line, IN standing for the folder of the inputs.
    resume
        What is added to go on.
    exact
        Tables of a resumed run equal those of one that was not interrupted bit for bit; else to ``tolerance``.
    """

    words: tuple[str, ...]
    out: str = "run"
    resume: tuple[str, ...] = ("--resume",)
    exact: bool = True
    tolerance: float = 0.0


def _infer(method: str, file: str, *more: str, **how: object) -> Job:
    return Job(("infer", f"IN/{file}", "--method", method, "--seed", "1", *more), **how)


JOBS = {
    "linear": _infer("linear", "linear/expression.h5ad", "--restarts", "2", "--steps", "300"),
    "linear mean-field": _infer("linear", "linear/expression.h5ad", "--guide", "mean-field", "--steps", "300"),
    "muvi": _infer(
        "muvi", "muvi/expression.h5ad", "--gene-sets", "s=IN/muvi/gene_sets.gmt", "--factors", "1", "--steps", "150"
    ),
    "phoenix": _infer("phoenix", "ode/expression.h5ad", "--time-key", "time", "--trajectory-key", "trajectory",
                      "--steps", "12", "--restarts", "1"),
    "factorbox": _infer("factorbox", "panel/expression.h5ad", "--perturbation-key", "perturbation", "--steps", "120",
                        "--restarts", "2"),
    "cellbox": _infer("cellbox", "nodes.csv", "--inputs", "IN/inputs.csv", "--steps", "120", "--restarts", "1"),
    "ablate": Job(
        ("ablate", "IN/linear/expression.h5ad", "--tfs", "IN/linear/tfs.csv", "--prior", "p=IN/linear/prior.csv",
         "--truth", "IN/linear/network.csv", "--seeds", "0,1", "--chains", "2", "--steps", "30", "--backend", "serial"),
        out="ablation",
    ),
    "ablate in processes": Job(
        ("ablate", "IN/linear/expression.h5ad", "--tfs", "IN/linear/tfs.csv", "--prior", "p=IN/linear/prior.csv",
         "--truth", "IN/linear/network.csv", "--seeds", "0,1", "--chains", "2", "--steps", "30", "--jobs", "2"),
        out="ablation",
    ),
    "train": Job(
        ("train", "glad-tf", "--family", "compact", "--batches", "3", "--graphs", "1", "--steps", "20",
         "--iterations", "2", "--seed", "1"),
        out="weights.npz", resume=(),
    ),
    "sweep": Job(("sweep",), out="swept", resume=()),
}  # fmt: skip
QUICK = ("ablate",)  # of `make test`


def make_inputs(folder: Path) -> Path:
    """The inputs of all jobs."""
    cells = simulate_linear(num_genes=12, num_tfs=4, num_cells=80, edge_probability=0.3, seed=1)
    write_simulation(cells, folder / "linear", prior_noise=0.3, seed=1)
    write_factor_simulation(simulate_muvi(num_genes=30, num_cells=60, num_sets=2, set_size=8, seed=1), folder / "muvi")
    write_simulation(simulate_courses(num_genes=8, num_trajectories=6, seed=1), folder / "ode", prior_noise=0, seed=1)
    write_simulation(simulate_panel(num_genes=10, seed=1), folder / "panel", prior_noise=0.3, seed=1)
    generator = np.random.default_rng(1)
    names = [f"c{i}" for i in range(24)]
    doses = np.zeros((24, 4))
    doses[np.arange(24), np.arange(24) % 4] = generator.choice([-1.0, -0.5], 24)
    levels = generator.normal(0, 0.2, (24, 8))
    levels[:, :4] += doses
    pd.DataFrame(levels, index=names, columns=[f"N{i}" for i in range(8)]).to_csv(folder / "nodes.csv")
    pd.DataFrame(doses, index=names, columns=[f"N{i}" for i in range(4)]).to_csv(folder / "inputs.csv")
    return folder


def square(configuration: dict) -> float:
    """One run of the sweep: some tenths of a second of arithmetic."""
    generator = np.random.default_rng(configuration["seed"])
    value = generator.normal(size=(60, 60))
    for _ in range(600):
        value = np.tanh(value @ value.T / 60)
    return float(value.sum())


def run_sweep(words: Sequence[str]) -> None:
    """The job ``sweep``: results in the folder after ``--out``, and their sum in a file."""
    out = Path(words[words.index("--out") + 1])
    found = sweep(square, [{"seed": seed} for seed in range(12)], out=out, jobs=2, progress=False)
    (out.parent / f"{out.name}.done").write_text(repr(found))


# -- what a finished output says ----
def tables(place: Path) -> dict[str, np.ndarray]:
    """Every number that a finished output holds, by file and column; times that runs took are left out."""
    found: dict[str, np.ndarray] = {}
    if place.is_file():
        with np.load(place, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name not in ("description", "sha256")}
    for path in sorted(place.rglob("*.csv")):
        table = pd.read_csv(path)
        for column in (name for name in table.columns if "seconds" not in name):
            values = table[column].to_numpy()
            found[f"{path.relative_to(place)}:{column}"] = values.astype(str) if values.dtype == object else values
    for path in sorted(place.rglob("draws.npz")):
        with np.load(path, allow_pickle=False) as file:
            found |= {f"{path.name}:{name}": file[name] for name in file.files}
    for path in sorted(place.glob("*.json")):
        if place.name.startswith("swept"):
            found[path.name] = np.array(pd.read_json(path, typ="series")["result"])
    return found
