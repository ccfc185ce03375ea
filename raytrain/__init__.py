"""Train dozens of forecasting models a day on one machine: scheduled, walk-forward, gated."""

__version__ = "0.1.0"
