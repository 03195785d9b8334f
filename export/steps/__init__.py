"""Steps: functions that each change a draft. A variant is a list of names of steps.

A draft starts as the eager fp32 model with its checkpoint files. After the last step it is written to the archive's
stage.
"""

from export.steps import compilers, engines, explain, fp8, graph, int8, torchscript  # noqa: F401 - each registers its steps
from export.steps.draft import EAGER_FILES, STEPS, Draft, StepError, apply, step

__all__ = ["EAGER_FILES", "STEPS", "Draft", "StepError", "apply", "step"]
