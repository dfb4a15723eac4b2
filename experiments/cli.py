"""The command line: ``pyrogrn infer | predict | score | convert | methods | simulate``."""

import json
import logging
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

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
    prior: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE, a prior network in any known format; repeatable")
    ] = None,
    edge_prior: Annotated[
        str, typer.Option(help="normal, laplace, horseshoe, spike-slab, hard-mask, or hard-mask:NAME")
    ] = "spike-slab",
    layer: Annotated[str | None, typer.Option(help="Layer of the h5ad to read instead of X")] = None,
    normalize: Annotated[str, typer.Option(help="none, log1p-cpm or zscore")] = "none",
    context_key: Annotated[
        str | None, typer.Option(help="Column of .obs: one network a context, sharing structure")
    ] = None,
    perturbation_key: Annotated[
        str | None, typer.Option(help="Column of .obs with the perturbed gene; its incoming edges are cut in that cell")
    ] = None,
    drop_constant: Annotated[
        bool, typer.Option("--drop-constant", help="Drop genes without variance instead of refusing them")
    ] = False,
    guide: Annotated[
        str | None,
        typer.Option(help="gibbs, nuts, blocked, mean-field, low-rank, map; default the most trustworthy that applies"),
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(help="Chains of a sampler, random starts of a variational fit [default: 4]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Kept draws by chain of a sampler [400], most steps of a variational fit [3000]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same draws")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; more than one helps from about 500 regulators on")] = 1,
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = 0.89,
    top: Annotated[int | None, typer.Option(help="Write only this many edges [default: all]")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Known network (source,target): adds reliability to the report")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="prior.NAME=VALUE, guide.NAME=VALUE or fit.NAME=VALUE; repeatable")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run")] = False,
) -> None:
    """Infer a network: edges with posterior mean, interval, inclusion and sign probability.

    Writes OUT/edges.csv, posterior.nc (ArviZ DataTree), diagnostics.json, report.html, config.json and model/.
    """
    import pandas as pd
    import torch

    from ..inference import Progress, default_guide, fit
    from ..inference.diagnostics import verdict
    from ..models import MODELS
    from .options import make_edge_prior, make_guide, parse_settings, pick_device, read_priors
    from .readers import read_expression, read_names
    from .run import RunFolder, file_digest, versions, write_outputs

    classes = {model.name: model for model in MODELS}
    if method not in classes:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(classes)}")
    if not 0 < level < 1:
        raise ValueError(f"--level {level}: expected a probability strictly between 0 and 1")
    for option, number in (("--restarts", restarts), ("--steps", steps), ("--top", top)):
        if number is not None and number < 1:
            raise ValueError(f"{option} {number}: expected at least 1")
    if threads < 1:
        raise ValueError(f"--threads {threads}: expected at least 1")
    torch.set_num_threads(threads)
    run = RunFolder(out, overwrite=overwrite, resume=resume)
    place = pick_device(device)
    groups = parse_settings(settings or [])
    edge = make_edge_prior(edge_prior, groups["prior"])
    names = read_names(tfs) if tfs is not None else None
    networks = read_priors(prior or [])
    known = pd.DataFrame(read_edges(truth)) if truth is not None else None
    data = read_expression(
        expression,
        tfs=names,
        layer=layer,
        normalize=normalize,
        context_key=context_key,
        perturbation_key=perturbation_key,
        drop_constant=drop_constant,
    )
    for note in data.notes:
        say(note)
    say(
        f"{data.num_cells} cells, {data.num_genes} genes, {len(data.tfs)} "
        f"candidate regulators, {data.num_contexts} context(s)"
    )
    model = classes[method].from_data(data, edge_prior=edge, networks=networks).to(place)
    for report in model.knowledge.reports.values():
        say(str(report))
    engine = make_guide(guide, groups["guide"], default_guide(model), restarts=restarts, steps=steps)
    checkpoint = run.open()
    try:
        posterior = fit(
            model,
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
        options = {
            "method": method,
            "expression": {str(path): file_digest(path) for path in expression},
            "priors": {name: len(network) for name, network in networks.items()},
            "prior_files": list(prior or []),
            "edge_prior": edge_prior,
            "guide": repr(engine),
            "layer": layer,
            "normalize": normalize,
            "seed": seed,
            "settings": list(settings or []),
            "device": str(place),
            "versions": versions(),
            "command": "pyrogrn " + " ".join(shlex.quote(a) for a in sys.argv[1:]),
        }
        checks = write_outputs(run.partial, posterior, data, level=level, top=top, config=options, truth=known)
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
    import pandas as pd

    from ..inference import Posterior

    if all_knockouts == bool(knockout or overexpress):
        raise ValueError("choose either --all-knockouts, or genes with --knockout and --overexpress")
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    levels: dict[str, float] = {}
    for entry in overexpress or []:
        gene, _, value = entry.partition("=")
        try:
            levels[gene] = float(value)
        except ValueError:
            raise ValueError(f"--overexpress {entry}: expected GENE=LEVEL with a number") from None

    def one(genes: tuple[str, ...]) -> pd.DataFrame:
        return posterior.predict(
            knockout=genes, overexpress=levels, context=context, steps=propagate, level=level, num_draws=draws
        )

    if all_knockouts:
        parts = []
        for gene in posterior.coords["tf"]:
            table = one((gene,))
            table.insert(0, "knockout", gene)
            parts.append(table)
        table = pd.concat(parts, ignore_index=True)
    else:
        table = one(tuple(knockout.split(",")) if knockout else ())
    write_table(table, out)
    settled = table["settled"].min()
    if settled < 1:
        say(f"in {1 - settled:.0%} of the draws the network has no stable steady state; they are left out")
    say(str(out))


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
    """Methods, the edge priors and guides each takes, and which of them are calibrated."""
    from .methods import methods as table_of_methods

    table = table_of_methods()
    if as_json:
        typer.echo(table.to_json(orient="records"))
        return
    for method, rows in table.groupby("method", sort=False):
        typer.echo(f"{method}    {rows['reference'].iloc[0]}")
        for prior, part in rows.groupby("edge_prior", sort=False):
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
