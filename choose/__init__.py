"""``make choose``: finds the variant and settings of a model to deploy on this machine, with intervals."""
