"""What is said of the scale of the data before a method is run on them, with what to type or to pass."""

from ...inference import Amortised
from ...inference.amortised import KINDS
from ...models import MODELS, ExpressionData, LinearNetwork
from ...models.data.scale import LOGARITHMS, scale_before, scale_findings

REMEDIES = {
    "log": "pass --normalize log1p-cpm, or a --layer of logarithms",
    "unlogged": "give counts or un-logged levels (another --layer, and no --normalize)",
    "raw": "give the counts as they were measured (another --layer)",
    "ratios": "give logarithms of the ratio to the undisturbed state",
}
IN_PYTHON = {
    "log": "pass normalize='log1p-cpm', or a layer of logarithms",
    "unlogged": "give counts or un-logged levels (another layer, and no normalize)",
    "raw": "give the counts as they were measured (another layer)",
    "ratios": REMEDIES["ratios"],
}


def expects_of(method: str) -> str:
    """`Model.expects` of a method of the command line, or that of its engine."""
    if method in KINDS:
        return Amortised.expects
    return next((model.expects for model in MODELS if model.name == method), LinearNetwork.expects)


def scale_notes(
    data: ExpressionData, expects: str, *, method: str, normalize: str = "none", in_python: bool = False
) -> list[str]:
    """One line for each thing that is wrong with the scale of the data.

    Parameters
    ----------
    data, expects
        As of `scale_findings`.
    method
        By which the reader knows it.
    normalize
        What the data were normalised by.
    in_python
        Name arguments of functions instead of options of the command line. Default False.

    Raises
    ------
    ValueError
        The method must not be given data of this scale.
    """
    notes = []
    if normalize == "log1p-cpm" and data.transform is not None:
        before = scale_before(data)
        if before.kind in LOGARITHMS:
            given = "normalize='log1p-cpm'" if in_python else "--normalize log1p-cpm"
            notes.append(f"before {given} the data look like {before} already: leave it out")
    for where, found in scale_findings(data, expects):
        text = f"{where + ': ' if where else ''}the data look like {found.found}: {found.cost}"
        remedy = (IN_PYTHON if in_python else REMEDIES)[found.remedy]
        if found.fatal:
            raise ValueError(f"{text}. For {'' if in_python else '--'}method {method} {remedy}")
        notes.append(f"{text}; {remedy}")
    return notes
