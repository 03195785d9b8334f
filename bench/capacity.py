"""``python -m bench.capacity`` computes replicas, machines, networks and cost from published results, and writes the
tables of docs/capacity.md. A test fails if they are out of date.

``python -m bench.capacity RATES="500 5000" UTILISATION=0.5 SPARE=2 HOURLY_COST="minilm-torchscript=0.1"`` prints the
tables for your own numbers, and writes nothing. HOURLY_COST is the price of one machine for an hour, in any currency.
This project knows no prices. All other numbers are in docs/results.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Any

from bench.published import ROOT, read, renewed
from loadtest.report.markdown_report import table
from serving.config import Config

PAGE = ROOT / "docs" / "capacity.md"
LOG = ROOT / "docs" / "results" / "served-h200.log"
RATES = (1_000, 100_000, 1_000_000)  # requests a second
UTILISATION, SPARE = 0.6, 1
SCRAPE_S = 15  # deploy/monitoring/prometheus.yml
GIGABIT = 1e9 / 8  # bytes
LINE = re.compile(r"^new +(\S+) +workers +(\d+) +clients +(\d+): good +(\d+)/s .* p99 +([\d.]+) ms", re.MULTILINE)


@dataclass(frozen=True)
class Replica:
    """A measured server: its requests per second, its 99th percentile in ms and its number of clients, at full load."""

    archive: str
    machine: str
    per_s: float
    p99_ms: float
    clients: int
    source: str
    bodies: str = ""  # the archive in bodies.json with the sizes of requests and answers; empty: not measured


@dataclass(frozen=True)
class Demand:
    """The numbers that the tables are computed for. ``cost`` has the price of a machine's hour, by archive."""

    rates: tuple[int, ...] = RATES
    utilisation: float = UTILISATION
    spare: int = SPARE
    cost: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, words: list[str]) -> Demand:
        """Reads KEY=VALUE words. Raises ValueError with a message for the user."""
        given = dict(word.partition("=")[::2] for word in words)
        if unknown := set(given) - {"RATES", "UTILISATION", "SPARE", "HOURLY_COST"}:
            raise ValueError(f"{', '.join(sorted(unknown))} is not known; write RATES, UTILISATION, SPARE, HOURLY_COST")
        rates = tuple(int(_number("RATES", each, 1)) for each in re.findall(r"[^\s,]+", given.get("RATES", "")))
        utilisation = _number("UTILISATION", given.get("UTILISATION", str(UTILISATION)), 0.01, 1)
        cost = tuple(_price(each) for each in re.findall(r"[^\s,]+", given.get("HOURLY_COST", "")))
        return cls(rates or RATES, utilisation, int(_number("SPARE", given.get("SPARE", str(SPARE)), 0)), cost)


