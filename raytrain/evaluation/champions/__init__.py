"""Which recipes are in production, and the journal of what was promoted and rolled back."""
