"""The table of the verbs and of the variables that each reads. A test compares it with the Makefile.

Knows words and no file.
"""

from __future__ import annotations

from dataclasses import dataclass

PLACE = ("CONFIG", "RUN_DIR", "MODEL_STORE", "MODELS_FILE")
CHOICE = ("MODELS", "VARIANTS", "DEVICE", "WEIGHTS", "MODELS_FILE")
CHECKPOINT = ("MODEL", "NAME", "TASK", "ARCH", "LABELS", "POOLING", "MAX_LENGTH", "EXAMPLE", "EXPECT", "HANDLER")
# Read from the environment under their plain names too, and by every verb.
EITHER = ("PYTHON", "STORE_KEY")


@dataclass(frozen=True)
class Verb:
    """``command`` is the module that does it, with its arguments, as ``python -m`` takes them. A verb of ``checkout``
    needs the checkout's other files, and only make has it."""

    name: str
    help: str
    command: str = ""
    reads: tuple[str, ...] = ()
    checkout: bool = False


@dataclass(frozen=True)
class Variable:
    """``kind`` says what its values are: "flag" (1), "text", "number", "file", "folder", "models", "variants",
    "archive", or the values themselves with "|" between them."""

    meaning: str
    kind: str = "text"

    @property
    def values(self) -> tuple[str, ...]:
        """The values that it may have, where these are few."""
        return ("1",) if self.kind == "flag" else tuple(self.kind.split("|")) if "|" in self.kind else ()


