"""The command line: ``pyrogrn infer``, and what is done with its results; ``pyrogrn --help`` lists all commands."""

import json
import logging
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .ablate_command import ablate_command
from .course_commands import course_command, influence_command
from .screen_command import screen_command
from .train_command import train_command

# typer has carried click inside since 0.26: its exceptions are found through typer in either case
ClickException: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Gene regulatory networks with posterior uncertainty. Every "
    "command mirrors a Python function of the same name.",
)
simulate_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data with known truth.")
app.add_typer(simulate_app, name="simulate")
app.command("train")(train_command)
app.command("ablate")(ablate_command)
app.command("screen")(screen_command)
app.command("course")(course_command)
app.command("influence")(influence_command)


def say(text: str) -> None:
    """A line for the person at the terminal (results go to files, or to stdout with --json)."""
    typer.echo(text, err=True)


@app.command()
def infer(
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
    import pandas as pd
    import torch

    from ..inference import Amortised, Bagging, Progress, default_guide, fit
    from ..inference.amortised import KINDS
    from ..inference.diagnostics import verdict
    from ..models import MODELS, FactorModel, LinearNetwork, MuVI
    from ..models.panel import panel_notes
    from ..models.relaxation import time_notes
    from .celloracle_run import run_celloracle
    from .method_options import EDGE_PRIOR_OF, TIME_COURSES, check_method_options, check_settings
    from .options import (
        check_kind,
        make_edge_prior,
        make_guide,
        make_loading_prior,
        parse_likelihoods,
        parse_settings,
        pick_device,
        read_evidence,
        read_gene_sets,
        read_priors,
    )
    from .readers import read_expression, read_kinds, read_names
    from .run import RunFolder, file_digest, versions, write_outputs

    classes: dict[str, Any] = {model.name: model for model in MODELS} | dict.fromkeys(KINDS, LinearNetwork)
    classes["celloracle"] = LinearNetwork
    if method not in classes:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(classes)}")
    programs, only_muvi = issubclass(classes[method], FactorModel), classes[method] is MuVI
    given = {
        "--tfs": tfs,
        "--prior": prior,
        "--edge-prior": edge_prior,
        "--evidence": evidence,
        "--evidence-list": evidence_list,
        "--context-key": context_key,
        "--perturbation-key": perturbation_key,
        "--truth": truth,
        "--time-key": time_key,
        "--trajectory-key": trajectory_key,
        "--inputs": inputs,
        "--nodes": nodes,
        "--guide": guide,
        "--restarts": restarts,
        "--steps": steps,
        "--resume": resume,
        "--device": None if device in ("auto", "cpu") else device,
        "--factors": factors,
        "--loading-prior": loading_prior,
        "--covariates": covariates,
        "--missing": missing,
        "--annotate": annotate,
        "--gene-sets": gene_sets,
        "--likelihood": likelihood,
        "--min-overlap": min_overlap,
    }
    check_method_options(method, classes[method], given)
    if not 0 < level < 1:
        raise ValueError(f"--level {level}: expected a probability strictly between 0 and 1")
    least = {"--restarts": restarts, "--steps": steps, "--top": top, "--min-overlap": min_overlap}
    for option, number in least.items():
        if number is not None and number < 1:
            raise ValueError(f"{option} {number}: expected at least 1")
    if factors is not None and factors < (0 if gene_sets else 1):
        raise ValueError(f"--factors {factors}: expected at least {0 if gene_sets else 1}")
    if threads < 1:
        raise ValueError(f"--threads {threads}: expected at least 1")
    if annotate is not None:
        check_annotate(annotate, expression, overwrite=overwrite)
    torch.set_num_threads(threads)
    run = RunFolder(out, overwrite=overwrite, resume=resume)
    place = pick_device("cpu" if method == "celloracle" else device)
    groups = parse_settings(settings or [])
    check_settings(method, groups)
    options: dict[str, Any]  # of the model
    libraries = read_gene_sets(gene_sets or [])
    columns = covariate_columns(covariates)
    if programs:
        options = {} if factors is None else {"num_factors": factors}
        if loading_prior is None and groups["prior"]:
            loading_prior = "horseshoe" if only_muvi else "normal"
        if loading_prior is not None:
            options["loading_prior"] = make_loading_prior(loading_prior, groups["prior"])
        if libraries:
            options["gene_sets"] = libraries
        if likelihood:
            options["likelihood"] = parse_likelihoods(likelihood)
        if min_overlap is not None:
            options["min_overlap"] = min_overlap
    else:
        networks = read_priors(prior or [])
        own = method == "netrex-cf" and edge_prior is None and not groups["prior"]  # its penalties are in its own units
        edge_prior = edge_prior or EDGE_PRIOR_OF.get(method, "spike-slab")
        chosen = None if own else make_edge_prior(edge_prior, groups["prior"])
        options = {"edge_prior": chosen, "networks": networks, **groups["model"]}
        if nodes is not None:
            options["kinds"] = read_kinds(nodes)
        if method == "symphony":
            options["evidence"] = read_evidence(evidence or [], evidence_list or [])
    names = read_names(tfs) if tfs is not None else None
    known = pd.DataFrame(read_edges(truth)) if truth is not None else None
    data = read_expression(
        expression,
        tfs=names,
        layer=layer,
        normalize=normalize,
        context_key=context_key,
        perturbation_key=perturbation_key,
        drop_constant=drop_constant,
        covariates=columns,
        missing=missing,
        inputs=inputs,
        time_key=time_key,
        trajectory_key=trajectory_key,
    )
    if method in TIME_COURSES:
        data = data.with_missing(data.missing, *time_notes(data))
    if method == "factorbox":
        data = data.with_missing(data.missing, *panel_notes(data))
    for note in data.notes:
        say(note)
    if programs:
        say(
            f"{data.num_cells} cells, {data.num_genes} genes, {len(data.view_names)} view(s), {data.num_contexts} "
            f"group(s), {len(data.covariate_names)} covariate(s)"
        )
    else:
        say(
            f"{data.num_cells} cells, {data.num_genes} genes, {len(data.tfs)} "
            f"candidate regulators, {data.num_contexts} context(s)"
        )
    config: dict[str, Any] = {
        "method": method,
        "expression": {str(path): file_digest(path) for path in expression},
        "layer": layer,
        "normalize": normalize,
        "seed": seed,
        "settings": list(settings or []),
        "device": str(place),
        "versions": versions(),
        "command": "pyrogrn " + " ".join(shlex.quote(a) for a in sys.argv[1:]),
    }
    if method == "celloracle":
        written = run_celloracle(
            run,
            data,
            networks,
            groups["model"],
            config=config | {"prior_files": list(prior or [])},
            level=level,
            top=top,
            truth=known,
            seed=seed,
            say=say,
        )
        for name, folder, checked in written:
            say(f"{name}: {checked}")
            say(f"{folder}/report.html")
        return
    model = classes[method].from_data(data, **options).to(place)
    if method == "symphony":
        data = data.with_missing(data.missing, *model.evidence_notes)
        for note in model.evidence_notes:
            say(note)
    for report in model.knowledge.reports.values():
        say(f"{report.name}: {report.sources_matched} gene sets" if programs else str(report))
    default = Amortised(method) if method in KINDS else default_guide(model)
    engine = make_guide(guide, groups["guide"], default, restarts=restarts, steps=steps)
    if method in KINDS:
        check_kind(method, engine.weights)
    checkpoint = run.open()
    try:
        posterior = fit(
            model,
            data.to(place) if method in KINDS or isinstance(engine, Bagging) else None,
            guide=engine,
            num_steps=3000 if steps is None else steps,
            restarts=4 if restarts is None else restarts,
            seed=seed,
            callbacks=(Progress(), checkpoint),
            resume=run.resumed,
            **groups["fit"],
        ).with_notes(data.notes)
        if posterior.history.reason.startswith("diverged"):
            raise ValueError(
                f"the fit {posterior.history.reason}: try another --seed, a smaller step "
                "(--guide mean-field), or check the data for extreme values"
            )
        config["guide"] = repr(engine)
        if programs:
            config |= {
                "factors": model.coords["factor"],
                "gene_sets": {name: len(sets) for name, sets in libraries.items()},
                "gene_set_files": list(gene_sets or []),
                "loading_prior": type(model.edge_prior).__name__,
                "covariates": columns,
                "likelihood": options.get("likelihood", "gaussian"),
            }
        else:
            config |= {
                "priors": {name: len(network) for name, network in options["networks"].items()},
                "prior_files": list(prior or []),
                "edge_prior": edge_prior,
            }
        checks = write_outputs(
            run.partial,
            posterior,
            data,
            level=level,
            top=top,
            config=config,
            truth=known,
            gene_sets=libraries or None,
            min_overlap=5 if min_overlap is None else min_overlap,
        )
        if annotate is not None:
            write_annotated(posterior, data, expression[0], annotate)
        run.close()
    except KeyboardInterrupt:
        say(f"interrupted; the state is in {run.partial}, continue with --resume")
        raise
    except BaseException:
        run.discard()
        raise
    say(verdict(checks))
    say(f"{out}/report.html")


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="A folder made by `infer`")],
    out: Annotated[Path, typer.Option(help="csv to write")],
    knockout: Annotated[str | None, typer.Option(help="GENE[,GENE...] set to zero, together")] = None,
    knockdown: Annotated[
        str | None, typer.Option(help="Of factorbox: GENE[,GENE...] brought down as the panel does it")
    ] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="Of cellbox: NODE=DOSE; repeatable")] = None,
    overexpress: Annotated[
        list[str] | None, typer.Option(help="GENE=LEVEL in the units of the data; repeatable")
    ] = None,
    all_knockouts: Annotated[
        bool, typer.Option("--all-knockouts", help="Every regulator in turn; adds a column `knockout`")
    ] = False,
    context: Annotated[str | None, typer.Option(help="One context's network")] = None,
    propagate: Annotated[
        int | None, typer.Option(help="Carry the change this many steps instead of solving for the steady state")
    ] = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = 0.89,
    draws: Annotated[int, typer.Option(help="Posterior draws to use")] = 200,
) -> None:
    """Expression after knocking out or over-expressing regulators, with intervals (gene, mean, sd, lower, upper,
    settled, control)."""
    from ..inference import Posterior
    from .options import parse_levels

    if all_knockouts == bool(knockout or knockdown or overexpress or inputs):
        raise ValueError(
            "choose either --all-knockouts, or genes with --knockout, --knockdown and --overexpress, or --input"
        )
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    levels, doses = parse_levels("--overexpress", overexpress), parse_levels("--input", inputs)

    if all_knockouts:
        table = posterior.knockouts(context=context, steps=propagate, level=level, num_draws=draws)
    else:
        table = posterior.predict(
            knockout=tuple(knockout.split(",")) if knockout else (),
            overexpress=levels,
            knockdown=tuple(knockdown.split(",")) if knockdown else (),
            inputs=doses,
            context=context,
            steps=propagate,
            level=level,
            num_draws=draws,
        )
    write_table(table, out)
    settled = table["settled"].min()
    if settled < 1:
        ways = [f"{way} in {share:.0%}" for way, share in table.attrs.items() if share]
        told = f" ({', '.join(ways)})" if ways else ""
        say(f"in {1 - settled:.0%} of the draws the network has no stable steady state{told}; they are left out")
    say(str(out))


