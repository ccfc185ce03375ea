"""Where data comes from and what a table must be before anything is computed from it."""

from raytrain.data.config import DataConfig
from raytrain.data.frame import Frame
from raytrain.data.sources import load

__all__ = ["DataConfig", "Frame", "load"]
