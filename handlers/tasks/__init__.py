"""The entry files: one module per task. Each has exactly one class, as TorchServe's worker requires."""