@app.command()
def flux(
    folder: Annotated[Path, typer.Argument(help="A folder made by `infer --method factorbox` or `cellbox`")],
    out: Annotated[Path, typer.Option(help="csv to write; the figure goes beside it, .png")],
    context: Annotated[str | None, typer.Option(help="One context's network")] = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = 0.89,
    draws: Annotated[int, typer.Option(help="Posterior draws to use")] = 20,
    top: Annotated[int, typer.Option(help="Genes in the figure")] = 25,
) -> None:
    """Variance flux analysis: which genes drive the variation of the others at the undisturbed steady state, with
    intervals."""
    from ..inference import Posterior
    from ..inference.flux import flux_table
    from ..models import CellBox, FactorBox
    from .panel_figures import plot_flux

    if draws < 2 or top < 1:
        raise ValueError(f"--draws {draws}, --top {top}: expected at least 2 draws and 1 gene")
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    table, shares = flux_table(posterior, context=context, level=level, num_draws=draws)
    write_table(table, out)
    assert isinstance(posterior.model, FactorBox | CellBox)  # `flux_table` refuses others
    figure = plot_flux(table, shares, posterior.model.genes, top=top)
    figure.savefig(out.with_suffix(".png"), dpi=150, bbox_inches="tight")
    if table["settled"].iloc[0] < 1:
        say(f"in {1 - table['settled'].iloc[0]:.0%} of the draws the network has no stable steady state; left out")
    say(f"{out}, {out.with_suffix('.png')}")


