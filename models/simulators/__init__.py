"""Generative models used to make data with known truth."""

from .factors import FactorSimulation, simulate_muvi, simulate_ppca
from .grn import RandomGRN
from .langevin import ChemicalLangevin, Kinetics
from .linear import LinearSimulation, simulate_linear
from .networks import random_network
from .ode import CourseSimulation, simulate_courses
from .panel import PanelSimulation, simulate_panel
from .sergio import Sergio, SergioSimulation, TechnicalNoise, simulate_sergio
from .sergio_files import SergioInputs, read_sergio, write_sergio

__all__ = [
    "ChemicalLangevin",
    "CourseSimulation",
    "FactorSimulation",
    "Kinetics",
    "LinearSimulation",
    "PanelSimulation",
    "RandomGRN",
    "Sergio",
    "SergioInputs",
    "SergioSimulation",
    "TechnicalNoise",
    "random_network",
    "read_sergio",
    "simulate_courses",
    "simulate_linear",
    "simulate_muvi",
    "simulate_panel",
    "simulate_ppca",
    "simulate_sergio",
    "write_sergio",
]
