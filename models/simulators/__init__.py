"""Generative models used to make data with known truth."""

from ..data.out_of_fold import OutOfFold
from .cytokines import simulate_cytokines
from .factor_cells import FactorSimulation
from .factors import simulate_muvi, simulate_ppca
from .grn import RandomGRN
from .langevin import ChemicalLangevin, Kinetics
from .linear import LinearSimulation, simulate_linear
from .matched import matched_world, seen_through
from .networks import random_network
from .ode import CourseSimulation, simulate_courses
from .own_world import own_world
from .panel import PanelSimulation, simulate_panel
from .semi_synthetic import World, WorldKind, donors_of, semi_synthetic, with_plain_genes
from .semi_synthetic_prior import prior_like
from .sergio import Sergio, SergioSimulation, TechnicalNoise, simulate_sergio
from .sergio_files import SergioInputs, read_sergio, write_sergio

__all__ = [
    "ChemicalLangevin",
    "CourseSimulation",
    "FactorSimulation",
    "Kinetics",
    "LinearSimulation",
    "OutOfFold",
    "PanelSimulation",
    "RandomGRN",
    "Sergio",
    "SergioInputs",
    "SergioSimulation",
    "TechnicalNoise",
    "World",
    "WorldKind",
    "donors_of",
    "matched_world",
    "own_world",
    "prior_like",
    "random_network",
    "read_sergio",
    "seen_through",
    "semi_synthetic",
    "simulate_courses",
    "simulate_cytokines",
    "simulate_linear",
    "simulate_muvi",
    "simulate_panel",
    "simulate_ppca",
    "simulate_sergio",
    "with_plain_genes",
    "write_sergio",
]
