"""The command line: ``pyrogrn infer``, and what is done with its results; ``pyrogrn --help`` lists all commands."""

import json
import logging
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .commands.ablate_command import ablate_command
from .commands.course_commands import course_command, influence_command
from .commands.infer_command import infer_command
from .commands.screen_command import screen_command
from .commands.simulate_commands import simulate_app
from .commands.terminal import LEVEL, read_edges, say, write_figure, write_table
from .commands.train_command import train_command
from .files.whole import whole_file
from .wording import CommandFormatter, for_command_line

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
app.add_typer(simulate_app, name="simulate")
app.command("infer")(infer_command)
app.command("train")(train_command)
app.command("ablate")(ablate_command)
app.command("screen")(screen_command)
app.command("course")(course_command)
app.command("influence")(influence_command)


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
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = LEVEL,
    draws: Annotated[int, typer.Option(help="Posterior draws to use")] = 200,
) -> None:
    """Expression after knocking out or over-expressing regulators, with intervals (gene, mean, sd, lower, upper,
    settled, control)."""
    from ..inference import Posterior
    from .commands.options import parse_levels

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
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = LEVEL,
    draws: Annotated[int, typer.Option(help="Posterior draws to use")] = 20,
    top: Annotated[int, typer.Option(help="Genes in the figure")] = 25,
) -> None:
    """Variance flux analysis: which genes drive the variation of the others at the undisturbed steady state, with
    intervals."""
    from ..inference import Posterior
    from ..inference.answers.flux import flux_table
    from .figures.panels import plot_flux

    if draws < 2 or top < 1:
        raise ValueError(f"--draws {draws}, --top {top}: expected at least 2 draws and 1 gene")
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    table, shares = flux_table(posterior, context=context, level=level, num_draws=draws)
    write_table(table, out)
    figure = plot_flux(table, shares, posterior.model.genes, top=top)
    write_figure(figure, out.with_suffix(".png"))
    if table["settled"].iloc[0] < 1:
        say(f"in {1 - table['settled'].iloc[0]:.0%} of the draws the network has no stable steady state; left out")
    say(f"{out}, {out.with_suffix('.png')}")


@app.command()
def score(
    edges: Annotated[Path, typer.Argument(help="Edge table (source, target, and a score), or FILE?format=NAME")],
    truth: Annotated[Path, typer.Argument(help="Known network in any format, or FILE?format=NAME")],
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
    from .files.readers import read_names
    from .scores import score_edges

    table = read_edges(edges)
    result = score_edges(
        table,
        read_edges(truth),
        tfs=read_names(tfs, {*table["source"].astype(str), *table["target"].astype(str)}) if tfs is not None else None,
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
    source: Annotated[Path, typer.Argument(metavar="IN", help="A network in any known format, or FILE?KEY=VALUE")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write")],
    read_as: Annotated[str | None, typer.Option("--from", help="Format of IN [default: recognised]")] = None,
    write_as: Annotated[str, typer.Option("--to", help="Format of OUT")] = "edges",
) -> None:
    """Convert a network between the formats of the field."""
    from .files.network_files import NetworkFile

    network = NetworkFile.parse(source).read(format=read_as)
    with whole_file(target) as place:
        network.write(place, format=write_as)
    for note in network.notes:
        say(note)
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
    typer.echo("--guide takes these names, and svi for mean-field")


def main() -> None:
    """Entry point: a user's mistake ends in one line on stderr and exit code 2, never in a traceback."""
    logging.basicConfig(level=logging.WARNING, handlers=[_warnings()])
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
    except ValueError as error:
        fail(str(error))
    except MemoryError as error:
        fail(f"out of memory ({error or 'nothing more could be had'}): use fewer cells, genes or regulators")
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        fail(f"out of memory ({shown(error)}): use fewer cells, genes or regulators, or --restarts 1")
    except OSError as error:  # a broken pipe of results, a full disk: what was being written is named
        place = f"{error.filename}: " if error.filename and str(error.filename) not in str(error.strerror) else ""
        fail(f"{place}{error.strerror}" if error.strerror else str(error))


def shown(error: Exception) -> str:
    """The first line of what another package says."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _warnings() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CommandFormatter())
    return handler


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def fail(message: str) -> None:
    """One line, exit code 2."""
    say("pyrogrn: error: " + for_command_line(message))
    with suppress(OSError, ValueError, AttributeError):  # results that a full disk did not take are lost either way
        sys.stdout.flush()
    sys.exit(2)


if __name__ == "__main__":
    main()
