"""Walk-forward by date: folds anchored to the calendar, the purge derived from the target's horizon."""

from raytrain.folds.walk_forward import Fold, FoldsConfig, latest, test_rows, train_rows, walk_forward

__all__ = ["Fold", "FoldsConfig", "latest", "test_rows", "train_rows", "walk_forward"]
