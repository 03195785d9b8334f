"""Hides the libraries' notices, which would break progress lines. Errors still show."""

from __future__ import annotations


def quieten() -> None:
    """Silences deprecations and progress bars of torch.jit and transformers in this process."""
    import logging
    import warnings

    import transformers

    for module in (
        "torch.jit",
        "torch.onnx",
        "torch.export",
        "transformers",
    ):  # deprecations and tracer notes on libraries' code
        warnings.filterwarnings("ignore", module=module)
    warnings.filterwarnings("ignore", message=".*torch.jit.*")
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")  # notes that TF32 is off, which is intended
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # "no CUDA runtime", on a CPU
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
