"""Ray, and nothing but Ray: start or connect, the pools and the slot, and the driver that carries out what the
scheduler says."""
