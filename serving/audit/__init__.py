"""What this project installs, against a database of published advisories. Knows the pinned packages and the libraries
inside TorchServe's jar; knows nothing of the server that runs."""
