"""Reads a user's image checkpoint: its network, its labels, and its library's preparation of photographs."""
