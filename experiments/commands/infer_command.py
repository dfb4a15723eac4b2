"""``pyrogrn infer``: its options."""

from pathlib import Path
from typing import Annotated

import typer

from ..importing import importing
from .terminal import LARGEST_SEED, LEVEL

# -- what is inferred, from what ----
Expression = Annotated[
    list[Path],
    typer.Argument(
        help="h5ad, zarr, loom, 10x .h5, folder with matrix.mtx, gct, parquet, or csv/tsv/txt[.gz] (cells x genes, "
        "or genes x cells: see --genes-in); several files are several contexts"
    ),
]
Out = Annotated[Path, typer.Option(help="Folder to make")]
Method = Annotated[str, typer.Option(help="See `pyrogrn methods`; auto takes what the data are for, and says so")]
Tfs = Annotated[Path | None, typer.Option(help="Candidate regulators, one name a line, or a table; default every gene")]

# -- knowledge ----
Evidence = Annotated[
    list[str] | None,
    typer.Option(help="Of symphony: NAME=FILE with a score for each regulator and gene; repeatable"),
]
EvidenceList = Annotated[
    list[str] | None, typer.Option(help="Of symphony: NAME=FILE, edges listed as observed; repeatable")
]
Prior = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=FILE, a prior network in any known format, or NAME=FILE?KEY=VALUE[&KEY=VALUE]: format=NAME, "
        "signed=false, duplicates=mean|error|conflict, genes=FILE, or COLUMN=VALUE to choose rows; repeatable"
    ),
]
EdgePrior = Annotated[
    str | None,
    typer.Option(
        help="Of networks: normal, laplace, horseshoe, spike-slab, logit-normal, elastic-net, collaborative, "
        "hard-mask, hard-mask:NAME [default: spike-slab; cellbox laplace, netrex-cf elastic-net, phoenix normal, "
        "pmf-grn logit-normal]"
    ),
]

# -- programs ----
Factors = Annotated[
    int | None, typer.Option(help="Of programs: how many without a gene set [default: 10, with gene sets 2]")
]
GeneSets = Annotated[
    list[str] | None,
    typer.Option(help="Of muvi: LIBRARY=FILE.gmt[.gz], each set becomes a program; repeatable"),
]
LoadingPrior = Annotated[
    str | None,
    typer.Option(help="Of programs: normal, horseshoe or spike-slab [default: ppca normal, muvi horseshoe]"),
]
Covariates = Annotated[
    str | None, typer.Option(help="Of programs: COL[,COL...], columns of .obs that act on genes and programs")
]
Likelihood = Annotated[
    list[str] | None,
    typer.Option(
        help="Of muvi: gaussian, bernoulli or negative-binomial, or VIEW=NAME, repeatable [default: gaussian]"
    ),
]
Missing = Annotated[bool, typer.Option("--missing", help="Of programs: NaN and empty cells are missing values")]
MinOverlap = Annotated[
    int | None, typer.Option(help="Of muvi: fewest measured genes of a set that becomes a program [default: 5]")
]
Annotate = Annotated[
    Path | None,
    typer.Option(help="Of programs: also write the AnnData with scores in obsm and loadings in varm"),
]
Targets = Annotated[
    str | None,
    typer.Option(
        help="Of networks: FILE with the genes to explain, or N for the N most variable [default: every gene]"
    ),
]

# -- the data ----
Layer = Annotated[str | None, typer.Option(help="Layer of the h5ad to read instead of X; raw is its .raw")]
GenesIn = Annotated[
    str | None,
    typer.Option(help="rows or columns of the expression file [default: where names of TFs, priors, truth, sets are]"),
]
Normalize = Annotated[
    str, typer.Option(help="none, log1p-cpm, zscore, or auto: log1p-cpm of counts where the method wants logarithms")
]
ContextKey = Annotated[str | None, typer.Option(help="Column of .obs: one network a context, sharing structure")]
MinCells = Annotated[int | None, typer.Option(help="Leave out contexts with fewer cells [default: none]")]
PerturbationKey = Annotated[
    str | None, typer.Option(help="Column of .obs with the perturbed gene; its incoming edges are cut in that cell")
]
Control = Annotated[
    list[str] | None,
    typer.Option(help="Label of control cells, beside the usual ones (non-targeting, NTC, ctrl, ...); repeatable"),
]
Unmeasured = Annotated[
    bool, typer.Option("--unmeasured", help="Most perturbed genes are not measured: do not refuse their labels")
]
TimeKey = Annotated[
    str | None, typer.Option(help="Of trajectory: column of .obs with the time of each cell: 3, 24h, day 3, E8.5")
]
TrajectoryKey = Annotated[
    str | None, typer.Option(help="Of trajectory: column of .obs with the name of its time course [default: one]")
]
Metacells = Annotated[
    int | None,
    typer.Option(help="Of trajectory: average cells of like time into this many meta-cells a trajectory (pseudotime)"),
]
Inputs = Annotated[
    Path | None, typer.Option(help="Of cellbox: conditions x nodes, what acts on each node from outside")
]
Nodes = Annotated[
    Path | None, typer.Option(help="Of cellbox: table node,kind; drug_activity and phenotype carry rules")
]
DropConstant = Annotated[
    bool | None,
    typer.Option(
        "--drop-constant/--keep-constant",
        help="Leave out genes without variance, or refuse them by name [default: leave them out, but of files that are "
        "streamed (by linear of these too), and of cellbox]",
        show_default=False,
    ),
]
TopGenes = Annotated[
    int | None, typer.Option(help="Keep this many of the most variable genes, and the regulators beside [default: all]")
]

