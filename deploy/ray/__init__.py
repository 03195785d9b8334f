"""Ray Serve as a replacement for TorchServe: the same archives, URLs, tokens and errors, on one machine or many."""
