"""Looks up published advisories for everything that this project installs. Knows the pinned packages and the libraries
inside TorchServe's jar; knows nothing of the running server."""
