"""One fit: what it is, what it sees, running it in this process, and keeping its result. No Ray here."""