# -- the fit ----
Guide = Annotated[
    str | None,
    typer.Option(
        help="gibbs, sparse (of linear), nuts, blocked, mean-field, low-rank, map, bagging (of linear), "
        "block-descent (of netrex-cf), closed-form (of ppca), alternate (of factorbox), pruned (of phoenix), svi for "
        "mean-field [default: the most trustworthy that applies]"
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        help="Chains of a sampler, random starts of a variational fit [4; nuts 2; cellbox 1; large muvi and ppca 2]"
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="Kept draws by chain of a sampler [400; nuts 300; amortised 100; sparse 100, or fewer from 50 on where "
        "they do], most steps of a variational fit [3000; cellbox 250]"
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        help="Of the guide sparse: minutes of sampling, after which it ends with what it has and says what was not "
        "reached [default: until it is done]"
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Of the guide sparse: address of a Dask scheduler over whose workers, of one thread each, targets are "
        "divided, or local for processes of this machine, as many as --threads or as there are processors"
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        help="Of linear: try the fit on made targets with known regulators (seconds), and correct its probabilities by "
        "what comes out"
    ),
]
Seed = Annotated[int, typer.Option(help="Same seed, same draws", min=0, max=LARGEST_SEED)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Threads = Annotated[
    int, typer.Option(help="CPU threads; with two the trial of linear goes beside its fit, its report beside the files")
]

# -- what is written ----
Level = Annotated[float, typer.Option(help="Probability of the intervals")]
Top = Annotated[int | None, typer.Option(help="Write only this many edges, or genes of each program [default: all]")]
AllEdges = Annotated[
    bool,
    typer.Option(
        "--all-edges",
        help="Of networks: also edges.parquet with every edge; of more than a million, edges.csv has those of a "
        "probability of at least 0.05",
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(help="Known network, FILE or FILE?format=NAME as of --prior: adds reliability to the report"),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="model.NAME=VALUE, prior., guide., fit. or calibrate.; repeatable")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run")]


def infer_command(
    expression: Expression,
    out: Out,
    method: Method = "linear",
    tfs: Tfs = None,
    targets: Targets = None,
    evidence: Evidence = None,
    evidence_list: EvidenceList = None,
    prior: Prior = None,
    edge_prior: EdgePrior = None,
    factors: Factors = None,
    gene_sets: GeneSets = None,
    loading_prior: LoadingPrior = None,
    covariates: Covariates = None,
    likelihood: Likelihood = None,
    missing: Missing = False,
    min_overlap: MinOverlap = None,
    annotate: Annotate = None,
    layer: Layer = None,
    genes_in: GenesIn = None,
    normalize: Normalize = "none",
    context_key: ContextKey = None,
    min_cells: MinCells = None,
    perturbation_key: PerturbationKey = None,
    control: Control = None,
    unmeasured: Unmeasured = False,
    time_key: TimeKey = None,
    trajectory_key: TrajectoryKey = None,
    metacells: Metacells = None,
    inputs: Inputs = None,
    nodes: Nodes = None,
    drop_constant: DropConstant = None,
    top_genes: TopGenes = None,
    guide: Guide = None,
    restarts: Restarts = None,
    steps: Steps = None,
    budget: Budget = None,
    scheduler: Scheduler = None,
    calibrate: Calibrate = True,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = 1,
    level: Level = LEVEL,
    top: Top = None,
    all_edges: AllEdges = False,
    truth: Truth = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    """Infer a network (edges with posterior mean, interval, inclusion and sign probability) or gene programs (loadings
    likewise).

    Writes OUT/edges.csv, with several contexts edges_CONTEXT.csv, differences.csv and differences_A_B.csv of each pair
    (of more than six: of each with the others), or programs.csv, factors.csv, scores.csv.gz and, where they apply,
    gene_sets.csv, covariate_effects.csv and enrichment.csv; posterior.nc (ArviZ DataTree), diagnostics.json,
    report.html, config.json and model/.

    \b
    Examples:
      pyrogrn infer cells.h5ad --tfs tfs.csv --normalize auto --out run
      pyrogrn infer cells.h5ad --tfs tfs.csv --prior motif=motif.csv --context-key cell_type --out run
      pyrogrn infer courses.h5ad --method trajectory --time-key day --trajectory-key course --out run
      pyrogrn infer cells.h5ad --method muvi --gene-sets hallmark=h.gmt --out programs
    """
    given = dict(locals())
    with importing():
        from .infer_run import InferOptions, infer  # Torch is imported here, so that --help is quick

    infer(InferOptions(**given))