@app.command()
def score(
    edges: Annotated[Path, typer.Argument(help="Edge table (source, target, and a score)")],
    truth: Annotated[Path, typer.Argument(help="Known network, any network format")],
    tfs: Annotated[
        Path | None, typer.Option(help="Regulators that were candidates; default the sources in EDGES")
    ] = None,
    truth_regulators: Annotated[
        bool, typer.Option("--truth-regulators", help="Score only regulators that the truth has (ChIP truths)")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout")] = False,
) -> None:
    """Score an edge table against a known network; universe TFs x targets of EDGES without self-pairs, what of TRUTH
    lies outside is counted."""
    from .readers import read_names
    from .scores import score_edges

    result = score_edges(
        read_edges(edges),
        read_edges(truth),
        tfs=read_names(tfs) if tfs is not None else None,
        restrict_to_truth_regulators=truth_regulators,
    )
    if as_json:
        values = {name: None if value != value else value for name, value in result.values.items()}
        typer.echo(json.dumps({**values, "matching": asdict(result.matching)}))
        return
    say(str(result.matching))
    width = max(len(name) for name in result.values)
    for name, value in result.values.items():
        typer.echo(f"{name:<{width}}  {value:.4g}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A network in any known format")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write")],
    read_as: Annotated[str | None, typer.Option("--from", help="Format of IN [default: recognised]")] = None,
    write_as: Annotated[str, typer.Option("--to", help="Format of OUT")] = "edges",
) -> None:
    """Convert a network between the formats of the field."""
    from ..priors import PriorNetwork

    network = PriorNetwork.read(source, format=read_as)
    network.write(target, format=write_as)
    say(f"{len(network)} edges: {target}")