VERBS = {
    verb.name: verb
    for verb in (
        Verb("setup", "Make .venv with the versions and digests of hashes.txt (the other verbs do it themselves)",
             checkout=True),
        Verb("archive", "Build the archives that are out of date in model_store/ (MODEL=/your/checkpoint, MODELS=, "
             "VARIANTS=, VERSION=, DEVICE=)", "export",
             (*CHOICE, *CHECKPOINT, "VERSION", "MODEL_STORE", "RESULTS_JSON")),
        Verb("models", "List every model with its task, architecture and weights, and the variants that fit it "
             "(DEVICE=)", "export.list_models", ("DEVICE", "MODELS_FILE", "MODEL_STORE")),
        Verb("serve", "Start TorchServe with the store's archives and return when all are warm (REPLICAS=3, TLS=1, "
             "BIND=, FOREGROUND=1, UI=1, ENGINE=ray)", "serving serve",
             (*PLACE, "MODELS", "VARIANTS", "WORKERS", "FOREGROUND", "UI", "UI_PORT", "REPLICAS", "TLS", "TLS_CERT",
              "TLS_KEY", "BIND", "ENGINE")),
        Verb("stop", "Stop TorchServe and check that all its processes have ended", "serving stop", PLACE),
        Verb("restart", "Restart one replica after the other with the present archives and settings, without a pause",
             "serving restart", (*PLACE, "MODELS", "VARIANTS", "WORKERS")),
        Verb("status", "Print a line per served archive; exit status 0 when all answer", "serving status", PLACE),
        Verb("rollout", "Replace a served archive by another version, without a pause "
             "(MODEL=minilm-torchscript VERSION=2.0)", "rollout rollout",
             (*PLACE, "MODEL", "VERSION", "MAX_DIFFERENT", "MAX_P99_RATIO", "MAX_P99_MS", "MAX_ERRORS", "REQUESTS",
              "WATCH", "CANARY", "SHADOW", "SHADOW_PERCENT")),
        Verb("rollback", "Go back to the version that the last rollout replaced (MODEL=minilm-torchscript)",
             "rollout rollback", (*PLACE, "MODEL")),
        Verb("scale", "Change the workers, their threads or the batches of a served archive without a pause, and keep "
             "that (MODEL=minilm-torchscript WORKERS=2 THREADS=1)", "rollout scale",
             (*PLACE, "MODEL", "WORKERS", "THREADS", "BATCH_SIZE", "BATCH_DELAY_MS")),
        Verb("logs", "Print the last lines of the server's and the workers' logs (FOLLOW=1 prints new lines as they "
             "come)", "serving logs", (*PLACE, "FOLLOW")),
        Verb("token", "Print the inference token (with make -s, nothing else)", "serving token", PLACE),
        Verb("ui", "Open a page to try the served models in a browser, until Ctrl-C (UI_PORT=8090)", "serving.ui",
             (*PLACE, "UI_PORT")),
        Verb("openapi", "Describe the HTTP API of the store's archives as OpenAPI 3.1 in a file (MODELS=, VARIANTS=, "
             "OUT=openapi.json)", "openapi", (*PLACE, "MODELS", "VARIANTS", "OUT")),
        Verb("triton", "Write a model repository for NVIDIA's Triton of the store's archives (MODELS=, VARIANTS=, "
             "OUT=triton_repository)", "deploy.triton",
             ("MODEL_STORE", "MODELS_FILE", "MODELS", "VARIANTS", "OUT", "ENVIRONMENT")),
        Verb("doctor", "Check this machine for faults that would stop make serve; a line per check, with the fix (runs "
             "before setup too)", "serving.doctor", (*PLACE, "REPLICAS")),
        Verb("audit", "Ask for published advisories on the installed packages and TorchServe's jar (OSV_URL= names a "
             "mirror)", "serving.audit", ("OSV_URL",)),
        Verb("bench", "Measure every variant in process, with its parity (MODELS=, VARIANTS=, BATCHES=1,8,32, "
             "LENGTHS=)", "bench", (*CHOICE, "BATCHES", "LENGTHS", "BENCH_SECONDS", "BENCH_STORE", "OUT")),
        Verb("choose", "Search for the variant and settings to deploy, and record them (MODEL=a name or "
             "/your/checkpoint, SLO_P99_MS=, BUDGET=20m)", "choose",
             (*PLACE, *CHOICE, *CHECKPOINT, "OBJECTIVE", "SLO_P99_MS", "RATE", "MIN_ACCURACY", "MIN_COSINE", "BUDGET",
              "HOURLY_COST", "WORKERS", "THREADS", "BATCHES", "TRIALS", "ROUNDS", "DURATION", "SEED", "RESULTS",
              "CHOOSE_STORE")),
        Verb("compare", "Measure this server beside TorchServe's, FastAPI, LitServe, BentoML, Ray Serve and MLServer "
             "(PEERS=, CLIENTS=)", "compare",
             (*PLACE, "MODELS", "PEERS", "CLIENTS", "DURATION", "ROUNDS", "DEVICE", "WEIGHTS", "OUT",
              "COMPARE_STORE"), checkout=True),
        Verb("loadtest", "Measure served latency, one archive at a time, and report (RATE=, SLO_P99_MS=, PROFILE=, "
             "BASELINE=)", "loadtest",
             (*PLACE, *CHOICE, "HOST", "TOKEN", "TOKEN_FILE", "PROFILE", "CONCURRENCY", "RATE", "ARRIVALS", "TRACE",
              "SLO_P99_MS", "DURATION", "ROUNDS", "SEED", "PROCESSES", "PROTOCOL", "BASELINE", "RESULTS")),
        Verb("soak", "Send good and bad requests to all models of one server for a long time; report growth of memory, "
             "files and logs (DURATION=1800, RATE=)", "loadtest.soak",
             (*PLACE, "MODELS", "VARIANTS", "DURATION", "RATE", "SEED", "OUT")),
        Verb("fuzz", "Send hostile requests mixed with good ones to a separate server (FUZZ_REQUESTS=20000, SEED=)",
             "tests.trust.fuzz", ("VARIANTS", "FUZZ_REQUESTS", "SEED", "OUT"), checkout=True),
        Verb("test", "Run the whole test suite, real TorchServe included, in three processes", "pytest -n 3",
             ("ROWS", "TRUST", "FIGURES", "FAULT_SECONDS", "SEED"), checkout=True),
        Verb("faults", "Run all fault tests, in about two hours, and write their figures (OUT=, FAULT_SECONDS=3600)",
             "tests.trust.faults", ("ROWS", "FAULT_SECONDS", "SEED", "OUT"), checkout=True),
        Verb("coverage", "Run the test suite and print the share of lines that it runs; fails below 95 %",
             "coverage run -m pytest -n 3", checkout=True),
        Verb("mutants", "Change the functions that read requests and judge answers, and show the changes that no test "
             "finds", "tests.mutants", checkout=True),
        Verb("lint", "Check style, imports and docstrings with ruff, and types with mypy", "ruff check .",
             checkout=True),
        Verb("docs", "Build the documentation as a site in site/, which needs no network; fails for a dead link",
             "mkdocs build --strict --quiet", checkout=True),
        Verb("clean", "Stop the server; remove archives built here, caches and logs (keeps .venv)", "serving clean",
             PLACE),
    )
}  # fmt: skip
TOOL = {name: verb for name, verb in VERBS.items() if not verb.checkout}

