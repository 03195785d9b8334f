"""A user's image checkpoint: what network it is, its labels, and how its library prepares photographs for it."""
