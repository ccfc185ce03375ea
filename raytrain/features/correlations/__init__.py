"""How columns move together: rolling windows, regimes, and what goes with what between blocks."""
