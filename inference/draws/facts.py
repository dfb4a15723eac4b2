"""What a fit says of itself at a glance."""

from ...models import Model
from .fitted import PosteriorLike
from .layout import has_edges


def facts_of_fit(posterior: PosteriorLike[Model]) -> dict[str, str]:
    """Model, size, engine, draws, how the fit ended, and whether its engine claims calibration."""
    model, coords = posterior.model, posterior.coords
    facts = {"model": type(model).__name__, "prior": type(model.edge_prior).__name__}
    rows, columns = (len(coords[axis]) for axis in model.axes)
    names = ("regulators", "targets") if has_edges(model) else ("programs", "genes")
    facts |= {names[0]: f"{rows:,}", names[1]: f"{columns:,}"}
    if len(coords.get("context", ())) > 1:
        facts["contexts"] = f"{len(coords['context'])}"
    if model.given_sources:
        facts["knowledge"] = ", ".join(model.given_sources)
    chains, draws = posterior.draws["W"].shape[:2] if "W" in posterior.draws else (0, 0)
    facts["engine"] = f"{posterior.guide}, {chains} x {draws:,} draws, seed {posterior.seed}"
    facts["fit"] = {"budget": "ran all its steps"}.get(posterior.history.reason, posterior.history.reason)
    facts["probabilities"] = "calibrated on data from the model" if posterior.calibrated else "not calibrated"
    return facts
