"""Pages of the reference: every public name, by what it belongs to; Sphinx fills them from the docstrings."""

import inspect
from importlib import import_module
from typing import Any

PACKAGE = __name__.partition(".experiments")[0]

# module of a public name -> where it is listed; the longest that fits counts
TITLES = {
    "models": "Data and models",
    "models.simulators": "Simulators",
    "priors": "Prior knowledge",
    "inference": "Fitting and posteriors",
    "experiments": "Files, scores, reports",
}
SHORT = {"tl": "pyrogrn.tl: AnnData in, AnnData out", "pl": "pyrogrn.pl: pictures"}
MORE = {
    "models.simulators": "Simulators",
    "inference": "Fitting and posteriors",
    "inference.recalibration": "Fitting and posteriors",
    "inference.amortised": "Guides that learn on simulations",
    "inference.pruning": "Pruning of neural differential equations",
    "experiments.baselines": "Baselines",
}  # packages all of whose `__all__` is public beside the names of `pyrogrn` itself


def public_names() -> dict[str, dict[str, Any]]:
    """Objects by their full name, by the title under which they are listed; constants are left out."""
    top = import_module(PACKAGE)
    listed: dict[str, dict[str, Any]] = {}
    for name in top.__all__:
        thing = getattr(top, name)
        if name in SHORT:
            listed[SHORT[name]] = {f"pyrogrn.{name}.{part}": getattr(thing, part) for part in thing.__all__}
        elif _documented(thing):
            listed.setdefault(_title(top._PUBLIC[name]), {})[f"pyrogrn.{name}"] = thing
    for module, title in MORE.items():
        package = import_module(f"{PACKAGE}.{module}")
        known = {id(thing) for things in listed.values() for thing in things.values()}
        for name in package.__all__:
            thing = getattr(package, name)
            if _documented(thing) and id(thing) not in known:
                listed.setdefault(title, {})[f"pyrogrn.{module}.{name}"] = thing
    return listed


def reference_pages() -> dict[str, str]:
    """reStructuredText by its path on the site: an index, and a page a name."""
    pages, index = {}, [_heading("Reference", "="), "From the docstrings of the public names.\n"]
    for title, things in public_names().items():
        rows = [f"   * - :doc:`{name} <{name}>`\n     - {first_line(thing)}" for name, thing in things.items()]
        index += [_heading(title, "-"), ".. list-table::\n   :widths: 35 65\n", *rows, ""]
        index += [".. toctree::\n   :hidden:\n", *(f"   {name}" for name in things), ""]
        for name, thing in things.items():
            kind = "class" if inspect.isclass(thing) else "function"
            members = "\n   :members:\n   :member-order: bysource" if kind == "class" else ""
            pages[f"reference/{name}.rst"] = _heading(name, "=") + f"\n.. auto{kind}:: {name}{members}\n"
    return {"reference/index.rst": "\n".join(index), **pages}


def first_line(thing: Any) -> str:
    """The first sentence of a docstring, in one line."""
    text = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return text.partition(": ")[0].partition(". ")[0].rstrip(".:") + "." if text else ""


def _documented(thing: Any) -> bool:
    return inspect.isclass(thing) or inspect.isfunction(thing)


def _title(module: str) -> str:
    fits = [name for name in TITLES if module == name or module.startswith(f"{name}.")]
    return TITLES[max(fits, key=len)]


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"
