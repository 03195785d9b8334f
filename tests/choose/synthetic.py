"""A hand-made decision: the form of decision.json, with invented figures."""

from __future__ import annotations

from typing import Any

from tests.loadtest.synthetic import ENVIRONMENT

PARITY = {
    "eager": {"max_abs": 1.1e-7, "cosine": 1.0, "neighbours": 1.0, "passed": True, "failures": []},
    "torchscript": {"max_abs": 1.1e-7, "cosine": 1.0, "neighbours": 1.0, "passed": True, "failures": []},
    "onnx": {"max_abs": 3.1e-6, "cosine": 1.0, "neighbours": 1.0, "passed": True, "failures": []},
    "openvino": {"max_abs": 4.0e-6, "cosine": 1.0, "neighbours": 1.0, "passed": True, "failures": []},
    "int8": {"max_abs": 3.2e-2, "cosine": 0.992687, "neighbours": 1.0, "passed": True, "failures": []},
}

# variant, workers, threads, batch, users, requests/s, p50, p99, MiB, state
TRIALS = (
    ("torchscript", 1, 0, 8, 4, 115.3, 33.8, 48.9, 640.0, "complete"),
    ("onnx", 1, 2, 8, 8, 187.4, 41.2, 49.1, 512.0, "complete"),
    ("int8", 1, 2, 8, 8, 214.0, 36.1, 47.7, 498.0, "complete"),
    ("eager", 1, 2, 8, 4, 92.4, 42.1, 49.8, 655.0, "complete"),
    ("int8", 2, 1, 16, 8, 241.2, 31.9, 46.2, 791.0, "complete"),
    ("int8", 2, 1, 1, 4, 201.3, 19.4, 28.8, 784.0, "complete"),
    ("openvino", 1, 1, 4, 4, 161.0, 24.1, 33.0, 470.0, "complete"),
    ("eager", 1, 1, 1, 1, 38.2, 25.8, 41.0, 610.0, "pruned"),
    ("torchscript", 2, 2, 32, 2, 61.0, 32.1, 88.4, 1190.0, "pruned"),
    ("int8", 2, 2, 4, 4, 188.0, 20.8, 36.2, 802.0, "complete"),
    ("openvino", 2, 1, 1, 1, 118.6, 8.2, 11.9, 700.0, "complete"),
    ("int8", 1, 1, 1, 1, 131.0, 7.4, 10.1, 455.0, "complete"),
    ("onnx", 2, 2, 32, None, None, None, None, None, "failed"),
    ("eager", 2, 1, 8, 2, 74.0, 27.0, None, 1204.0, "pruned"),
)
REASONS = {
    "pruned": "half as fast as the median of its rivals with as many users",
    "failed": "The server did not start: a worker of `toy-onnx` ended with <exit code> 137.",
}
FRONT = [4, 5, 10, 11]


def settings(workers: int, threads: int, batch: int) -> dict[str, int]:
    return {"workers": workers, "threads": threads, "batch_size": batch, "queue": 100}


def trial(number: int, made: tuple[Any, ...]) -> dict[str, Any]:
    variant, workers, threads, batch, users, rps, p50, p99, memory, state = made
    point = {"mode": "closed", "load": users, "requests_per_s": rps, "p50_ms": p50, "p99_ms": p99, "error_rate": 0.0,
             "answers_wrong": 0, "stable": True}  # fmt: skip
    return {
        "number": number, "state": state, "archive": f"toy-{variant}", "variant": variant,
        "settings": settings(workers, threads, batch), "reason": REASONS.get(state, ""), "seconds": 31.2, "score": rps,
        "meets": state == "complete", "points": [point] if users else [], "load": users, "requests_per_s": rps,
        "p50_ms": p50, "p99_ms": p99, "memory_mib": memory, "gpu_memory_mib": None,
    }  # fmt: skip


def finalist(number: int, ratio: tuple[float, float, float] | None, **more: Any) -> dict[str, Any]:
    """A finalist with the figures of a trial."""
    seen = trial(number, TRIALS[number])
    kept = ("archive", "variant", "settings", "load", "requests_per_s", "p50_ms", "p99_ms", "memory_mib", "meets")
    around = {name: [round(seen[key] * 0.98, 1), round(seen[key] * 1.02, 1)]
              for name, key in (("requests_per_s_ci", "requests_per_s"), ("p50_ci_ms", "p50_ms"),
                                ("p99_ci_ms", "p99_ms"))}  # fmt: skip
    return {
        **{key: seen[key] for key in kept}, **around, "mode": "closed", "gpu_memory_mib": None,
        "parity": PARITY[seen["variant"]], "accuracy": None, "exact": seen["variant"] != "int8",
        "random_weights": False, "cost_per_million": round(0.4 / 3600 / seen["requests_per_s"] * 1e6, 3),
        "joules_per_1000": None, "is_default": number == 0, "stable": True,
        "ratio_to_default": dict(zip(("ratio", "low", "high"), ratio, strict=True)) if ratio else None, **more,
    }  # fmt: skip


def decision(**changes: Any) -> dict[str, Any]:
    """int8 wins over the default TorchScript; ``changes`` go over the top level."""
    default, onnx = finalist(0, None), finalist(1, (1.62, 1.58, 1.67))
    winner, second = finalist(4, (2.09, 2.04, 2.15)), finalist(2, (1.86, 1.81, 1.9))
    machine = {key: value for key, value in ENVIRONMENT.items() if key not in ("command", "pinning", "shared_cores")}
    made = {
        "schema": 1, "command": "make choose MODEL=toy SLO_P99_MS=50 HOURLY_COST=0.4",
        "date": "2026-01-02T03:04:05+00:00", "model": "toy", "task": "embedding",
        "objective": {"name": "throughput", "slo_p99_ms": 50.0, "rate": None, "min_accuracy": None, "min_cosine": None,
                      "budget_s": 1200, "hourly_cost": 0.4},
        "environment": machine, "machine": {"cpu": "A CPU", "cores": 2, "gpus": []},
        "space": {"variant": list(PARITY), "workers": [1, 2], "threads": [1, 2], "batch_size": [1, 4, 8, 16, 32],
                  "queue": [100]},
        "archives": {f"toy-{variant}": {"parity": parity, "accuracy": None, "exact": variant != "int8",
                                        "random_weights": False} for variant, parity in PARITY.items()},
        "left_out": [{"variant": "fp16", "reason": "runs on a GPU"},
                     {"variant": "compile", "reason": "no C++ compiler on this machine"}],
        "trials": [trial(number, each) for number, each in enumerate(TRIALS)],
        "finalists": [winner, second, onnx, default], "winner": winner, "default": default,
        "alternatives": [onnx, default], "exact": onnx, "default_stays": False,
        "why": "2.09 times the default's throughput, by more than the interval",
        "open_loop": {"archive": "toy-int8", "requests_per_s": 180.0, "slo_p99_ms": 50.0},
        "importance": {"variant": 0.71, "workers": 0.2, "threads": 0.05, "batch_size": 0.04, "queue": 0.0},
        "pareto": FRONT,
    }  # fmt: skip
    return {**made, **changes}
