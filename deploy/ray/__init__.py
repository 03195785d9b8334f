"""Ray Serve in TorchServe's place: the same archives, URLs, tokens and errors, over one machine or many."""
