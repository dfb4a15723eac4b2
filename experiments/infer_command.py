"""``pyrogrn infer``: its options."""

from pathlib import Path
from typing import Annotated

import typer


def infer_command(
    expression: Annotated[
        list[Path],
        typer.Argument(
            help="h5ad, zarr, or csv/tsv[.gz] (cells x genes, or genes x cells "
            "with --tfs); several files are several contexts"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make")],
    method: Annotated[str, typer.Option(help="See `pyrogrn methods`")] = "linear",
    tfs: Annotated[
        Path | None, typer.Option(help="Candidate regulators, one name a line or a column; default every gene")
    ] = None,
    evidence: Annotated[
        list[str] | None,
        typer.Option(help="Of symphony: NAME=FILE with a score for each regulator and gene; repeatable"),
    ] = None,
    evidence_list: Annotated[
        list[str] | None, typer.Option(help="Of symphony: NAME=FILE, edges listed as observed; repeatable")
    ] = None,
    prior: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE, a prior network in any known format; repeatable")
    ] = None,
    edge_prior: Annotated[
        str | None,
        typer.Option(
            help="Of networks: normal, laplace, horseshoe, spike-slab, logit-normal, elastic-net, collaborative, "
            "hard-mask, hard-mask:NAME [default: spike-slab; cellbox laplace, netrex-cf elastic-net, phoenix normal, "
            "pmf-grn logit-normal]"
        ),
    ] = None,
    factors: Annotated[
        int | None, typer.Option(help="Of programs: how many without a gene set [default: 10, with gene sets 2]")
    ] = None,
    gene_sets: Annotated[
        list[str] | None,
        typer.Option(help="Of muvi: LIBRARY=FILE.gmt[.gz], each set becomes a program; repeatable"),
    ] = None,
    loading_prior: Annotated[
        str | None,
        typer.Option(help="Of programs: normal, horseshoe or spike-slab [default: ppca normal, muvi horseshoe]"),
    ] = None,
    covariates: Annotated[
        str | None, typer.Option(help="Of programs: COL[,COL...], columns of .obs that act on genes and programs")
    ] = None,
    likelihood: Annotated[
        list[str] | None,
        typer.Option(
            help="Of muvi: gaussian, bernoulli or negative-binomial, or VIEW=NAME, repeatable [default: gaussian]"
        ),
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Of programs: NaN and empty cells are missing values")
    ] = False,
    min_overlap: Annotated[
        int | None, typer.Option(help="Of muvi: fewest measured genes of a set that becomes a program [default: 5]")
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(help="Of programs: also write the AnnData with scores in obsm and loadings in varm"),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of the h5ad to read instead of X")] = None,
    normalize: Annotated[str, typer.Option(help="none, log1p-cpm or zscore")] = "none",
    context_key: Annotated[
        str | None, typer.Option(help="Column of .obs: one network a context, sharing structure")
    ] = None,
    perturbation_key: Annotated[
        str | None, typer.Option(help="Column of .obs with the perturbed gene; its incoming edges are cut in that cell")
    ] = None,
    time_key: Annotated[
        str | None, typer.Option(help="Of trajectory: column of .obs with the time of each cell")
    ] = None,
    trajectory_key: Annotated[
        str | None, typer.Option(help="Of trajectory: column of .obs with the name of its time course [default: one]")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="Of cellbox: conditions x nodes, what acts on each node from outside")
    ] = None,
    nodes: Annotated[
        Path | None, typer.Option(help="Of cellbox: table node,kind; drug_activity and phenotype carry rules")
    ] = None,
    drop_constant: Annotated[
        bool, typer.Option("--drop-constant", help="Drop genes without variance instead of refusing them")
    ] = False,
    guide: Annotated[
        str | None,
        typer.Option(
            help="gibbs, nuts, blocked, mean-field, low-rank, map, bagging (of linear), block-descent (of netrex-cf), "
            "pruned (of phoenix) [default: the most trustworthy that applies]"
        ),
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(help="Chains of a sampler, random starts of a variational fit [default: 4]")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Kept draws by chain of a sampler [400; amortised 100], most steps of a variational fit [3000]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same draws")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; more than one helps from about 500 regulators on")] = 1,
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = 0.89,
    top: Annotated[
        int | None, typer.Option(help="Write only this many edges, or genes of each program [default: all]")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Known network (source,target): adds reliability to the report")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="model.NAME=VALUE, prior., guide. or fit.; repeatable")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run")] = False,
) -> None:
    """Infer a network (edges with posterior mean, interval, inclusion and sign probability) or gene programs (loadings
    likewise).

    Writes OUT/edges.csv, or programs.csv, factors.csv, scores.csv.gz and, where they apply, gene_sets.csv,
    covariate_effects.csv and enrichment.csv; posterior.nc (ArviZ DataTree), diagnostics.json, report.html, config.json
    and model/.
    """
    given = dict(locals())
    from .infer_run import InferOptions, infer  # Torch is imported here, so that --help is quick

    infer(InferOptions(**given))