@app.command()
def methods(as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False) -> None:
    """Methods, the edge or loading priors and guides each takes, and which of them are calibrated."""
    from .methods import methods as table_of_methods

    table = table_of_methods()
    if as_json:
        typer.echo(table.to_json(orient="records"))
        return
    for method, rows in table.groupby("method", sort=False):
        typer.echo(f"{method}    {rows['infers'].iloc[0]}: {rows['reference'].iloc[0]}")
        for prior, part in rows.groupby(rows["edge_prior"] + rows["loading_prior"], sort=False):
            typer.echo(f"  {prior}")
            for row in part.itertuples():
                typer.echo(f"    {row.guide:<11} {'calibrated' if row.calibrated else '-':<11} {row.note}")


@simulate_app.command("linear")
def simulate_linear_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes, regulators included")] = 100,
    tfs: Annotated[int, typer.Option(help="Regulators")] = 20,
    cells: Annotated[int, typer.Option(help="Unperturbed cells")] = 1000,
    edge_probability: Annotated[float, typer.Option(help="Of each edge")] = 0.1,
    tf_correlation: Annotated[float, typer.Option(help="Between regulators' own variation")] = 0.0,
    contexts: Annotated[int, typer.Option(help="Contexts with related networks")] = 1,
    perturbed: Annotated[int, typer.Option(help="Regulators knocked out, 50 cells each")] = 0,
    prior_noise: Annotated[float, typer.Option(help="Share of the true edges at random places in prior.csv")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed")] = 0,
) -> None:
    """Cells from a random linear network: expression.h5ad, expression.csv.gz, tfs.csv, network.csv (the truth),
    prior.csv (the truth corrupted)."""
    from ..models.simulators import simulate_linear
    from .simulation import write_simulation

    simulation = simulate_linear(
        num_genes=genes,
        num_tfs=tfs,
        num_cells=cells,
        edge_probability=edge_probability,
        tf_correlation=tf_correlation,
        num_contexts=contexts,
        num_perturbed=perturbed,
        seed=seed,
    )
    write_simulation(simulation, out, prior_noise=prior_noise, seed=seed)
    say(f"{simulation.data.num_cells} cells x {genes} genes, {len(simulation.network)} edges: {out}")


