"""Whether a recipe deserves production: every rule, what it looks at, and the decision."""
