"""How forecasts fare after the run: their losses once outcomes are known, and drift."""
