"""The ladder: how far the probabilities of a method can be trusted on one's own cells, on targets made on them."""

from .path import UserPath
from .result import Calibration
from .run import calibrate

__all__ = ["Calibration", "UserPath", "calibrate"]
