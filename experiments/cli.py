"""The command line: ``pyrogrn infer``, and what is done with its results; ``pyrogrn --help`` lists all commands."""

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .commands.ablate_command import ablate_command
from .commands.calibrate_command import calibrate_command
from .commands.convert_command import convert_command
from .commands.course_command import course_command
from .commands.demo_command import demo_command
from .commands.figures_command import figures_command
from .commands.grouped import GroupedCommand, say_version
from .commands.infer_command import infer_command
from .commands.influence_command import influence_command
from .commands.methods_command import methods_command
from .commands.plan_command import plan_command
from .commands.regulons_command import regulons_command
from .commands.score_cells_command import score_cells_command
from .commands.score_responses_command import score_responses_command
from .commands.screen_command import screen_command
from .commands.show_command import show_command
from .commands.simulate_commands import simulate_app
from .commands.terminal import LEVEL, Interrupted, read_edges, result, say, write_table, write_table_and_figure
from .commands.train_command import train_command
from .finite_numbers import with_finite_numbers
from .streams import CLOSED_PIPE, Signals, catch_signals, drop_output, leave_quietly
from .wording import CommandFormatter, for_command_line

# typer has carried click inside since 0.26: its exceptions are found through typer in either case
ClickException: Any = typer.BadParameter.__mro__[2]

INTERRUPTED = 130  # exit code, as of a shell

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Gene regulatory networks and gene programs with posterior uncertainty. Every "
    "command mirrors a Python function of the same name; `pyrogrn COMMAND --help` has examples.",
)
app.add_typer(simulate_app, name="simulate")
app.command("infer", cls=GroupedCommand, short_help="A network, or gene programs, as a posterior")(infer_command)
app.command("plan", cls=GroupedCommand, short_help="What `infer` would take: time, memory, files")(plan_command)
app.command("calibrate", short_help="How far a list can be trusted on your cells")(calibrate_command)
app.command("train", short_help="Train an amortised guide on simulated cells")(train_command)
app.command("ablate", short_help="What each source of prior knowledge is worth")(ablate_command)
app.command("screen", short_help="Effects of perturbations as prior knowledge")(screen_command)
app.command("score-cells", short_help="Programs of a fit in new cells, with sd")(score_cells_command)
app.command("score-responses", short_help="Networks by perturbed cells, none known")(score_responses_command)
app.command("course", short_help="A course of a PHOENIX fit from any start")(course_command)
app.command("influence", short_help="Which genes move the dynamics most")(influence_command)
app.command("figures", short_help="The four figures of a perturbation panel")(figures_command)
app.command("show", short_help="What a run says of one gene")(show_command)
app.command("regulons", short_help="Regulons of a run, and their activities")(regulons_command)
app.command("convert", short_help="Networks between the formats of the field")(convert_command)
app.command("methods", short_help="Methods: data, answers, whether tested")(methods_command)
app.command("demo", short_help="The main jobs end to end on data that it makes")(demo_command)


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="The version, and leave", callback=say_version, is_eager=True)
    ] = False,
) -> None:
    """Gene regulatory networks and gene programs with posterior uncertainty.

    Every command mirrors a Python function of the same name; `pyrogrn COMMAND --help` has examples. The first two
    commands of a session are `pyrogrn plan FILE`, which looks at the data, and `pyrogrn infer FILE --out run`.
    """


@app.command(short_help="What a knock-out or another input does")
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
    from ..inference.answers.tables import unsettled_note
    from .commands.gene_names import listed_genes
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
            knockout=listed_genes("--knockout", knockout, posterior.model.genes),
            overexpress=levels,
            knockdown=listed_genes("--knockdown", knockdown, posterior.model.genes),
            inputs=doses,
            context=context,
            steps=propagate,
            level=level,
            num_draws=draws,
        )
    notes = posterior.prediction_notes()
    write_table(table.assign(note="; ".join(map(for_command_line, notes))) if notes else table, out)
    for note in notes:
        say(f"note: {for_command_line(note)}")
    unsettled = unsettled_note(table)
    if unsettled is not None:
        say(for_command_line(unsettled))
    say(str(out))


@app.command(short_help="Which genes drive the variation of the others")
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
    picture = write_table_and_figure(table, plot_flux(table, shares, posterior.model.genes, top=top), out)
    if table["settled"].iloc[0] < 1:
        say(f"in {1 - table['settled'].iloc[0]:.0%} of the draws the network has no stable steady state; left out")
    say(f"{out}, {picture}")


@app.command(short_help="Edges against a known network")
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
    found = score_edges(
        table,
        read_edges(truth),
        tfs=read_names(tfs, {*table["source"].astype(str), *table["target"].astype(str)}) if tfs is not None else None,
        restrict_to_truth_regulators=truth_regulators,
    )
    if as_json:
        values = {name: None if value != value else value for name, value in found.values.items()}
        result(json.dumps({**values, "matching": asdict(found.matching)}))
        return
    say(str(found.matching))
    width = max(len(name) for name in found.values)
    for name, value in found.values.items():
        result(f"{name:<{width}}  {value:.4g}")


def main() -> None:
    """Entry point: a user's mistake ends in one line on stderr and exit code 2, never in a traceback; an interrupt in
    exit code 130."""
    logging.basicConfig(level=logging.WARNING, handlers=[_warnings()])
    catch_signals()
    Interrupted.told = False
    try:
        _run()
    except (typer.Abort, KeyboardInterrupt):
        stop()
    except SystemExit:
        raise
    except BaseException:
        if not Signals.interrupted:
            raise
        stop()  # an import that was cut short, say
    finally:
        leave_quietly()


def _run() -> None:
    try:
        command = with_finite_numbers(typer.main.get_command(app))
        code = command(standalone_mode=False)  # calling app would replace sys.excepthook
        if code == INTERRUPTED and isinstance(code, int):
            stop()  # typer returns the code of an interruption instead of raising
        if isinstance(code, int) and code:
            sys.exit(code)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # typer ends with 1, without a word
            fail(CLOSED_PIPE)
        raise
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            say(error.format_message())
            sys.exit(2)
        fail(error.format_message())
    except ValueError as error:
        if Signals.interrupted:
            raise
        fail(str(error))
    except MemoryError as error:
        fail(f"out of memory ({error or 'nothing more could be had'}): use fewer cells, genes or regulators")
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        fail(f"out of memory ({shown(error)}): use fewer cells, genes or regulators, or --restarts 1")
    except OSError as error:  # a broken pipe of results, a full disk: what was being written is named
        if Signals.interrupted:
            raise
        place = f"{error.filename}: " if error.filename and str(error.filename) not in str(error.strerror) else ""
        fail(f"{place}{error.strerror}" if error.strerror else str(error))


def stop() -> NoReturn:
    """One line after an interrupt, exit code 130."""
    if not Interrupted.told:
        say("interrupted: nothing half-written is left, give the command again")
    drop_output()
    sys.exit(INTERRUPTED)


def shown(error: Exception) -> str:
    """The first line of what another package says."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _warnings() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CommandFormatter())
    return handler


def fail(message: str) -> NoReturn:
    """One line, exit code 2."""
    say("pyrogrn: error: " + for_command_line(message))
    drop_output()
    sys.exit(2)


if __name__ == "__main__":
    main()