@simulate_app.command("panel")
def simulate_panel_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes; each may regulate every other")] = 100,
    in_degree: Annotated[float, typer.Option(help="Regulators of a gene, on average")] = 3.0,
    knocked_down: Annotated[float, typer.Option(help="Share of the genes that have a knock-down")] = 1.0,
    replicates: Annotated[int, typer.Option(help="Conditions of each knock-down")] = 1,
    contexts: Annotated[int, typer.Option(help="Contexts with related networks")] = 1,
    hidden: Annotated[int, typer.Option(help="Hidden inputs that conditions share")] = 0,
    noise: Annotated[float, typer.Option(help="Sd of the noise in the drive")] = 0.1,
    prior_noise: Annotated[float, typer.Option(help="Share of the true edges at random places in prior.csv")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed")] = 0,
) -> None:
    """Steady states of a knock-down panel (FactorBox): expression.h5ad and .csv.gz, tfs.csv, network.csv (the truth),
    prior.csv (the truth corrupted)."""
    from ..models.simulators import simulate_panel
    from .simulation import write_simulation

    simulation = simulate_panel(
        num_genes=genes,
        in_degree=in_degree,
        knocked_down=knocked_down,
        replicates=replicates,
        num_contexts=contexts,
        num_hidden=hidden,
        drive_noise=noise,
        seed=seed,
    )
    write_simulation(simulation, out, prior_noise=prior_noise, seed=seed)
    say(f"{simulation.data.num_cells} conditions x {genes} genes, {len(simulation.network)} edges: {out}")


@simulate_app.command("ode")
def simulate_ode_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes; each may regulate every other")] = 50,
    in_degree: Annotated[float, typer.Option(help="Regulators of a gene, on average")] = 2.0,
    trajectories: Annotated[int, typer.Option(help="Time courses, each from a random start")] = 40,
    times: Annotated[str, typer.Option(help="TIME[,TIME...] of the measurements")] = "0,1,2,4,7",
    noise: Annotated[float, typer.Option(help="Sd of the measurements; levels are between 0 and 1")] = 0.02,
    prior_noise: Annotated[float, typer.Option(help="Share of the true edges at random places in prior.csv")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed")] = 0,
) -> None:
    """Time courses of a network (--method trajectory): expression.h5ad (time and trajectory in .obs) and .csv.gz,
    tfs.csv, network.csv (the truth), prior.csv (the truth corrupted)."""
    from ..models.simulators import simulate_courses
    from .simulation import write_simulation

    try:
        clock = [float(t) for t in times.split(",")]
    except ValueError:
        raise ValueError(f"--times {times}: expected numbers separated by commas") from None
    simulation = simulate_courses(
        num_genes=genes, in_degree=in_degree, num_trajectories=trajectories, times=clock, noise=noise, seed=seed
    )
    write_simulation(simulation, out, prior_noise=prior_noise, seed=seed)
    say(f"{trajectories} trajectories of {len(clock)} times x {genes} genes, {len(simulation.network)} edges: {out}")


