"""The answer in sentences, one per line: the configuration to deploy, its speed, the correctness of its answers, its
cost.

A pure function of decision.json (docs/choosing.md). Knows the wording; loadtest.report.numbers formats the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from choose.ranking import close
from loadtest.report.numbers import amount, at_least, percent

Finalist = dict[str, Any]
UNITS = {"throughput": "/s", "latency": " ms", "memory": " MiB"}
RANDOM = "The weights are random: the speeds hold, but parity and accuracy say nothing about a trained model."
UNSTABLE = "The figures differ by more than 10 % between windows or rounds: choose again while nothing else runs here."


def sentences(decision: dict[str, Any]) -> str:
    """The whole answer; the first line is the decision."""
    parts: tuple[Callable[[dict[str, Any]], str], ...] = (
        _answer, _why, _close, _exact, _open_loop, _cost, _energy, _doubts,
    )  # fmt: skip
    return "\n".join(said for part in parts if (said := part(decision)))


def figure(objective: dict[str, Any], finalist: Finalist) -> float | None:
    """The optimised figure: requests/s; the median in ms, or with a rate the p99; MiB, of the GPU if one is used."""
    found: float | None = finalist["p99_ms" if objective["rate"] else "p50_ms"]
    if objective["name"] == "throughput":
        found = finalist["requests_per_s"]
    if objective["name"] == "memory":
        found = finalist["gpu_memory_mib"] or finalist["memory_mib"]
    return found


def configuration(finalist: Finalist) -> str:
    """``minilm-int8`` with 2 workers of 1 thread and batches of 16."""
    return f"`{finalist['archive']}` with {settings(finalist['settings'])}"


def settings(found: dict[str, Any]) -> str:
    """Workers, threads and batches in words, then the other settings that were searched."""
    workers, threads = found["workers"], found["threads"]
    of = f"{threads} thread{'s' * (threads != 1)}" if threads else "a thread for each core"
    batches = f" and batches of {found['batch_size']}" if found["batch_size"] > 1 else ", without batches"
    text = f"{workers} worker{'s' * (workers != 1)} of {of}{batches}"
    known = ("workers", "threads", "batch_size", "queue")
    return ", ".join([text, *(f"{name} {value}" for name, value in found.items() if name not in known)])


def right(finalist: Finalist) -> str:
    """The parity of a finalist's answers with eager fp32, and their accuracy."""
    parity = finalist["parity"] or {}
    parts = [_nearness(finalist, parity)]
    for key, what in (("neighbours", "nearest neighbours"), ("top1", "best class")):
        share = parity.get(key)
        if share is not None and not finalist["exact"]:
            parts.append(f"{what} equal" + (f" in {percent(share)} of cases" if share < 1 else ""))
    if handler := finalist.get("handler"):
        parts[0] += f" before `{handler}`"
        parts += _served(finalist)
    if finalist["accuracy"] is not None:
        reference = parity.get("reference_accuracy")
        beside = f" (eager fp32: {percent(reference)})" if reference is not None else ""
        parts.append(f"accuracy {percent(finalist['accuracy'])}{beside}")
    return ", ".join(parts)


def _served(finalist: Finalist) -> list[str]:
    """The share of the answers that equal the default's through the user's own handler, which parity does not cover."""
    share = finalist.get("answers_as_default")
    if finalist["is_default"] or share is None:
        return []
    return [f"through it {percent(share)} of the load test's requests are answered as by the default"]


def _nearness(finalist: Finalist, parity: dict[str, Any]) -> str:
    if finalist["exact"]:
        difference = parity.get("max_abs")
        return "exact fp32" + (f" (largest difference {difference:.1e})" if difference else "")
    if parity.get("cosine") is None:
        return "parity with eager fp32 is not known"
    return f"cosine to eager fp32 at least {at_least(parity['cosine'])}"


def achieved(finalist: Finalist, objective: dict[str, Any]) -> str:
    """A finalist's speed and memory, the objective's quantity first."""
    rate, load = f"{amount(finalist['requests_per_s'])} requests/s", _load(finalist)
    if objective["name"] == "throughput":
        within = objective["slo_p99_ms"] if finalist["meets"] else None
        return f"{rate} within a p99 of {within:g} ms" if within else f"{rate} {load} ({_p99(finalist)})"
    if objective["name"] == "latency":
        return f"p50 {amount(finalist['p50_ms'])} ms and {_p99(finalist)} {load}"
    kind = "GPU memory" if finalist["gpu_memory_mib"] else "memory"
    return f"{amount(figure(objective, finalist))} MiB of {kind}, at {rate} {load} ({_p99(finalist)})"


def _p99(finalist: Finalist) -> str:
    p99 = finalist["p99_ms"]
    return f"p99 {amount(p99)} ms" if p99 is not None else "a p99 that too few requests bound"


def _load(finalist: Finalist) -> str:
    load = finalist["load"]
    if finalist["mode"] == "open":
        return f"at {load:g} requests/s offered"
    return f"with {load:g} user{'s' * (load != 1)} at a time"


def met(decision: dict[str, Any]) -> bool:
    """Whether any configuration met the conditions."""
    return bool(decision["winner"] and decision["winner"]["meets"])


