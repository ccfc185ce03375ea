"""The run as a page a person reads: tables, plots, timeline."""
