"""``pyrogrn demo``: the main jobs end to end, on data that it makes."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import say

# of each part: the commands, in DEMO; the page that opens at the end is that of the last `infer`
PARTS: dict[str, tuple[str, ...]] = {
    "network": (
        "simulate linear --genes 60 --tfs 8 --cells 600 --perturbed 2 --seed 1 --out DEMO/data",
        "infer DEMO/data/expression.h5ad --tfs DEMO/data/tfs.csv --prior motif=DEMO/data/prior.csv "
        "--perturbation-key perturbation --truth DEMO/data/network.csv --seed 1 --out DEMO/run",
        "score DEMO/run/edges.csv DEMO/data/network.csv",
        "show DEMO/run G0004",
        "predict DEMO/run --knockout G0004 --out DEMO/run/knockout_G0004.csv",
        "convert DEMO/run DEMO/network.graphml --to graphml --fdr 0.1",
    ),
    "programs": (
        "simulate muvi --genes 200 --cells 500 --sets 5 --set-size 30 --covariates 1 --correlation 0.5 --seed 1 "
        "--out DEMO/cells",
        "infer DEMO/cells/expression.h5ad --method muvi --gene-sets sets=DEMO/cells/gene_sets.gmt --factors 1 "
        "--covariates covariate_1 --seed 1 --out DEMO/programs",
    ),
    "amortised": (
        "simulate sergio --hubs 1 --copying 0.5 --dropout 60 --seed 2 --out DEMO/sergio",
        "infer DEMO/sergio/expression.h5ad --method grnular --tfs DEMO/sergio/tfs.csv "
        "--truth DEMO/sergio/network.csv --seed 1 --out DEMO/grnular",
    ),
    "panel": (
        "simulate panel --genes 40 --seed 1 --out DEMO/panel",
        "infer DEMO/panel/expression.h5ad --method factorbox --perturbation-key perturbation --steps 1000 "
        "--truth DEMO/panel/network.csv --seed 1 --out DEMO/factorbox",
        "predict DEMO/factorbox --knockdown G0001 --out DEMO/factorbox_G0001.csv",
        "flux DEMO/factorbox --out DEMO/factorbox_flux.csv",
    ),
}


def demo_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder to make")] = Path("demo"),
    part: Annotated[list[str] | None, typer.Option(help=f"{', '.join(PARTS)}; repeatable [default: network]")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every part: some minutes")] = False,
) -> None:
    """The main jobs end to end on data that it makes, each command printed before it runs: a network of 60 genes, its
    score against the truth, a knock-out, a file for Cytoscape; with --all programs, an amortised guide and a panel too.

    \b
    Examples:
      pyrogrn demo
      pyrogrn demo --part programs --out programs_demo
    """
    if everything and part:
        raise ValueError("--all and --part: choose one")
    chosen = list(PARTS) if everything else part or ["network"]
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        raise ValueError(f"--part {unknown[0]}: choose of {', '.join(PARTS)}")
    if out.exists():
        raise ValueError(f"--out {out}: is there already, choose another folder")
    reports = []
    for name in dict.fromkeys(chosen):
        for line in PARTS[name]:
            words = [word.replace("DEMO", str(out), 1) for word in line.split()]
            say(f"\n$ pyrogrn {shlex.join(words)}")
            run(context.find_root().command, words)
            if words[0] == "infer":
                reports.append(str(Path(words[words.index("--out") + 1]) / "report.html"))
    say(f"\nOpen {', '.join(reports)} in a browser; yours begins with `pyrogrn plan FILE`")


def run(program: Any, words: list[str]) -> None:
    """One command, as from a shell.

    Raises
    ------
    typer.Exit
        It ended with another code than 0.
    """
    code = program(words, standalone_mode=False)
    if isinstance(code, int) and code:
        raise typer.Exit(code)
