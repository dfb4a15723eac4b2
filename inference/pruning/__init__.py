"""Sparsifiers: objects that a training loop calls to make a layered network sparse."""

from .base import Sparsifier, normalised, prune_lowest
from .cnode import CNODE
from .cross_validation import StrengthChoice, choose_strength, strengths
from .dash import DASH, IMP, BioPruning
from .hard_concrete import HardConcrete
from .magnitude import Magnitude, PostHoc, one_standard_error, prune_post_hoc
from .none import NoPruning
from .pathreg import PathReg
from .schedule import Schedule

SPARSIFIERS = (NoPruning, Magnitude, IMP, BioPruning, DASH, HardConcrete, CNODE, PathReg)

__all__ = [
    "CNODE",
    "DASH",
    "IMP",
    "SPARSIFIERS",
    "BioPruning",
    "HardConcrete",
    "Magnitude",
    "NoPruning",
    "PathReg",
    "PostHoc",
    "Schedule",
    "Sparsifier",
    "StrengthChoice",
    "choose_strength",
    "normalised",
    "one_standard_error",
    "prune_lowest",
    "prune_post_hoc",
    "strengths",
]
