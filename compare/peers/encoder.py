"""The encoder of every peer: the archive's model.pt and tokenizer.json, texts in and embeddings out.

It is the same for all peers, so only the framework differs. Settings come from the environment: MODEL_DIR, THREADS,
DEVICE. Runs in a peer's own environment and imports nothing of this project.
"""

import json
import os
from pathlib import Path

import torch
from tokenizers import Tokenizer


class Encoder:
    """Pads to the longest text of a batch, or to ``pad_to`` tokens if that is given."""

    def __init__(self, folder: str = "", pad_to: int | None = None) -> None:
        directory = Path(folder or os.environ["MODEL_DIR"])
        if threads := int(os.environ.get("THREADS", "0")):
            torch.set_num_threads(threads)
        text = json.loads((directory / "text.json").read_text())
        self.device = torch.device(os.environ.get("DEVICE", "cpu"))
        loaded: torch.jit.ScriptModule = torch.jit.load(directory / "model.pt", map_location=self.device)
        self.model = loaded.eval()
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.enable_truncation(min(text["max_length"], pad_to or text["max_length"]))
        self.tokenizer.enable_padding(pad_id=text["pad_id"], length=pad_to)

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """An embedding of each text."""
        encodings = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([each.ids for each in encodings], device=self.device)
        mask = torch.tensor([each.attention_mask for each in encodings], device=self.device)
        with torch.inference_mode():
            output = self.model(ids, mask)
        output = output[0] if isinstance(output, tuple) else output
        vectors: list[list[float]] = output.float().cpu().tolist()
        return vectors