def _answer(decision: dict[str, Any]) -> str:
    winner, objective = decision["winner"], decision["objective"]
    if not met(decision):
        return _nothing(decision)
    does, answers = achieved(winner, objective), right(winner)
    if decision["default_stays"]:
        return f"The default stays: {configuration(winner)}, {does}; {answers}."
    return f"Deploy {configuration(winner)}: {does}{_ratio(decision, winner)}; {answers}."


def _ratio(decision: dict[str, Any], finalist: Finalist) -> str:
    """", 2.1 times the default's 115/s (2.04 to 2.18)"; "" where the default does not meet the objective; _why then
    says so."""
    objective, default, ratio = decision["objective"], decision["default"], finalist["ratio_to_default"]
    if not ratio or not default or not default["meets"]:
        return ""
    interval = f"95 % interval {amount(ratio['low'])} to {amount(ratio['high'])}"
    value = f"{amount(figure(objective, default))}{UNITS[objective['name']]}"
    return f", {amount(ratio['ratio'])} times the default's {value} ({interval})"


def _nothing(decision: dict[str, Any]) -> str:
    tried = f"No configuration of `{decision['model']}` that was tried {wanted(decision['objective'])}."
    nearest = decision["winner"] or decision["default"]
    if nearest is None:
        return tried
    does = achieved(nearest, decision["objective"])
    return f"{tried} Nearest: {configuration(nearest)}, {does}; {right(nearest)}."


def wanted(objective: dict[str, Any]) -> str:
    """The conditions in words: "keeps p99 within 50 ms and has an accuracy of at least 98.5 %"."""
    parts = []
    if objective["slo_p99_ms"]:
        parts.append(f"keeps p99 within {objective['slo_p99_ms']:g} ms")
    if objective["rate"]:
        parts.append(f"answers {objective['rate']:g} requests/s")
    if objective["min_accuracy"]:
        parts.append(f"has an accuracy of at least {percent(objective['min_accuracy'])}")
    if objective["min_cosine"]:
        parts.append(f"has a cosine to eager fp32 of at least {objective['min_cosine']:g}")
    return " and ".join(parts) or "answers without errors"


def _why(decision: dict[str, Any]) -> str:
    """The reason why the default stays or cannot win; "" otherwise, since the figures are the reason."""
    default = decision["default"]
    if not met(decision) or not (decision["default_stays"] or not default or not default["meets"]):
        return ""
    why = decision["why"].removeprefix("The default stays: ").strip().rstrip(".")
    return f"{why[0].upper()}{why[1:]}." if why else ""


def _close(decision: dict[str, Any]) -> str:
    """The finalists that a second run might choose instead; "" if the winner is clear."""
    near = close(decision["winner"], decision["finalists"]) if met(decision) else []
    if not near:
        return ""
    named = [f"{configuration(each)} ({amount(each['ratio_to_winner']['low'])} to "
             f"{amount(each['ratio_to_winner']['high'])} times)" for each in near]  # fmt: skip
    return f"Another run may choose one of these, since they are within the interval of the winner: {'; '.join(named)}."


def _exact(decision: dict[str, Any]) -> str:
    winner, exact = decision["winner"], decision["exact"]
    if not winner or winner["exact"]:
        return ""
    if not exact:
        return "No finalist is exact fp32." if (winner["parity"] or {}).get("cosine") is not None else ""
    objective = decision["objective"]
    misses = "" if exact["meets"] or not met(decision) else ", which misses the conditions"
    said = f"{amount(figure(objective, exact))}{UNITS[objective['name']]}"
    return f"If you need exact fp32: {configuration(exact)}, {said}{misses}."


def _open_loop(decision: dict[str, Any]) -> str:
    found = decision["open_loop"]
    if not found:
        return ""
    return (
        f"With requests that come at random (Poisson), `{found['archive']}` keeps p99 within "
        f"{found['slo_p99_ms']:g} ms up to {amount(found['requests_per_s'])} requests/s."
    )


def _cost(decision: dict[str, Any]) -> str:
    winner, default, price = decision["winner"], decision["default"], decision["objective"]["hourly_cost"]
    if not price or not winner or winner["cost_per_million"] is None:
        return ""
    other = default and not winner["is_default"] and default["cost_per_million"]
    beside = f"; with the default, {amount(other)}" if other else ""
    return f"At {price:g} an hour, a million requests cost {amount(winner['cost_per_million'])}{beside}."


def _energy(decision: dict[str, Any]) -> str:
    winner, default = decision["winner"], decision["default"]
    if not winner or winner["joules_per_1000"] is None:
        return ""
    other = default and not winner["is_default"] and default["joules_per_1000"]
    beside = f"; with the default, {amount(other)} J" if other else ""
    return f"1,000 requests take {amount(winner['joules_per_1000'])} J{beside}."


def _doubts(decision: dict[str, Any]) -> str:
    winner = decision["winner"]
    if not winner:
        return ""
    return " ".join([RANDOM] * bool(winner["random_weights"]) + [UNSTABLE] * (not winner["stable"]))