@simulate_app.command("ppca")
def simulate_ppca_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes")] = 200,
    cells: Annotated[int, typer.Option(help="Cells")] = 100,
    factors: Annotated[int, typer.Option(help="Programs, each with a normal loading on every gene")] = 2,
    noise_variance: Annotated[float, typer.Option(help="Of every gene")] = 0.5,
    shift: Annotated[
        float | None, typer.Option(help="Mean of every gene in the second half of the cells [default: one cluster]")
    ] = None,
    label: Annotated[
        str, typer.Option(help="How the cells of --shift are labelled in .obs: covariate, context or none")
    ] = "covariate",
    seed: Annotated[int, typer.Option(help="Seed")] = 0,
) -> None:
    """Cells from probabilistic PCA, perhaps in two clusters: expression.h5ad (covariate cluster or group in .obs), and
    the truth, loadings.csv, scores.csv, covariate_effects.csv."""
    from ..models.simulators import simulate_ppca
    from .simulation import write_factor_simulation

    simulation = simulate_ppca(
        num_genes=genes,
        num_cells=cells,
        num_factors=factors,
        noise_variance=noise_variance,
        shift=shift,
        label=label,
        seed=seed,
    )
    write_factor_simulation(simulation, out)
    say(f"{cells} cells x {genes} genes, {factors} programs: {out}")


@simulate_app.command("muvi")
def simulate_muvi_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes")] = 500,
    cells: Annotated[int, typer.Option(help="Cells")] = 1000,
    sets: Annotated[int, typer.Option(help="Programs with a gene set")] = 10,
    set_size: Annotated[int, typer.Option(help="Genes in each program")] = 50,
    unlabelled: Annotated[int, typer.Option(help="Programs without a gene set")] = 0,
    hidden: Annotated[float, typer.Option(help="Share of each set's genes left out of gene_sets.gmt")] = 0.1,
    false: Annotated[float, typer.Option(help="Wrong genes added to each set, as a share of its size")] = 0.0,
    covariates: Annotated[int, typer.Option(help="Normal covariates in .obs: covariate_1, ...")] = 0,
    correlation: Annotated[float, typer.Option(help="Between program k and covariate k")] = 0.0,
    noise_variance: Annotated[float, typer.Option(help="Of Gaussian genes")] = 0.5,
    view: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=gaussian, bernoulli or negative-binomial; repeatable, genes are split evenly and several views "
            "are written as expression.h5mu [default: one gaussian view]"
        ),
    ] = None,
    missing: Annotated[float, typer.Option(help="Share of values missing at random")] = 0.0,
    groups: Annotated[int, typer.Option(help="Groups of cells with means of their own (group in .obs)")] = 1,
    seed: Annotated[int, typer.Option(help="Seed")] = 0,
) -> None:
    """Cells from gene programs: expression.h5ad, gene_sets.gmt (with genes hidden and wrong ones added), and the truth,
    loadings.csv, scores.csv, true_sets.gmt, covariate_effects.csv."""
    from ..models.simulators import simulate_muvi
    from .simulation import write_factor_simulation

    views = dict(entry.partition("=")[::2] for entry in view or [])
    if len(views) < len(view or []) or not all(views):
        raise ValueError(f"--view {' '.join(view or [])}: expected NAME=LIKELIHOOD, each name once")
    simulation = simulate_muvi(
        num_genes=genes,
        num_cells=cells,
        num_sets=sets,
        set_size=set_size,
        num_unlabelled=unlabelled,
        hidden=hidden,
        false=false,
        num_covariates=covariates,
        correlation=correlation,
        noise_variance=noise_variance,
        views=views or None,
        missing=missing,
        num_groups=groups,
        seed=seed,
    )
    write_factor_simulation(simulation, out)
    say(f"{cells} cells x {genes} genes, {sets} gene sets, {unlabelled} other programs: {out}")


