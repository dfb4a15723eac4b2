"""The command ``pyrogrn ablate``."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .ablate_folder import filling
from .terminal import read_edges, say

if TYPE_CHECKING:  # Dask is an extra
    import pandas as pd
    from distributed import Client

    from ...models import ExpressionData
    from ..ablation import AblationResult
    from ..ablation.changes import Change

Expression = Annotated[
    list[Path],
    typer.Argument(help="h5ad, zarr, or csv/tsv[.gz]; several files are several contexts, as of `infer`"),
]
Out = Annotated[Path, typer.Option(help="Folder for runs, tables, figures and report.html")]
Prior = Annotated[list[str] | None, typer.Option(help="NAME=FILE[?KEY=VALUE], a source of prior knowledge; repeatable")]
GeneSets = Annotated[
    list[str] | None, typer.Option(help="Of muvi and ppca: LIBRARY=FILE.gmt[.gz], a source of gene sets; repeatable")
]
Factors = Annotated[int | None, typer.Option(help="Of muvi and ppca: programs beside those of the sets [default: 2]")]
MinOverlap = Annotated[
    int | None, typer.Option(help="Of muvi and ppca: fewest measured genes of a set that counts [default: 5]")
]
Inputs = Annotated[
    Path | None, typer.Option(help="Of cellbox: conditions x nodes, what acts on each node from outside")
]
Nodes = Annotated[
    Path | None, typer.Option(help="Of cellbox: table node,kind; drug_activity and phenotype carry rules")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="model.NAME=VALUE, prior., guide. or fit., as of infer; repeatable")
]
Truth = Annotated[
    Path | None,
    typer.Option(help="Known network, FILE or FILE?format=NAME: scores of edges; without it bits and predictions"),
]
Tfs = Annotated[Path | None, typer.Option(help="Candidate regulators; default every gene")]
Method = Annotated[
    list[str] | None,
    typer.Option(
        help="A method of `pyrogrn methods`, or prior-only; networks, or programs; repeatable [default: linear]"
    ),
]
Strategy = Annotated[
    list[str] | None,
    typer.Option(
        help="How knowledge enters: inclusion, scale, mask, laplace, mask:laplace, ..., evidence (symphony), own; "
        "repeatable [default: inclusion, or what the method has]"
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(help="sampled, or a number at which every source's trust is fixed; repeatable [default: sampled]"),
]
Corrupt = Annotated[str, typer.Option(help="Shares of edges moved to random places: 0.1,0.2,0.5")]
Flip = Annotated[str, typer.Option(help="Shares of signs flipped")]
Drop = Annotated[str, typer.Option(help="Shares of edges dropped")]
HoldOut = Annotated[str, typer.Option(help="Shares of targets of which the sources say nothing")]
Shuffle = Annotated[bool, typer.Option("--shuffle", help="Also sources shuffled with all degrees kept")]
Damage = Annotated[
    list[str] | None, typer.Option(help="Sources that are damaged, alone in the run; repeatable [default: all]")
]
Seeds = Annotated[str, typer.Option(help="Seeds of chains, held-out cells and damage")]
HoldOutCells = Annotated[float, typer.Option(help="Share of cells that are predicted instead of fitted")]
AllRegulators = Annotated[
    bool, typer.Option("--all-regulators", help="Score also regulators without an edge in the truth")
]
Chains = Annotated[int, typer.Option(help="Chains of samplers, restarts of variational fits")]
Steps = Annotated[int, typer.Option(help="Kept draws a chain; three quarters as many before them")]
Layer = Annotated[str | None, typer.Option(help="Layer of the h5ad to read instead of X")]
GenesIn = Annotated[
    str | None, typer.Option(help="rows or columns of the expression file [default: where names of genes are]")
]
Normalize = Annotated[str, typer.Option(help="none, log1p-cpm or zscore")]
ContextKey = Annotated[str | None, typer.Option(help="Column of .obs: one network a context")]
MinCells = Annotated[int | None, typer.Option(help="Leave out contexts with fewer cells [default: none]")]
PerturbationKey = Annotated[str | None, typer.Option(help="Column of .obs with the perturbed gene")]
Control = Annotated[
    list[str] | None,
    typer.Option(help="Label of control cells, beside the usual ones (non-targeting, NTC, ctrl, ...); repeatable"),
]
Unmeasured = Annotated[
    bool, typer.Option("--unmeasured", help="Most perturbed genes are not measured: do not refuse their labels")
]
TimeKey = Annotated[str | None, typer.Option(help="Of trajectory: column of .obs with the time")]
TrajectoryKey = Annotated[str | None, typer.Option(help="Of trajectory: column with the time course")]
Metacells = Annotated[
    int | None, typer.Option(help="Of trajectory: average cells of like time into this many meta-cells a trajectory")
]
DropConstant = Annotated[
    bool | None,
    typer.Option(
        "--drop-constant/--keep-constant",
        help="Leave out genes without variance, or refuse them [default: leave them out, but not with --inputs]",
        show_default=False,
    ),
]
Backend = Annotated[str, typer.Option(help="loky (processes), serial, or dask with --scheduler")]
Jobs = Annotated[int | None, typer.Option(help="Processes of loky [default: one for each processor]")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler, for --backend dask")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in an OUT that has runs; finished ones are not repeated")]

READING = (
    *("inputs", "tfs", "layer", "normalize", "context_key", "perturbation_key", "control", "unmeasured"),
    *("drop_constant", "time_key", "trajectory_key", "metacells", "genes_in", "min_cells"),
)
"""Options that say how the cells are read, by their names in `read_expression`."""
DAMAGES = ("corrupt", "flip", "drop", "hold_out")


def ablate_command(
    expression: Expression,
    out: Out,
    prior: Prior = None,
    gene_sets: GeneSets = None,
    truth: Truth = None,
    tfs: Tfs = None,
    method: Method = None,
    settings: Settings = None,
    factors: Factors = None,
    min_overlap: MinOverlap = None,
    inputs: Inputs = None,
    nodes: Nodes = None,
    strategy: Strategy = None,
    trust: Trust = None,
    corrupt: Corrupt = "",
    flip: Flip = "",
    drop: Drop = "",
    hold_out: HoldOut = "",
    shuffle: Shuffle = False,
    damage: Damage = None,
    seeds: Seeds = "0,1,2",
    hold_out_cells: HoldOutCells = 0.2,
    all_regulators: AllRegulators = False,
    chains: Chains = 4,
    steps: Steps = 400,
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
    drop_constant: DropConstant = None,
    backend: Backend = "loky",
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    resume: Resume = False,
) -> None:
    """Ablate sources of prior knowledge: each alone, each left out, all, none, and damaged; what each is worth in bits,
    against a truth and in predicting cells, and at which damage it starts to hurt.

    Writes OUT/rows.csv (every run), summary.csv, trust.csv, sources.csv, break_even.csv, settings.json, report.html and
    figures as .svg; finished runs are in OUT/runs.
    """
    given = dict(locals())
    import torch

    from ..ablation import Effort, ablate
    from .ablate_settings import check_guide, read_settings, read_sources

    torch.set_num_threads(1)
    check_folder(out, resume=resume)
    check_given(given)
    chosen_seeds = whole_numbers("--seeds", seeds)
    levels = [level if level == "sampled" else number("--trust", level) for level in trust or ["sampled"]]
    own: dict[str, Any] = {"--factors": factors, "--min-overlap": min_overlap, "--inputs": inputs, "--nodes": nodes}
    own |= {"--prior": prior or [], "--gene-sets": gene_sets or []}
    groups = read_settings(settings or [], method or ["linear"], strategy or None, own)
    networks = read_sources(prior or [], gene_sets or [])
    changes = changes_of(list(networks), given)
    data, known = read(expression, networks, truth, **{name: given[name] for name in READING})
    say_scale(data, method or ["linear"], normalize)
    effort = Effort(chains, max(1, round(0.75 * steps)), steps)
    check_guide(groups, data, networks, method or ["linear"], effort)
    client = None if scheduler is None else dask_client(scheduler)
    with filling(out):
        result = ablate(
            data,
            networks,
            truth=known,
            methods=method or ["linear"],
            changes=changes,
            strategies=strategy or None,
            trust=levels,
            seeds=chosen_seeds,
            hold_out_cells=hold_out_cells,
            within_truth=not all_regulators,
            effort=effort,
            settings=groups,
            out=out,
            backend=backend,
            jobs=jobs,
            progress=True,
            client=client,
        )
        write(result, out, title=f"Ablation: {expression[0].name}")


def changes_of(sources: list[str], given: Mapping[str, Any]) -> "list[Change]":
    """What is done to the sources, of the options ``given``."""
    from ..ablation import standard_changes

    shares = {name: numbers(f"--{name.replace('_', '-')}", given[name]) for name in DAMAGES}
    return standard_changes(sources, **shares, shuffle=given["shuffle"], damage_of=given["damage"])


def read(
    expression: list[Path], networks: Mapping[str, Any], truth: Path | None, **reading: Any
) -> tuple["ExpressionData", "pd.DataFrame | None"]:
    """The cells and the truth; says what there is to say of them. ``reading`` is handed to `read_expression`."""
    import pandas as pd

    from ...models.data.course_checks import check_courses, course_notes
    from ..files.known_names import check_truth, known_names
    from ..files.readers import read_expression
    from ..wording import in_options

    known = pd.DataFrame(read_edges(truth)) if truth is not None else None
    sets = all(isinstance(source, Mapping) for source in networks.values())  # libraries, of which the truth names sets
    names = known_names({}, None, networks) if sets else known_names(networks, known)
    reading = {**reading, "control": reading["control"] or ()}
    if reading["drop_constant"] is None and reading["inputs"] is not None:
        reading["drop_constant"] = False
    data = read_expression(expression, known=names, **reading)
    if known is not None and not sets:
        check_truth(known, data, str(truth))
    check_courses(data)
    for note in (*data.notes, *map(in_options, course_notes(data))):
        say(note)
    return data, known


def say_scale(data: "ExpressionData", methods: Sequence[str], normalize: str) -> None:
    """Say what the scale of the data does to each method; refuse data that one must not be given."""
    from ..files.scale_notes import expects_of, scale_notes

    for name in methods:
        for note in scale_notes(data, expects_of(name), method=name, normalize=normalize):
            say(f"note: {name}: {note}")


def write(result: "AblationResult", out: Path, *, title: str) -> None:
    """Figures and the page; says what came out."""
    from ..ablation.output import write_figures
    from ..ablation.page import write_page
    from ..files.whole import whole_folder

    tell(result)
    command = "pyrogrn " + " ".join(shlex.quote(a) for a in sys.argv[1:])
    with whole_folder(out) as place:
        write_figures(result, place)
        write_page(result, place / "report.html", command=command, title=title)
    say(f"{len(result.rows)} runs: {out}")


def tell(result: "AblationResult") -> None:
    """Say how much of each source was used, and what was not run."""
    for row in result.sources.to_dict("records"):
        if "sets_used" in row:
            say(f"{row['source']}: {row['sets_used']} of {row['sets_in']} gene sets used, {row['genes']} genes")
            continue
        say(f"{row['source']}: {row['edges_used']} of {row['edges_in']} edges used, {row['only_here']} only here")
    for note in result.notes:
        say(f"note: {note}")


def check_folder(out: Path, *, resume: bool) -> None:
    """Refuse a file, a folder with something else in it, and to go on where nothing was begun."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: choose another folder")
    if out.is_dir() and any(out.iterdir()) and not resume:
        raise ValueError(f"--out {out} is not empty: pass --resume to go on there, or choose another folder")
    if resume and not (out / "runs").is_dir():
        raise ValueError(f"nothing to resume: {out / 'runs'} does not exist. Run without --resume")


