"""What this machine is: its profile, thread caps, heat and memory, and how to keep it awake."""
