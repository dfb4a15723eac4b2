"""The gallery of `pyrogrn.pl`: small fits, and of each picture the line that draws it."""

from pathlib import Path
from typing import Any

FITS = """import anndata
import numpy as np
import pandas as pd
import pyrogrn
from pyrogrn import pl
from pyrogrn.experiments.ablation import Effort, standard_changes
from pyrogrn.models.simulators import simulate_courses

made = pyrogrn.simulate_linear(num_genes=30, num_tfs=6, num_cells=300, seed=1)
truth = made.network[["source", "target"]]
posterior = pyrogrn.fit(pyrogrn.LinearNetwork.from_data(made.data), num_steps=100, restarts=2)
cells = pyrogrn.simulate_muvi(num_genes=40, num_cells=120, num_sets=2, set_size=12, seed=0).data
programs = pyrogrn.fit(pyrogrn.MuVI(cells, num_factors=3), num_steps=60, restarts=1, num_draws=60)
scored = anndata.AnnData(cells.X.numpy(), var=pd.DataFrame(index=list(cells.genes)))
programs.annotate(scored, cells)
scored.obsm["X_umap"] = scored.obsm["X_muvi"][:, :2]  # or scanpy's
first = made.data.X[:, 0].numpy()
types = np.where(first > np.median(first), "T", "B")
activity = pyrogrn.activities(posterior, made.data, posterior.edges(top=60), groups=types)
panel = pyrogrn.simulate_panel(num_genes=12, seed=0).data
box = pyrogrn.fit(pyrogrn.FactorBox.from_data(panel), num_steps=60, restarts=2)
"""

PICTURES = {
    "edges": ("The surest edges with their intervals.", "pl.edges(posterior, count=15)"),
    "network": ("The same edges as a network: arrows activate, bars repress.", "pl.network(posterior, fdr=0.1)"),
    "probabilities": ("How sure the fit is of all edges, and where lists end.", "pl.probabilities(posterior)"),
    "regulators": ("How many genes each regulator has.", "pl.regulators(posterior)"),
    "reliability": ("Stated against true, where a truth is known.", "pl.reliability(posterior, truth)"),
    "trust": ("What each prior network was worth to the fit.", "pl.trust(informed)"),
    "knockout": ("What a knock-out does.", 'pl.knockout(posterior, "G0000", count=12)'),
    "activities": ("Activities of regulators by group of cells.", "pl.activities(activity)"),
    "programs": ("The genes of each program.", "pl.programs(programs, count=8)"),
    "variance": ("What each program explains.", "pl.variance(programs)"),
    "umap_program": ("A program on an embedding.", "pl.umap_program(scored, programs.coords['factor'][0])"),
    "flux": ("Who drives the variation of whom, in a panel.", "pl.flux(box, num_draws=10)"),
    "course": ("A predicted course with its band.", "pl.course(course, course.genes[:4])"),
    "ablation": ("What each source of knowledge is worth.", "pl.ablation(worth)"),
}
BEFORE = {
    "trust": """motif = pyrogrn.PriorNetwork.from_edges(truth.head(30), name="motif")
informed = pyrogrn.fit(
    pyrogrn.LinearNetwork.from_data(made.data, networks={"motif": motif}), num_steps=60, restarts=2
)""",
    "course": """times = simulate_courses(num_genes=6, num_trajectories=8, seed=0).data
pruned = pyrogrn.inference.Pruned(epochs=20, svi_steps=40)
moving = pyrogrn.fit(pyrogrn.Phoenix.from_data(times), restarts=1, guide=pruned)
course = moving.course([0.0, 1.0, 2.0, 4.0])""",
    "ablation": """worth = pyrogrn.ablate(
    made.data,
    {"motif": motif},
    truth=truth,
    changes=standard_changes(["motif"], corrupt=[0.5, 1.0]),
    seeds=(0,),
    effort=Effort(2, 20, 20),
    backend="serial",
    progress=False,
)""",
}


def gallery_page() -> str:
    """Markdown."""
    head = (
        "# Gallery\n\nEach function takes a posterior, or its table, draws into `ax=` or a figure of its own, and "
        "returns the axes.\n"
    )
    parts = [head, f"```python\n{FITS.strip()}\n```\n"]
    for name, (said, line) in PICTURES.items():
        code = "\n".join([*filter(None, [BEFORE.get(name)]), line])
        parts.append(f"## {name}\n\n{said}\n\n```python\n{code}\n```\n\n![{said}](pictures/{name}.svg)\n")
    return "\n".join(parts)


def draw_gallery(folder: Path) -> None:
    """Run the code of the page, and write ``pictures/NAME.svg``."""
    import matplotlib

    names: dict[str, Any] = {}
    exec(compile(FITS, "gallery", "exec"), names)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "pyrogrn"}):
        for name, (_, line) in PICTURES.items():
            exec(compile(BEFORE.get(name, ""), name, "exec"), names)
            axes = eval(line, names)
            axes.figure.savefig(folder / "pictures" / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
