"""The command ``pyrogrn train``."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import LARGEST_SEED


def train_command(
    kind: Annotated[str, typer.Argument(help="glad, glad-tf or grnular")],
    out: Annotated[Path, typer.Option(help="File to write, .npz")],
    family: Annotated[str, typer.Option(help="Simulations to train on: broad, compact, clean or protocol")] = "broad",
    batches: Annotated[int, typer.Option(help="Simulated batches for the head")] = 260,
    graphs: Annotated[int, typer.Option(help="Networks in a batch")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of the head at most")] = 4500,
    loss: Annotated[
        str, typer.Option(help="Of thresholds and penalties: posterior (-log q), paper (F-beta + r MSE) or paper-theta")
    ] = "posterior",
    reads: Annotated[
        str, typer.Option(help="What probabilities are read off: both, unrolled (Z alone) or evidence (no Z)")
    ] = "both",
    iterations: Annotated[int, typer.Option(help="L, cells of the unrolled algorithm")] = 10,
    inner: Annotated[int | None, typer.Option(help="P, steps of Adam in a cell of grnular [default: 5]")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers of grnular's network, 2 or 3 [default: 2]")] = None,
    epochs: Annotated[int | None, typer.Option(help="E1, first steps of grnular's network [default: 120]")] = None,
    max_cells: Annotated[
        int | None, typer.Option(help="Cells that grnular's network is fitted to [default: 300]")
    ] = None,
    init_penalty: Annotated[
        float | None,
        typer.Option(help="λ of grnular's first fit: 1 as in Algorithm 1, 0 as in Algorithm 2 [default: 1]"),
    ] = None,
    decay: Annotated[
        float | None,
        typer.Option(help="Pull of grnular's cells towards zero; the paper's have none [default: 0]"),
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="GRNULar-base: a new network in every cell")] = False,
    mask_theta: Annotated[
        bool, typer.Option("--mask-theta", help="Of glad-tf: mask the precision matrix in every cell too, as the paper")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same weights", min=0, max=LARGEST_SEED)] = 1,
    workers: Annotated[int, typer.Option(help="Processes that simulate")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT")] = False,
) -> None:
    """Train an amortised guide on simulated cells; use it with `infer --method grnular --set guide.weights=OUT`.

    State is kept in OUT.work: an interrupted training resumes when the same command is given again.
    """
    from ...inference.amortised import FAMILIES, KINDS, Schedule, save_weights, train
    from ...inference.amortised.evidence import CHANNELS
    from ...inference.amortised.network import READS
    from ...inference.amortised.training import LOSSES
    from ..files.whole import refused
    from .terminal import say
    from .train_folder import training_folder

    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    for option, word, known in (("family", family, FAMILIES), ("loss", loss, LOSSES), ("reads", reads, READS)):
        if word not in known:
            raise ValueError(f"unknown --{option} {word!r}: choose one of {', '.join(known)}")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: choose another --out, or pass --overwrite")
    of_grnular: dict[str, float | None] = {"--inner": inner, "--layers": layers, "--epochs": epochs}
    of_grnular |= {"--max-cells": max_cells, "--init-penalty": init_penalty, "--decay": decay}
    given = [option for option, value in of_grnular.items() if value is not None] + (["--base"] if base else [])
    if kind != "grnular" and given:
        raise ValueError(f"{given[0]} does not go with {kind}: it is for grnular")
    if mask_theta and kind != "glad-tf":
        raise ValueError(f"--mask-theta does not go with {kind}: it is for glad-tf, which is told the regulators")
    sizes: dict[str, int | None] = {"--workers": workers, "--batches": batches, "--graphs": graphs, "--steps": steps}
    sizes |= {"--iterations": iterations, "--inner": inner, "--epochs": epochs, "--max-cells": max_cells}
    for option, number in sizes.items():
        if number is not None and number < 1:
            raise ValueError(f"{option} {number}: expected at least 1")
    for option, size in {"--init-penalty": init_penalty, "--decay": decay}.items():
        if size is not None and not 0 <= size < float("inf"):
            raise ValueError(f"{option} {size}: expected a number of at least 0")
    if layers not in (None, 2, 3):
        raise ValueError(f"--layers {layers}: expected 2 or 3")
    options: dict[str, Any] = {"num_iterations": iterations} | ({"masks_theta": True} if mask_theta else {})
    if kind == "grnular":
        named = {"num_inner": inner, "num_layers": layers, "init_penalty": init_penalty, "decay": decay}
        options |= {name: value for name, value in named.items() if value is not None}
        options |= {"init_epochs": epochs or 120, "max_cells": max_cells or 300, "base": base}
    command = "pyrogrn " + " ".join(shlex.quote(a) for a in sys.argv[1:])
    schedule = Schedule(batches=batches, graphs=graphs, steps=steps)
    # a folder of another training, or of another version's simulations, is not continued
    settings = repr((kind, FAMILIES[family], schedule, loss, options, seed, CHANNELS))
    if reads != "both":  # folders from before there was a choice are continued
        settings += f", reads {reads}"
    with training_folder(out, settings) as work:
        network, about = train(
            kind,
            family=family,
            schedule=schedule,
            loss=loss,
            options=options,
            reads=reads,
            seed=seed,
            workers=workers,
            cache=work,
            say=say,
        )
        with refused(out):
            digest = save_weights(network, out, {**about, "command": command})
    size = out.stat().st_size / 1024
    say(f"{out}: {size:.0f} KiB, sha256 {digest}")
