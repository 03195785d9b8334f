"""Archives for tests: small ones of this project's form, and real ones of torch-model-archiver's."""

import json
import subprocess
import sys
import zipfile

import torch
import yaml

from serving.store import publish

HANDLER = '''
import json

import torch
from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):
    """Gives the module a JSON list of numbers, and fails on anything else."""

    def preprocess(self, requests):
        return torch.tensor([json.loads(bytes(each.get("body") or each.get("data"))) for each in requests])

    def postprocess(self, outputs):
        return outputs.tolist()
'''


class Doubles(torch.nn.Module):
    """Doubles its input."""

    def forward(self, x):
        return 2 * x


def ours(store, name, model, variant, task="embedding", **config):
    """Publishes an archive that has only these settings."""
    section = {"model": model, "variant": variant, "task": task, "runtime": "eager"}
    with zipfile.ZipFile(store / "new", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"configFile": "model-config.yaml"}}')
        archive.writestr("model-config.yaml", json.dumps({"minWorkers": 1, **config, "archive": section}))
    publish(store / "new", store / f"{name}.mar")


def renamed(store, source, name, model, **section):
    """Publishes a copy of a real archive under another name, with another model and ``section``."""
    with zipfile.ZipFile(store / f"{source}.mar") as old, zipfile.ZipFile(store / "new", "w") as new:
        for entry in old.namelist():
            data = old.read(entry)
            if entry == "model-config.yaml":
                config = yaml.safe_load(data)
                config["archive"] |= {"model": model, **section}
                data = yaml.safe_dump(config).encode()
            new.writestr(entry, data)
    publish(store / "new", store / f"{name}.mar")


def foreign(store, name, folder):
    """Makes an archive of a TorchScript module and a handler with torch-model-archiver itself."""
    handler, module = folder / "doubles.py", folder / "module.pt"
    handler.write_text(HANDLER)
    torch.jit.trace(Doubles(), torch.ones(1, 2)).save(str(module))
    subprocess.run([
        sys.executable, "-m", "model_archiver.model_packaging", "--model-name", name, "--version", "1.0",
        "--serialized-file", str(module), "--handler", str(handler), "--export-path", str(store),
    ], check=True, capture_output=True)  # fmt: skip
    return store / f"{name}.mar"
