"""What orthogonality gives FactorBox: the alternation with its penalty, dose by dose."""

import time
from pathlib import Path

from ...inference.alternating.penalties import Penalties
from ...models.simulators.panel import simulate_panel
from .factorbox_measured import NOISES, alternated
from .results import Results, mean_se

SEEDS = (0, 1, 2)
DOSES = (0.0, 0.01, 0.1, 1.0, 10.0)
SPARSITY = (0.0, 1.0)
PANELS = ("noise of the cells 0.1", "of measurement 0.05")


def run(folder: Path, results: Results) -> None:
    """Average precision by dose, without sparsity and with it; the data are simulated, ``folder`` is not read."""
    results.resume()
    for name in PANELS:
        for sparsity in SPARSITY:
            for dose in DOSES:
                method = f"sparsity {sparsity:g}, orthogonality {dose:g}"
                for seed in SEEDS:
                    if results.value(name, method, seed, "seconds") is None:
                        started = time.process_time()
                        simulation = simulate_panel(seed=seed, **NOISES[name])
                        found = alternated(simulation, Penalties(sparsity=sparsity, orthogonality=dose))
                        for score in ("average_precision", "auroc"):
                            results.add(name, method, seed, score, found[score])
                        results.add(name, method, seed, "seconds", time.process_time() - started)
                label = f"{SEEDS[0]}-{SEEDS[-1]}"
                if results.value(name, method, label, "average_precision") is None:
                    values = [results.value(name, method, seed, "average_precision") for seed in SEEDS]
                    results.add(
                        name, method, label, "average_precision", *mean_se([v for v in values if v is not None])
                    )
