"""``make compare``: the same TorchScript file behind this project's server and behind what people would use instead."""