@simulate_app.command("sergio")
def simulate_sergio_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int | None, typer.Option(help="Genes, regulators included [default: 100]")] = None,
    tfs: Annotated[int | None, typer.Option(help="Regulators [default: 10]")] = None,
    types: Annotated[int | None, typer.Option(help="Cell types [default: 5]")] = None,
    cells: Annotated[int, typer.Option(help="Cells of each type")] = 200,
    networks: Annotated[
        int | None, typer.Option(help="Networks, each in a subfolder when more than one [default: 1]")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Probability of an edge from a regulator to another gene [default: 0.1]")
    ] = None,
    hubs: Annotated[
        float | None, typer.Option(help="How unequal regulators are in number of targets: 0 alike, 1 hubs [default: 0]")
    ] = None,
    copying: Annotated[
        float | None, typer.Option(help="Share of genes that take the regulators of another gene [default: 0]")
    ] = None,
    repressive: Annotated[float | None, typer.Option(help="Share of repressing edges [default: 0.5]")] = None,
    decay: Annotated[
        float | None, typer.Option(help="Decay rate of every gene [default: 1, with --targets 0.8]")
    ] = None,
    gene_noise: Annotated[
        float | None, typer.Option(help="Noise amplitude of every gene [default: 0.1, with --targets 1]")
    ] = None,
    noise_type: Annotated[str, typer.Option(help="Noise of dpd: production and decay, sp: production, sd: decay")] = (
        "dpd"
    ),
    dropout: Annotated[
        float | None, typer.Option(help="Percentile of expression at which half of the values are lost [default: none]")
    ] = None,
    dropout_shape: Annotated[
        float | None, typer.Option(help="Steepness of --dropout in log expression [default: 6.5]")
    ] = None,
    library: Annotated[
        float | None, typer.Option(help="Mean of the log total of a cell [default: totals as they are]")
    ] = None,
    outliers: Annotated[
        float | None, typer.Option(help="Share of genes whose expression is multiplied by a factor [default: none]")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option(help="SERGIO's file of targets, with --regulators instead of a random network")
    ] = None,
    regulators: Annotated[Path | None, typer.Option(help="SERGIO's file of master regulators and their rates")] = None,
    hill: Annotated[
        float | None, typer.Option(help="Hill coefficient of every edge [default: 2, with --targets those of the file]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed")] = 0,
) -> None:
    """Single cells of several types from a regulatory network by SERGIO's stochastic equations: expression.h5ad
    (cell_type in .obs, layer clean), tfs.csv, network.csv (the truth) and SERGIO's input files. X are molecules, or
    Poisson counts with --dropout, --library or --outliers."""
    from ..models.simulators import RandomGRN, TechnicalNoise, read_sergio, simulate_sergio
    from .simulation import write_sergio_simulation

    network: Any  # a family of networks, or the kinetics of one
    ranges = {"sparsity": sparsity, "hubs": hubs, "copying": copying, "repressive": repressive}
    of_random = {"genes": genes, "tfs": tfs, "types": types, "networks": networks} | ranges
    if (targets is None) != (regulators is None):
        raise ValueError(
            f"{'--regulators' if targets is None else '--targets'} alone: "
            "pass both of SERGIO's files, --targets and --regulators"
        )
    if dropout is None and dropout_shape is not None:
        raise ValueError("--dropout-shape without --dropout: pass the percentile of dropout too")
    for option, number in {"--cells": cells, "--networks": networks}.items():
        if number is not None and number < 1:
            raise ValueError(f"{option} {number}: expected at least 1")
    rates = {name: value for name, value in {"decay": decay, "noise": gene_noise}.items() if value is not None}
    if targets is not None and regulators is not None:
        wrong = [name for name, value in of_random.items() if value is not None]
        if wrong:
            raise ValueError(f"--{wrong[0]} does not go with --targets: it is for random networks")
        inputs = read_sergio(targets, regulators, hill=hill, **rates)
        network, names = inputs.kinetics, inputs.genes
    else:
        sizes: dict[str, Any] = {"num_genes": genes, "num_tfs": tfs, "num_types": types, "hill": hill}
        pairs: dict[str, Any] = {name: (value, value) for name, value in (ranges | rates).items() if value is not None}
        network, names = RandomGRN(**{k: v for k, v in sizes.items() if v is not None}, **pairs), None
    steps = {
        "dropout_percentile": dropout,
        "dropout_shape": dropout_shape,
        "library_mean": library,
        "outlier_probability": outliers,
    }
    chosen: dict[str, Any] = {name: value for name, value in steps.items() if value is not None}
    simulation = simulate_sergio(
        network,
        num_networks=networks or 1,
        num_cells=cells,
        noise_type=noise_type,
        noise=TechnicalNoise(**chosen) if chosen else None,
        genes=names,
        seed=seed,
    )
    write_sergio_simulation(simulation, out)
    number, kinds, each, width = simulation.clean.shape
    edges = int((simulation.kinetics.strength != 0).sum())
    of = f" in {number} networks" if number > 1 else ""
    say(f"{number * kinds * each} cells x {width} genes of {kinds} types, {edges} edges{of}: {out}")