def _number(name: str, text: str, least: float, most: float = math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        upper = "" if math.isinf(most) else f" and at most {most:g}"
        raise ValueError(f"{name}={text}: a number of at least {least:g}{upper} is expected")
    return value


def _price(word: str) -> tuple[str, float]:
    archive, _, price = word.partition("=")
    known = [each.archive for each in replicas()]
    if archive not in known:
        raise ValueError(f"HOURLY_COST={word}: write archive=price, as in {known[0]}=0.1, for {', '.join(known)}")
    return archive, _number("HOURLY_COST", price, 0)


def replicas() -> list[Replica]:
    """The measured servers of the page, each at the largest number of clients without errors."""
    run = read("loadtest-cpu")
    found = [_tested(run, name) for name in ("minilm-torchscript", "digits-torchscript")]
    peers = read("compare-cpu")
    row = max((each for each in peers["rows"] if each["subject"] == "ours-chosen"), key=lambda each: each["clients"])
    found.insert(1, Replica(
        f"minilm-{row['setting'].split(',')[0]}", "2 cores", row["requests_per_s"], row["p99_ms"], row["clients"],
        "compare-cpu.json", "minilm-torchscript",
    ))  # fmt: skip
    logged = {(name, int(workers), int(clients)): (float(rate), float(p99))
              for name, workers, clients, rate, p99 in LINE.findall(LOG.read_text())}  # fmt: skip
    for name, bodies in (("bert-graph", ""), ("resnet50-graph", "photos-torchscript")):
        rate, p99 = logged[name, 4, 64]
        found.append(Replica(name, "1 H200, 16 cores", rate, p99, 64, "served-h200.log", bodies))
    return found


def _tested(run: dict[str, Any], name: str) -> Replica:
    rows = [row for row in run["rows"] if row["archive"] == name and row["mode"] == "closed" and not row["errors"]]
    row = max(rows, key=lambda each: int(each["concurrency"]))
    cores = run["environment"]["cores_available"]
    return Replica(
        name, f"{cores} cores", row["requests_per_s"], row["p99_ms"], row["concurrency"], "loadtest-cpu.json", name
    )


def count(rate: float, per_s: float, demand: Demand) -> int:
    """The number of replicas for a rate, with the given utilisation, and the spare ones."""
    return math.ceil(rate / (demand.utilisation * per_s)) + demand.spare


def measured() -> str:
    """The table of one replica's throughput and latency."""
    header = ("archive", "machine", "requests/s", "p99 ms", "clients", "from")
    return table(header, [
        [f"`{each.archive}`", each.machine, f"{each.per_s:,.0f}", f"{each.p99_ms:,.1f}", f"{each.clients}",
         f"[{each.source}](results/{each.source})"]
        for each in replicas()
    ])  # fmt: skip


def machines(demand: Demand) -> str:
    """The table of replicas, and with prices of their cost. Each replica has a machine of its own."""
    prices = dict(demand.cost)
    priced = [f"an hour at {rate:,}/s, and a million requests" for rate in demand.rates] if prices else []
    rows = []
    for each in replicas():
        counts = [count(rate, each.per_s, demand) for rate in demand.rates]
        row = [f"`{each.archive}`", each.machine, *(f"{number:,}" for number in counts)]
        if prices:
            row += [_cost(prices.get(each.archive), number, rate)
                    for number, rate in zip(counts, demand.rates, strict=True)]  # fmt: skip
        rows.append(row)
    return table(("archive", "machine", *(f"{rate:,}/s" for rate in demand.rates), *priced), rows)


def _cost(price: float | None, number: int, rate: int) -> str:
    if price is None:
        return "no price given"
    return f"{price * number:,.2f}; {price * number / (rate * 3600) * 1e6:.4f}"


def network(demand: Demand) -> str:
    """The table of the traffic of the balancer and of one replica, in both directions."""
    sizes, rows = read("bodies")["archives"], []
    for each in replicas():
        if not each.bodies:
            continue
        asked, answered = (sizes[each.bodies][f"{kind}_bytes"] for kind in ("request", "answer"))
        one = each.per_s * demand.utilisation * max(asked, answered) / GIGABIT
        row = [f"`{each.archive}`", f"{asked:,}", f"{answered:,}", f"{one:.2f}"]
        both = ((rate * asked / GIGABIT, rate * answered / GIGABIT) for rate in demand.rates)
        rows.append([*row, *(f"{inward:,.2f} / {outward:,.2f}" for inward, outward in both)])
    rates = (f"in / out at {rate:,}/s, Gbit/s" for rate in demand.rates)
    return table(("archive", "bytes of a request", "of an answer", "one replica, Gbit/s", *rates), rows)


def queue() -> str:
    """The table of the longest wait in a full queue, and of the queue's size for 100 ms of work."""
    places = int(Config.load(ROOT / "config.properties").properties["job_queue_size"])
    rows = [
        [f"`{each.archive}`", f"{1000 * places / each.per_s:,.1f}", f"{math.ceil(each.per_s / 10):,}"]
        for each in replicas()
    ]
    return table(("archive", f"wait in a queue of {places}, ms", "places for 100 ms"), rows)


def metrics(demand: Demand) -> str:
    """The table of Prometheus' series and samples for replicas with one archive each."""
    seen = read("bodies")["metrics"]
    series = seen["series_of_server"] + seen["series_of_archive"]
    rows = []
    for each in replicas():
        counts = [count(rate, each.per_s, demand) * series for rate in demand.rates]
        rows.append([f"`{each.archive}`", *(f"{number:,} / {number / SCRAPE_S:,.0f}" for number in counts)])
    return table(("archive", *(f"series / samples a second at {rate:,}/s" for rate in demand.rates)), rows)


def sections(demand: Demand) -> dict[str, str]:
    """The tables by the names of their sections."""
    return {
        "measured": measured(), "machines": machines(demand), "queue": queue(), "network": network(demand),
        "metrics": metrics(demand),
    }  # fmt: skip


def page(text: str, made: dict[str, str]) -> str:
    """The page with new tables."""
    for name, content in made.items():
        text = renewed(text, name, f"{content}\n", "bench.capacity")
    return text


def main(words: list[str]) -> int:
    """Writes the page. With ``words``, prints the tables for them instead."""
    try:
        demand = Demand.of(words)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    made = sections(demand)
    if words:
        print(*(f"{name}\n\n{content}\n" for name, content in made.items()), sep="\n")
    else:
        PAGE.write_text(page(PAGE.read_text(), made))
        print(f"Written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
