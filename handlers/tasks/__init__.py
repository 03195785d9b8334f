"""The entry files: one module per task, each with the one class that TorchServe's worker looks for."""
