"""Notebooks with their outputs, ``NAME.ipynb``, from their sources ``NAME.py``.

``python -m pyrogrn.experiments.site.executed`` (`make notebooks`) runs those whose code has changed since, or those
named; it needs the extra ``docs``. Cells have the same names in every run, and neither times nor progress bars are
kept, so that a notebook which says the same is the same file.
"""

import argparse
import base64
import os
import re
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2] / "notebooks"
KEPT = ("text/plain", "text/html", "image/png", "text/markdown", "text/latex")
LONGEST = 20_000  # letters of an output that are kept; a table of pandas has less
COLOURS = 64
ECHO = re.compile(r"\[?(<Axes|<matplotlib\.|Text\(|<Figure)")
MOST_SECONDS = 3600  # of a cell


def read_source(source: Path) -> Any:
    """The cells of a source, without outputs."""
    import jupytext

    return jupytext.read(source)


def same_code(source: Path, notebook: Path) -> bool:
    """Whether the notebook is there and has the cells of the source."""
    import nbformat

    if not notebook.exists():
        return False
    cells = [(c.cell_type, c.source) for c in nbformat.read(notebook, as_version=4).cells]
    return cells == [(c.cell_type, c.source) for c in read_source(source).cells]


def executed(source: Path) -> Any:
    """The notebook of a source, run from top to bottom in a folder of its own.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell failed.
    """
    from nbclient import NotebookClient

    made = read_source(source)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            made,
            timeout=MOST_SECONDS,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--matplotlib=inline"],
        )
        client.execute()
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"
        if cell.cell_type == "code":
            shown = [output for output in cell.outputs if output.get("name") != "stderr" and not is_echo(output)]
            cell["outputs"] = [_kept(output) for output in shown]
    made.metadata = {"kernelspec": made.metadata["kernelspec"], "language_info": {"name": "python"}}
    made.nbformat_minor = 5
    return made


def is_echo(output: Any) -> bool:
    """Whether it is no more than what a call of matplotlib returns: axes, labels, lines."""
    data = output.get("data", {})
    return set(data) == {"text/plain"} and ECHO.match(data["text/plain"]) is not None


def _kept(output: Any) -> Any:
    """An output without what no page shows: other pictures of the same figure, metadata, the end of long text."""
    if "data" in output:
        data = {kind: value for kind, value in output["data"].items() if kind in KEPT}
        if "image/png" in data:
            data = {"image/png": smaller(data["image/png"]), "text/plain": data.get("text/plain", "")}
        output["data"] = {kind: v if kind == "image/png" else v[:LONGEST] for kind, v in data.items()}
        output["metadata"] = {}
    elif "text" in output:
        output["text"] = output["text"][:LONGEST]
    return output


def smaller(picture: str) -> str:
    """A picture in `COLOURS` colours, which lines and words on white do not show: a third of the bytes.

    Parameters
    ----------
    picture
        png in base64, as notebooks hold it.
    """
    from PIL import Image

    made = BytesIO()
    with Image.open(BytesIO(base64.b64decode(picture))) as image:
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
        flat.quantize(COLOURS, dither=Image.Dither.NONE).save(made, "png", optimize=True)
    return base64.b64encode(made.getvalue()).decode()


def main() -> None:
    """Entry point."""
    import nbformat

    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.executed", description=__doc__)
    parser.add_argument("names", nargs="*", help="of notebooks, as time_courses; default: those whose code has changed")
    options = parser.parse_args()
    sources = sorted(HERE.glob("*.py"))
    unknown = [name for name in options.names if HERE / f"{name}.py" not in sources]
    if unknown:
        parser.error(f"no notebook {unknown[0]}: choose of {', '.join(s.stem for s in sources)}")
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)  # the kernel is of this package
    for source in sources:
        notebook = source.with_suffix(".ipynb")
        if source.stem in options.names or (not options.names and not same_code(source, notebook)):
            print(f"{notebook.name} ...", flush=True)
            nbformat.write(executed(source), notebook)


if __name__ == "__main__":
    main()