def covariate_columns(text: str | None) -> list[str]:
    """``"batch,age"`` → the columns."""
    columns = [] if text is None else [name.strip() for name in text.split(",")]
    if "" in columns or len(set(columns)) < len(columns):
        raise ValueError(f"--covariates {text}: expected COL[,COL...], each column once")
    return columns


def check_annotate(out: Path, expression: list[Path], *, overwrite: bool) -> None:
    """Refuse what --annotate cannot do before anything is computed."""
    if out.suffix != ".h5ad":
        raise ValueError(f"--annotate {out}: expected a file that ends in .h5ad")
    if len(expression) != 1 or expression[0].suffix != ".h5ad":
        raise ValueError("--annotate writes the AnnData that was read: pass one .h5ad file as EXPRESSION")
    if out.exists() and (not overwrite or out.resolve() == expression[0].resolve()):
        raise ValueError(f"--annotate {out}: the file exists, choose another name (or --overwrite, never the input)")
    if not out.parent.is_dir():
        raise ValueError(f"--annotate {out}: there is no folder {out.parent}")


def write_annotated(posterior, data, source: Path, out: Path) -> None:
    """The AnnData of ``source`` with scores and loadings, written whole or not at all."""
    import anndata

    adata = anndata.read_h5ad(source)
    posterior.annotate(adata, data)
    scratch = out.with_name(out.name + ".partial")
    try:
        adata.write_h5ad(scratch)
        scratch.replace(out)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise ValueError(f"cannot write {out}: {error.strerror}. Choose another --annotate") from error


def read_edges(path: Path):
    """Any network file as a table: an edge table of ours as it is, other formats through `PriorNetwork`."""
    import pandas as pd

    from ..priors import PriorNetwork

    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.suffix in (".csv", ".tsv", ".gz"):
        try:
            table = pd.read_csv(path, sep=None, engine="python", nrows=3)
        except Exception:  # PriorNetwork.read says what is wrong with it
            table = pd.DataFrame()
        if {"source", "target"} <= set(table.columns):
            sep = "\t" if ".tsv" in path.name else ","
            return pd.read_csv(path, sep=sep, dtype={"source": str, "target": str})
    return PriorNetwork.read(path).to_frame()


def write_table(table, path: Path) -> None:
    """A csv, written whole or not at all."""
    scratch = path.with_name(path.name + ".partial")
    try:
        table.to_csv(scratch, index=False, float_format="%.6g")
        scratch.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}. Choose another --out") from error


def main() -> None:
    """Entry point: a user's mistake ends in one line on stderr and exit code 2, never in a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _interrupt)  # what a cluster sends when time is up: leave a checkpoint as on Ctrl-C
    try:
        code = app(standalone_mode=False)
        if isinstance(code, int) and code:
            sys.exit(code)  # typer returns the code of an interruption instead of raising
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            say(error.format_message())
            sys.exit(2)
        fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (ValueError, FileNotFoundError, PermissionError, IsADirectoryError) as error:
        fail(str(error))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def fail(message: str) -> None:
    """One line, exit code 2."""
    say("pyrogrn: error: " + " ".join(message.split()))
    sys.exit(2)


if __name__ == "__main__":
    main()