def check_given(given: Mapping[str, Any]) -> None:
    """Refuse options of ``ablate_command``, by its names of them, that do not go together or do nothing alone."""
    from .partners import OF_ABLATE, check_partners, options_of

    check_partners(OF_ABLATE, options_of(given))
    check_options(
        normalize=given["normalize"],
        hold_out_cells=given["hold_out_cells"],
        backend=given["backend"],
        scheduler=given["scheduler"],
        sizes={f"--{name}": given[name] for name in ("chains", "steps", "jobs")},
    )
    if given["jobs"] is not None and given["backend"] != "loky":
        raise ValueError(f"--jobs {given['jobs']} does nothing with --backend {given['backend']}: it is for loky")


def check_options(
    *, normalize: str, hold_out_cells: float, backend: str, scheduler: str | None, sizes: Mapping[str, int | None]
) -> None:
    """Refuse options that do not go together, and ``sizes`` below one."""
    if (scheduler is None) == (backend == "dask"):
        raise ValueError("--backend dask and --scheduler ADDRESS go together: pass both or neither")
    for option, value in sizes.items():
        if value is not None and value < 1:
            raise ValueError(f"{option} {value}: expected at least 1")
    if normalize == "zscore" and hold_out_cells > 0:
        raise ValueError(
            "--normalize zscore would scale the cells to predict together with those fitted: leave it out (networks "
            "standardise by themselves), or pass --hold-out-cells 0"
        )


def numbers(option: str, text: str) -> list[float]:
    """``"0.1,0.2"`` -> the numbers."""
    return [number(option, part) for part in text.split(",") if part.strip()]


def whole_numbers(option: str, text: str) -> list[int]:
    """``"0,1,2"`` -> the numbers, at least 0."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{option} {text}: expected whole numbers of at least 0, separated by commas")
    return [int(part) for part in parts]


def number(option: str, text: str) -> float:
    """One number, or an error that names the option."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{option} {text}: expected numbers, separated by commas") from None


def dask_client(address: str) -> "Client":
    """A client of a running scheduler; ``ValueError`` without Dask or without a scheduler there."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("--backend dask needs Dask: install pyrogrn[cluster], or use --backend loky") from error
    try:
        return Client(address, timeout=10)
    except OSError as error:
        raise ValueError(f"no Dask scheduler answers at {address}: start one, or use --backend loky") from error
