"""Runs in MLflow: written by the driver, once a run is over; a tracker that is down never stops a run."""
