"""``make choose``: which variant of a model to deploy on this machine, with which settings, and how certain that is."""
