"""A run on disk: an output folder that is complete or absent, with a checkpoint while it is being made."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference import Checkpoint, Posterior, load_checkpoint
from ...inference.diagnostics import to_records, verdict
from ...models import ExpressionData
from ..report.parts import checked_cells
from ..report.program_tables import GeneSets
from ..report.run import REPORTS
from .wording import in_options


class RunFolder:
    """``out`` appears only when all its files are written; until then they are in ``out.partial``, which holds the
    checkpoint.

    Parameters
    ----------
    out
        The folder to make.
    overwrite
        Replace an earlier run there. Anything that is not a run is never replaced.
    resume
        Continue from the checkpoint of an interrupted run.

    Raises
    ------
    ValueError
        The folder exists, cannot be written, or there is nothing to resume.
    """

    def __init__(self, out: Path, *, overwrite: bool = False, resume: bool = False) -> None:
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        if out.exists():
            if not out.is_dir():
                raise ValueError(f"{out} is a file: choose another folder with --out")
            if any(out.iterdir()):
                if not (out / "config.json").exists():
                    raise ValueError(f"{out} exists and is not an earlier run: choose another folder with --out")
                if not overwrite:
                    raise ValueError(
                        f"{out} holds an earlier run: pass --overwrite to replace it, or choose another folder"
                    )
        parent = out.parent
        while not parent.exists():
            parent = parent.parent
        if not os.access(parent, os.W_OK) or (out.exists() and not os.access(out, os.W_OK)):
            raise ValueError(f"cannot write to {out}: no permission in {parent}. Choose another folder with --out")
        self.checkpoint_path = self.partial / "checkpoint.pt"
        if resume and not self.checkpoint_path.exists():
            raise ValueError(f"nothing to resume: {self.checkpoint_path} does not exist. Run without --resume")
        self.resumed = load_checkpoint(self.checkpoint_path) if resume else None

    def open(self) -> Checkpoint:
        """Make the partial folder (removing leftovers unless resuming) and return the checkpoint that goes there."""
        if self.resumed is None and self.partial.exists():
            shutil.rmtree(self.partial)
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cannot write to {self.out}: {error.strerror}. Choose another folder with --out"
            ) from error
        return Checkpoint(self.checkpoint_path)

    def close(self) -> None:
        """Everything is written: move it into place in one step."""
        self.checkpoint_path.unlink(missing_ok=True)
        if self.out.exists():
            shutil.rmtree(self.out)
        os.replace(self.partial, self.out)

    def discard(self) -> None:
        """Leave nothing behind, except a checkpoint to resume from."""
        if self.partial.exists() and not self.checkpoint_path.exists():
            shutil.rmtree(self.partial)


def write_outputs(
    folder: Path,
    posterior: Posterior,
    data: ExpressionData,
    *,
    level: float,
    top: int | None,
    config: Mapping[str, Any],
    truth: pd.DataFrame | None = None,
    gene_sets: GeneSets | None = None,
    min_overlap: int = 5,
) -> pd.DataFrame:
    """Tables, DataTree, diagnostics, report, configuration and the model; returns the diagnostics table.

    The tables are those of `NetworkTables.write` or `ProgramTables.write`. ``truth`` is a known
    network; ``gene_sets`` are those to test programs without a set for, ``min_overlap`` the fewest genes of one.
    """
    kind = REPORTS[posterior.model.infers]
    tables = kind.tables(posterior, data, level=level, gene_sets=gene_sets, min_overlap=min_overlap)
    tables.write(folder, top=top)
    tree = posterior.to_datatree(data)
    tree.to_netcdf(folder / "posterior.nc", engine="h5netcdf")
    checks = posterior.diagnose(data)
    checks = checks.assign(meaning=checks["meaning"].map(in_options))  # whoever reads them has typed a command
    report = {
        "verdict": verdict(checks),
        "checks": to_records(checks),
        "history": {"reason": posterior.history.reason, "seconds": posterior.history.seconds},
    }
    (folder / "diagnostics.json").write_text(json.dumps(report, indent=1))
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    posterior.save(folder / "model")
    kind.page(
        posterior,
        folder / "report.html",
        data=data,
        diagnostics=checks,
        alignment=posterior.model.knowledge.reports,
        command=str(config["command"]),
        truth=truth,
        predictive=checked_cells(tree),
        tables=tables,
    )
    return checks


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file (of the listing, for a zarr folder)."""
    digest = hashlib.sha256()
    if path.is_dir():
        for part in sorted(path.rglob("*")):
            digest.update(f"{part.relative_to(path)}:{part.stat().st_size}".encode())
    else:
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib.metadata import version

    names = ("pyrogrn", "torch", "pyro-ppl", "numpy", "arviz-base")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in names}
