"""Every method once on a real file, with its defaults: how many checks of the fit pass, and whether the command names
what to type where one does not. The commands are `RUNS`; each is a process of its own on one thread.

Rows stay where they are made: a method that has its rows is not run again.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..remedies import MENDED
from .results import Results

CELLS = "DATA/beeline_mhsc_gm/expression.h5ad --tfs DATA/beeline_mhsc_gm/tfs_chipseq.csv"
COLLECTRI = "DATA/priors/collectri_human.csv.gz"
RUNS: dict[str, tuple[str, str]] = {
    "linear": ("mouse blood cells (BEELINE mHSC-GM)", CELLS),
    "linear, knock-outs": (
        "CRISPR screen (Papalexi 2021)",
        "DATA/perturbseq_papalexi_thp1/expression.h5ad --perturbation-key perturbation --normalize auto",
    ),
    "celloracle": (
        "bone marrow, base network",
        "DATA/bone_marrow/trajectories.h5ad --prior base=DATA/bone_marrow/base_grn.csv.gz --normalize auto "
        "--top-genes 200",
    ),
    "symphony": (
        "mouse blood cells, CollecTRI",
        f"{CELLS} --evidence-list collectri={COLLECTRI}",
    ),
    "netrex-cf": ("mouse blood cells, CollecTRI", f"{CELLS} --prior collectri={COLLECTRI} --top-genes 200"),
    "grnular": ("mouse blood cells", CELLS),
    "glad-tf": ("mouse blood cells", CELLS),
    "glad": ("mouse blood cells", "DATA/beeline_mhsc_gm/expression.h5ad --top-genes 100"),
    "trajectory": ("yeast cell cycle", "COURSE --time-key time_min --trajectory-key replicate"),
    "phoenix": ("yeast cell cycle", "COURSE --time-key time_min --trajectory-key replicate --set model.hidden=20"),
    "factorbox": (
        "knock-downs in A375 (LINCS)",
        "DATA/lincs_rnai/A375.h5ad --perturbation-key perturbation --top-genes 100",
    ),
    "cellbox": (
        "drugs on melanoma cells (Korkut 2015)",
        "DATA/cellbox_melanoma/expression.csv --inputs DATA/cellbox_melanoma/perturbation.csv "
        "--nodes DATA/cellbox_melanoma/nodes.csv",
    ),
    "ppca": ("mouse blood cells", "DATA/beeline_mhsc_gm/expression.h5ad"),
    "muvi": (
        "mouse blood cells, hallmark sets",
        "DATA/beeline_mhsc_gm/expression.h5ad --gene-sets hallmark=DATA/priors/msigdb_hallmark_v7.5.1.gmt.gz",
    ),
    "pmf-grn": ("mouse blood cells, CollecTRI", f"{CELLS} --prior collectri={COLLECTRI} --top-genes 100"),
}
"""By method: the data in words, and the arguments of ``infer`` beside ``--method`` and ``--out``."""
GENES = 60  # of the yeast's, for the time courses


class Ended(NamedTuple):
    """What a run said and wrote: lines, the checks, CPU seconds."""

    said: list[str]
    checks: pd.DataFrame
    seconds: float


def run(folder: Path, results: Results) -> None:
    """All methods that have no rows yet."""
    results.resume()
    for name, (data, words) in RUNS.items():
        if results.value(data, name, 0, "CPU seconds") is not None:
            continue
        with tempfile.TemporaryDirectory() as place:
            ended = infer(name.partition(",")[0], words, folder.resolve(), Path(place))
        failed = ended.checks.loc[ended.checks["passed"].eq(False), "check"]
        told = {check: [line for line in ended.said if check in line] for check in failed}
        results.add(data, name, 0, "checks that apply", float(ended.checks["passed"].notna().sum()))
        results.add(data, name, 0, "passed", float(ended.checks["passed"].eq(True).sum()))
        for check, lines in told.items():
            ways = {"option": MENDED, "nothing": "no option mends"}
            for way, start in ways.items():
                if any(start in line for line in lines):  # celloracle's begin with the type of the cells
                    results.add(data, name, 0, f"{way}: {check}", 1.0)
                    break
            else:
                results.add(data, name, 0, f"unsaid: {check}", 1.0)
        results.add(data, name, 0, "CPU seconds", ended.seconds)


def infer(method: str, words: str, folder: Path, place: Path) -> Ended:
    """One run of the command.

    Raises
    ------
    RuntimeError
        It failed.
    """
    if "COURSE" in words:
        course(folder, place / "course.csv")
    given = words.replace("DATA", str(folder)).replace("COURSE", "course.csv").split()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "pyrogrn", "infer", *given, "--method", method, "--out", "run"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"infer --method {method} ended with {done.returncode}: {done.stderr[-500:]}")
    said = [line for line in done.stderr.splitlines() + done.stdout.splitlines() if line]
    checks = pd.DataFrame(json.loads((place / "run" / "diagnostics.json").read_text())["checks"])
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ended(said, checks, seconds)


def course(folder: Path, file: Path) -> None:
    """The yeast's two series, of its first `GENES` genes of the subset of 500."""
    genes = pd.read_csv(folder / "yeast_pramila" / "genes_500.csv")["orf"]
    levels = pd.read_csv(folder / "yeast_pramila" / "expression.csv.gz")
    kept = [gene for gene in genes if gene in levels][:GENES]
    names = levels["replicate"] + "_" + levels["time_min"].astype(str)
    table = levels[["replicate", "time_min", *kept]].set_axis(pd.Index(names, name="sample"))
    table.to_csv(file)
