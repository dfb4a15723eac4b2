"""Values of options: text where numbers are expected, hex, negative, huge and empty ones, paths that are none."""

from functools import cache
from typing import Any

import numpy as np
import typer
from pyrogrn.experiments.cli import app
from pyrogrn.experiments.fitting import METHODS

VALUES = (
    *(
        "0x10",
        "-1",
        "0",
        "1",
        "2",
        "1.5",
        "-0.5",
        "1e-9",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "",
        " ",
        "x",
        "=",
        "a=b",
        "a=",
        "=b",
    ),
    *(
        "a=b=c",
        "SPI1",
        "SPI1=1",
        "SPI1=x",
        "SPI1,SPI1",
        "SPI1,",
        ",",
        "1,2",
        "2,1",
        "0,0",
        ".",
        "..",
        "no/such/file",
        "x" * 300,
    ),
    *(
        "/dev/null/x",
        "x.csv",
        "x.csv?",
        "x.csv?a",
        "m=x.csv?format=edges",
        "m=no.csv",
        "l=x.csv",
        "true",
        "日本",
        "a\nb",
        "-",
        "--",
        "*",
    ),
    *(
        "\x1b[31m",
        "None",
        "none",
        "rows",
        "columns",
        "zscore",
        "log1p-cpm",
        "pert",
        "context",
        "time",
        "age",
        "cell",
        "raw",
        "log",
    ),
    *(
        "prior.tau=x",
        "prior.tau=0",
        "model.x=1",
        "guide.num_chains=0",
        "guide.num_chains=x",
        "fit.num_draws=0",
        "fit.threshold=x",
    ),
    *(
        "model.step=0",
        "prior.spike_ratio=-1",
        "prior.inclusion=nan",
        "guide.learning_rate=x",
        "guide.weights=no",
        "fit.num_draws=1.5",
    ),
)
HUGE = ("100000", "99999999999", "99999999999999999999999", "-99999999999", "1e300")
GUIDE_NAMES = ["gibbs", "nuts", "blocked", "low-rank", "map", "bagging", "block-descent", "pruned"]
# what a huge number of takes long, as it should; what starts processes or reaches out
OF_LONG = (
    "--steps --restarts --batches --graphs --epochs --iterations --inner --layers --max-cells --workers --jobs "
    "--starts --draws --propagate --chains --seeds --factors --networks --contexts --replicates --sets --cells "
    "--genes --trajectories --types --tfs --covariates --set-size --groups --unlabelled --hidden --perturbed "
    "--in-degree --times --decay --dropout --hill --library --repressive --gene-noise --knocked-down --false "
    "--strategy --method --trust"
)
LONG = frozenset(OF_LONG.split())
NEVER = frozenset(["--help", "--backend", "--scheduler", "--jobs", "--workers", "--device"])


@cache
def options_of(words: tuple[str, ...]) -> tuple[Any, ...]:
    """Options of the command that the first words name."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break
        command = command.commands[word]
    return tuple(p for p in command.params if p.param_type_name == "option" and p.opts[0] not in NEVER)


def change_options(rng: np.random.Generator, words: list[str]) -> tuple[list[str], str]:
    """One option of the command has another value, is added, is there twice or is missing."""
    known = options_of(tuple(words[:2]))
    chosen = known[int(rng.integers(len(known)))]
    name = chosen.opts[0]
    values = [*VALUES, *(() if name in LONG else HUGE), *(METHODS if name == "--method" else ())]
    values += GUIDE_NAMES * (name == "--guide")
    value = values[int(rng.integers(len(values)))]
    if getattr(chosen, "is_flag", False):
        return [*words, name], f"{name}"
    if name in words and rng.random() < 0.9:
        at = words.index(name)
        if rng.random() < 0.1:
            return words[:at] + words[at + 2 :], f"without {name}"
        return [*words[: at + 1], value, *words[at + 2 :]], f"{name} {value[:20]!r}"
    return [*words, name, value], f"{name} {value[:20]!r}"
