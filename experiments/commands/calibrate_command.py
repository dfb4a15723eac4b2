"""The command ``pyrogrn calibrate``."""

from typing import Annotated

import typer

from .infer_command import (
    Calibrate,
    ContextKey,
    Control,
    Device,
    DropConstant,
    EdgePrior,
    Expression,
    GenesIn,
    Guide,
    Layer,
    Method,
    MinCells,
    Normalize,
    Out,
    Overwrite,
    PerturbationKey,
    Prior,
    Restarts,
    Seed,
    Settings,
    Steps,
    Tfs,
    Threads,
    Unmeasured,
)

Targets = Annotated[int, typer.Option(help="Targets to make in each world")]
Worlds = Annotated[int, typer.Option(help="Worlds of each kind: standard errors are over these")]
Rungs = Annotated[
    str, typer.Option(help="Which rungs: 1 own model, 2 exact posterior, 3 every cause offered, 4 hidden")
]
Hidden = Annotated[float, typer.Option(help="Share of the regulators that act and are not offered, on rung 4")]
Moved = Annotated[
    str | None,
    typer.Option(help="With --prior: shares of the made sources' edges that are at random places [default: 0.5]"),
]


def calibrate_command(
    expression: Expression,
    out: Out,
    method: Method = "linear",
    tfs: Tfs = None,
    prior: Prior = None,
    edge_prior: EdgePrior = None,
    targets: Targets = 200,
    worlds: Worlds = 3,
    rungs: Rungs = "1,2,3,4",
    hidden: Hidden = 0.5,
    moved: Moved = None,
    layer: Layer = None,
    genes_in: GenesIn = None,
    normalize: Normalize = "none",
    context_key: ContextKey = None,
    min_cells: MinCells = None,
    perturbation_key: PerturbationKey = None,
    control: Control = None,
    unmeasured: Unmeasured = False,
    drop_constant: DropConstant = None,
    guide: Guide = None,
    restarts: Restarts = None,
    steps: Steps = None,
    calibrate: Calibrate = True,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = 1,
    settings: Settings = None,
    overwrite: Overwrite = False,
) -> None:
    """How far a list of edges can be trusted on cells like yours: targets with a known truth are made on your own
    regulators, fitted as `infer` would fit them with the same options, and compared with what was stated.

    Writes OUT/report.html, rows.csv (every number of every world), summary.csv, reliability.csv, figures as .svg and
    config.json.
    """
    given = dict(locals())
    from .calibrate_run import run  # Torch is imported here, so that --help is quick

    run(given)
