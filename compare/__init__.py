"""``make compare``: serves the same TorchScript file with this project's server and with other servers, its peers."""
