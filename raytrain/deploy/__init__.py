"""From a fit to something that forecasts elsewhere: a bundle, what it takes and gives, and where it runs."""
