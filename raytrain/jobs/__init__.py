"""What `python -m raytrain.jobs.NAME` runs: read the config, call the pipeline, print. No logic."""
