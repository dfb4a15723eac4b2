"""The options of ``pyrogrn infer``."""

from dataclasses import dataclass
from pathlib import Path

# options that only some methods take
OF_SOME = (
    *(
        "tfs",
        "targets",
        "all_edges",
        "prior",
        "edge_prior",
        "evidence",
        "evidence_list",
        "context_key",
        "perturbation_key",
        "truth",
    ),
    *("time_key", "trajectory_key", "metacells", "inputs", "nodes", "guide", "restarts", "steps", "budget", "resume"),
    "scheduler",
    *("factors", "loading_prior", "covariates", "missing", "annotate", "gene_sets", "likelihood", "min_overlap"),
)


@dataclass(frozen=True)
class InferOptions:
    """All options of ``pyrogrn infer`` by their Python names; `infer_command` declares them with their meaning and
    defaults."""

    expression: list[Path]
    out: Path
    method: str
    tfs: Path | None
    targets: str | None
    evidence: list[str] | None
    evidence_list: list[str] | None
    prior: list[str] | None
    edge_prior: str | None
    factors: int | None
    gene_sets: list[str] | None
    loading_prior: str | None
    covariates: str | None
    likelihood: list[str] | None
    missing: bool
    min_overlap: int | None
    annotate: Path | None
    layer: str | None
    genes_in: str | None
    normalize: str
    context_key: str | None
    min_cells: int | None
    perturbation_key: str | None
    control: list[str] | None
    unmeasured: bool
    time_key: str | None
    trajectory_key: str | None
    metacells: int | None
    inputs: Path | None
    nodes: Path | None
    drop_constant: bool | None
    top_genes: int | None
    guide: str | None
    restarts: int | None
    steps: int | None
    budget: float | None
    scheduler: str | None
    calibrate: bool
    seed: int
    device: str
    threads: int
    level: float
    top: int | None
    all_edges: bool
    truth: Path | None
    settings: list[str] | None
    overwrite: bool
    resume: bool
