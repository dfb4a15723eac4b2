"""What a user has set of a method beyond its defaults, by group, as ``--set GROUP.NAME=VALUE`` has them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ...inference.choice import row_of
from ...models import Model

Group = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """Values by name: of the ``model``, its ``prior`` (of edges, or of loadings), the ``guide``, and of ``fit``
    (``num_draws``, ``threshold``); plain values, which a configuration of a run can hold."""

    model: Group = field(default_factory=dict)
    prior: Group = field(default_factory=dict)
    guide: Group = field(default_factory=dict)
    fit: Group = field(default_factory=dict)

    @classmethod
    def of(cls, groups: Mapping[str, Group] | None) -> "Settings":
        """From groups by name. ``ValueError`` for a group that there is not."""
        groups = groups or {}
        known = [f.name for f in fields(cls)]
        unknown = [name for name in groups if name not in known]
        if unknown:
            raise ValueError(f"settings of {unknown[0]!r}: there are groups {', '.join(known)}")
        return cls(**{name: dict(values) for name, values in groups.items()})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The groups in which something is set: empty where nothing is, so that such runs keep their keys."""
        return {f.name: dict(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name)}


UNSET = Settings()


def own_prior(model: type[Model]) -> Any:
    """The class of the prior that a model has by default."""
    kind = row_of(model).prior
    if kind is None:
        raise ValueError(f"settings of the prior: which prior {model.name} has by default is not known: leave them out")
    return kind
