"""Starts the servers to measure, a peer's in its own environment or ours, and ends them with all their processes.

Knows processes, and how to wait for a server. A variable in their environment identifies a peer's processes, since some
of them leave their process group and their parent.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from compare.errors import CompareError
from compare.peers_table import Peer
from compare.plan import Setting
from loadtest.load import cores
from loadtest.load.target import Token
from loadtest.measure.servers import fresh
from serving.config import Config
from serving.environment import temp_folder, worker_environment
from serving.model_settings import ModelSettings

PEERS = Path(__file__).with_name("peers")
MARK = "MAKE_COMPARE_SERVER"
START_TIMEOUT_S = 180
QUIET_SCANS, SCAN_EVERY_S = 3, 0.1
PORTS = ("PORT", "PORT_2", "PORT_3", "PORT_4", "PORT_5")


@dataclass(frozen=True)
class Running:
    """A server that answers at ``host`` + ``route``. With the route "", the path is TorchServe's, by the archive's
    name."""

    host: str
    route: str
    token: Token
    processes: Callable[[], Sequence[psutil.Process]]

    def processor_s(self) -> dict[int, float]:
        """Seconds of processor time so far, of each running process of the server."""
        found = {}
        for process in self.processes():
            with suppress(psutil.Error):
                found[process.pid] = sum(process.cpu_times()[:2])
        return found

    def memory_mib(self) -> float:
        """MiB resident in all its processes (PSS); a shared page counts once."""
        total = 0
        for process in self.processes():
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return round(total / 2**20, 1)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks the TorchScript file, its tokenizer and the settings of its texts from an archive of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as opened:
        for name in ("model.pt", "tokenizer.json"):
            opened.extract(name, folder)
        text = yaml.safe_load(opened.read("model-config.yaml"))["archive"]["text"]
    (folder / "text.json").write_text(yaml_to_json(text))


def yaml_to_json(text: dict[str, object]) -> str:
    """The two settings that a peer needs: the largest number of tokens of a text, and the id of padding."""
    return f'{{"max_length": {text["max_length"]}, "pad_id": {text["pad_id"]}}}'


@contextmanager
def ours(model: str, setting: Setting, store: Path, split: cores.Split) -> Iterator[Running]:
    """Our server with one archive, as ``make archive serve`` starts it, or with the settings of ``setting``."""
    found: dict[str, dict[str, int | float]] = {}
    if setting.workers:
        found[model] = {"workers": setting.workers, "threads": setting.threads, "batch_size": setting.batch}
    table = ModelSettings(Path("make compare"), found)
    with fresh([f"{model}-{setting.variant}"], split, store, table) as server:
        assert server.state is not None  # never None, since this process started the server
        with cores.on(split.client):
            yield Running(server.host, "", server.token, server.state.processes)


@contextmanager
def peers(
    peer: Peer, setting: Setting, example: bool, python: Path, model: Path, device: str, split: cores.Split, log: Path
) -> Iterator[Running]:
    """A peer's server. Its output goes to ``log``. Raises CompareError if it does not start."""
    scratch, mark, ports = Path(tempfile.mkdtemp(prefix="cmp-", dir=temp_folder())), uuid.uuid4().hex, _free_ports()
    environment = _environment(peer, setting, example, model, device, scratch, mark, ports)
    log.parent.mkdir(parents=True, exist_ok=True)
    process = None
    try:
        with log.open("wb") as console, cores.on(split.server):
            process = subprocess.Popen(
                [str(python), str(PEERS / peer.script)], cwd=scratch, env=environment, stdin=subprocess.DEVNULL,
                stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        _await(peer, process, ports[0], log)
        with cores.on(split.client):
            yield Running(f"http://127.0.0.1:{ports[0]}", peer.route, Token(lambda: "none"), lambda: marked(mark))
    finally:
        if process:
            _end(process, mark)
        shutil.rmtree(scratch, ignore_errors=True)


def _environment(
    peer: Peer, setting: Setting, example: bool, model: Path, device: str, scratch: Path, mark: str,
    ports: Sequence[int],
) -> dict[str, str]:  # fmt: skip
    """The environment of a peer's processes, without the shell's secrets. OpenMP threads sleep while they wait, as in
    our server, except in an example, which has its own defaults."""
    hidden = Config.load().properties.get("blacklist_env_vars", "")
    own = {
        "MODEL_DIR": str(model), "WORKERS": str(setting.workers), "THREADS": str(setting.threads),
        "BATCH": str(setting.batch), "WAIT_MS": f"{setting.wait_ms:g}", "DEVICE": "cuda" if device == "gpu" else "cpu",
        "PYTHONPATH": str(PEERS), "PYTHONDONTWRITEBYTECODE": "", "TOKENIZERS_PARALLELISM": "false",
        "TMPDIR": str(scratch), "HOME": str(scratch), "RAY_TEMP": str(scratch / "ray"), MARK: mark,
        "BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    own |= {name: str(port) for name, port in zip(PORTS, ports, strict=True)}
    own |= {f"RAY_SERVE_HAPROXY_{name}": str(scratch / file) for name, file in
            (("CONFIG_FILE_LOC", "haproxy.cfg"), ("SOCKET_PATH", "haproxy.sock"),
             ("SERVER_STATE_BASE", "haproxy"), ("SERVER_STATE_FILE", "haproxy-state"))}  # fmt: skip
    if setting.threads:
        own["OMP_NUM_THREADS"] = str(setting.threads)
    inherited = worker_environment(hidden)
    if example:
        inherited.pop("OMP_WAIT_POLICY", None)
        own |= peer.example or {}
    return {**inherited, **own, **peer.variables}


def _free_ports() -> list[int]:
    probes = [socket.socket() for _ in PORTS]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def _await(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until the server listens on the port. The wait for the model's first answer comes later, and is longer."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CompareError(f"{peer.title} ended while starting (status {process.returncode}): {last_line(log)}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise CompareError(f"{peer.title} does not listen after {START_TIMEOUT_S} s: {last_line(log)}")


def last_line(log: Path) -> str:
    """The last line of a server's output."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed no message"


def marked(mark: str) -> list[psutil.Process]:
    """All running processes that have this mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if _carries(process, mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _carries(process: psutil.Process, mark: str) -> bool:
    """Whether a process was started with the mark. Searches the raw environment block if there is one. A process that
    sets its title, as Ray's processes do, overwrites the beginning of this block, and psutil stops reading there."""
    raw = Path(f"/proc/{process.pid}/environ")
    if raw.parent.exists():
        return f"{MARK}={mark}".encode() in raw.read_bytes()
    return process.environ().get(MARK) == mark


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kills a server and all its processes, since some take seconds to end gracefully."""
    quiet = 0
    while quiet < QUIET_SCANS:  # a new process shows no environment for a moment
        left = marked(mark)
        for each in left:
            with suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(left, timeout=SCAN_EVERY_S)
        process.poll()
        quiet = 0 if left else quiet + 1
        time.sleep(SCAN_EVERY_S)
    process.wait()
