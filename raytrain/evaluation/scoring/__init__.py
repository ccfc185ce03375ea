"""What forecasts were worth: skill, errors, what strategies earn, and how sure that is."""