VARIABLES = {
    "ARCH": Variable("the network of a weights file: resnet34, timm:NAME"),
    "ARRIVALS": Variable("the order of arrivals at a RATE, one or more", "poisson|constant"),
    "BASELINE": Variable("an archive, or an earlier run's summary.json, to compare with", "archive"),
    "BATCHES": Variable("batch sizes, with commas between them"),
    "BATCH_DELAY_MS": Variable("how long the server waits for a batch to fill, in milliseconds", "number"),
    "BATCH_SIZE": Variable("the largest batch", "number"),
    "BENCH_SECONDS": Variable("seconds measured for each cell", "number"),
    "BENCH_STORE": Variable("the bench's own store of archives", "folder"),
    "BIND": Variable("the address that the balancer listens on, with TLS"),
    "BUDGET": Variable("time for one model's search and finals: 90s, 20m, 1h"),
    "CANARY": Variable("percent of the requests that a new version gets first, behind a balancer", "number"),
    "CHOOSE_STORE": Variable("the search's own store of archives", "folder"),
    "CLIENTS": Variable("numbers of clients"),
    "COMPARE_STORE": Variable("the comparison's own store of archives", "folder"),
    "CONCURRENCY": Variable("numbers of simultaneous users, with commas between them"),
    "CONFIG": Variable("the settings of the whole server (config.properties)", "file"),
    "DEVICE": Variable("what to build for and measure on", "auto|cpu|gpu"),
    "DURATION": Variable("seconds measured", "number"),
    "ENGINE": Variable("what serves the archives", "torchserve|ray"),
    "ENVIRONMENT": Variable("a packed Python environment for Triton", "file"),
    "EXAMPLE": Variable("a text, a JSON body or a file that the model answers", "file"),
    "EXPECT": Variable("what the answer to EXAMPLE must say first"),
    "FAULT_SECONDS": Variable("seconds of the long fault tests", "number"),
    "FIGURES": Variable("the file that tests write their figures to", "file"),
    "FOLLOW": Variable("print new lines as they come", "flag"),
    "FOREGROUND": Variable("stay attached until the server ends", "flag"),
    "FUZZ_REQUESTS": Variable("how many hostile requests are sent", "number"),
    "HANDLER": Variable("your own handler, a Python file", "file"),
    "HOST": Variable("the URL of another server to measure"),
    "HOURLY_COST": Variable("the price of an hour of this machine", "number"),
    "LABELS": Variable("a file with a label per line, or a JSON list", "file"),
    "LENGTHS": Variable("lengths of texts in tokens, with commas between them"),
    "MAX_DIFFERENT": Variable("percent of the answers that may differ between the versions", "number"),
    "MAX_ERRORS": Variable("how many requests of clients a new version may fail", "number"),
    "MAX_LENGTH": Variable("tokens of one sequence", "number"),
    "MAX_P99_MS": Variable("the p99 that clients' requests may have in a rollout, in milliseconds", "number"),
    "MAX_P99_RATIO": Variable("how many times the old version's p99 the new one's may be", "number"),
    "MIN_ACCURACY": Variable("the least held-out accuracy, in percent", "number"),
    "MIN_COSINE": Variable("the smallest cosine to eager fp32 that a variant may have", "number"),
    "MODEL": Variable("your checkpoint to build, a model to choose for, or a served archive", "archive"),
    "MODELS": Variable("names of models, with commas between them", "models"),
    "MODELS_FILE": Variable("your models and their settings (models.toml)", "file"),
    "MODEL_STORE": Variable("the folder with the archives (model_store)", "folder"),
    "NAME": Variable("the name of the model that MODEL becomes"),
    "OBJECTIVE": Variable("the figure to optimize", "throughput|latency|memory"),
    "OSV_URL": Variable("a mirror of osv.dev"),
    "OUT": Variable("the file or folder to write", "file"),
    "PEERS": Variable("names of the servers to compare with"),
    "POOLING": Variable("how an encoder's tokens become one vector", "mean|cls|max"),
    "PROCESSES": Variable("how many processes send the load", "number"),
    "PROFILE": Variable("the shape of the load", "default|full|peak|shapes|soak"),
    "PROTOCOL": Variable("what requests are sent over", "http|grpc"),
    "RATE": Variable("requests per second", "number"),
    "REPLICAS": Variable("how many servers to start behind HAProxy", "number"),
    "REQUESTS": Variable("how many requests each version gets in the comparison", "number"),
    "RESULTS": Variable("the folder for reports", "folder"),
    "RESULTS_JSON": Variable("a file for the results of a build", "file"),
    "ROUNDS": Variable("how often each is measured", "number"),
    "ROWS": Variable("which rows of the catalog are tested", "default|all"),
    "RUN_DIR": Variable("the folder of the running server: logs, keys, record (.run)", "folder"),
    "SEED": Variable("the seed of chance", "number"),
    "SHADOW": Variable("how long a new version gets copies of clients' requests first: 60s"),
    "SHADOW_PERCENT": Variable("percent of the requests that are copied", "number"),
    "SLO_P99_MS": Variable("the objective for the 99th percentile of latency, in milliseconds", "number"),
    "STORE_KEY": Variable("a minisign public key; unsigned archives are then refused", "file"),
    "TASK": Variable("the task of a checkpoint that does not say it"),
    "THREADS": Variable("threads of a worker; for a search, several with commas between them"),
    "TLS": Variable("end TLS at the balancer with a certificate made here", "flag"),
    "TLS_CERT": Variable("the balancer's certificate, a PEM file", "file"),
    "TLS_KEY": Variable("its private key, a PEM file", "file"),
    "TOKEN": Variable("the token of another server"),
    "TOKEN_FILE": Variable("a file with the token of another server", "file"),
    "TRACE": Variable("recorded requests to replay, a CSV file", "file"),
    "TRIALS": Variable("the largest number of configurations to measure", "number"),
    "TRUST": Variable("which tests of failures run"),
    "UI": Variable("go on as tsi ui", "flag"),
    "UI_PORT": Variable("the port of the page", "number"),
    "VARIANTS": Variable("names of variants, with commas between them", "variants"),
    "VERSION": Variable("the version of an archive"),
    "WATCH": Variable("seconds that a new version is watched", "number"),
    "WEIGHTS": Variable("random: weights of no use, for measurements of speed", "random|"),
    "WORKERS": Variable("processes that answer for each archive", "number"),
}


def reads(verbs: list[Verb]) -> list[str]:
    """The variables that these verbs read, each once; STORE_KEY is read by all."""
    return list(dict.fromkeys([name for verb in verbs for name in verb.reads] + ["STORE_KEY"]))
