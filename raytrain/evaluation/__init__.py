"""What the forecasts were worth, how sure that is, and whether it is enough for production."""
