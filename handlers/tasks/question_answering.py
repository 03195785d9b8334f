"""Entry: extractive question answering. {"question", "context"} -> {"answer", "score", "start", "end"}.

``start`` and ``end`` count characters of the context, and the answer is the text between them. A long context is split
into overlapping windows. Answers are chosen as in SQuAD's reference code for BERT (Devlin et al., 2018, run_squad.py):
a span of a window goes from one of the best starts to one of the best ends.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from handlers.batch import Batch
from handlers.errors import RequestError
from handlers.explanations import Chosen, Target
from handlers.open_inference import Spec, Tensor
from handlers.open_inference.answer import ITEM, columns_by_item
from handlers.options import Option, Whole
from handlers.requests import Payload, Shape, kind_of
from handlers.runtimes import Outputs
from handlers.text import name_of
from handlers.text_service import TextService
from handlers.windows import WindowEncoder, Windows

N_BEST = 20  # starts and ends that are considered per window, and spans that the scores are normalised over
MAX_WINDOWS = 64  # of one request


# For one window: the characters (from, to) of each token; and for each possible span its sum of logits, its first token
# and its last token.
Spans = tuple[list[tuple[int, int]], np.ndarray, np.ndarray, np.ndarray]
# A span of the context: its sum of logits, its characters from and to, and (window, first token, last token). This is
# not a class, since TorchServe requires that the handler is the module's only class.
Found = tuple[float, int, int, tuple[int, int, int]]


class QuestionAnswering(TextService):
    """Answers each question with the likeliest span of its context, or the ``top_k`` likeliest as a list.

    ``max_answer_tokens`` limits an answer's length. The score is the span's softmax probability among the ``N_BEST``
    likeliest spans of different text. If no span is possible, the answer is empty and its score is 0.
    """

    encoder: WindowEncoder
    shape = Shape(fields=("question", "context"))
    answer_key = None
    encoder_class = WindowEncoder
    answer_specs = (
        ITEM, Spec("answer", "BYTES", (-1,)), Spec("score", "FP32", (-1,)), Spec("start", "INT64", (-1,)),
        Spec("end", "INT64", (-1,)),
    )  # fmt: skip
    options: ClassVar[dict[str, Option]] = {"top_k": Whole(1, N_BEST), "max_answer_tokens": Whole(1, 512)}

    def read(self, payload: Payload) -> list[Any]:
        for index, item in enumerate(payload.items):
            if not isinstance(item, dict):
                name = name_of("item", index, len(payload.items))
                raise RequestError(f"{name} is {kind_of(item)}; expected {self.shape.expected()}.")
        return super().read(payload)

    def accept(self, items: list[tuple[str, str]]) -> list[Windows]:
        """The windows of each item. They are tokenized here, so that an error affects only one request. Raises
        RequestError."""
        found, left = [], MAX_WINDOWS
        for index, (question, context) in enumerate(items):
            name = name_of("question", index, len(items))
            found.append(self.encoder.windows(question, context, name, left))
            left -= len(found[-1].encodings)
        return found

    def collate(self, items: list[Windows]) -> Batch:
        tokens = self.encoder.together(items)
        ends = np.cumsum([len(item.encodings) for item in items]).tolist()
        rows = [range(end - len(item.encodings), end) for item, end in zip(items, ends, strict=True)]
        return Batch(self.inputs_of(tokens), rows, tokens)

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> Any:
        answers = _answers(batch.context.texts[index], self._spans(batch, index, outputs, options))
        return answers[0] if options["top_k"] == 1 else answers[: options["top_k"]]

    def collate_with_records(self, items: list[Windows]) -> Batch:
        return self.collate(items)

    def chosen(self, batch: Batch, outputs: Outputs, target: None, options: Mapping[str, Any]) -> Chosen:
        """The logits of the best answer's start and end, in the answer's window."""
        text, spans = batch.context.texts[0], self._spans(batch, 0, outputs, options)
        if not (found := _distinct(text, spans)):
            raise RequestError("The context has no answer to explain; ask another question or send another context.")
        window, first, last = found[0][3]
        places = Target((("start_logits", (first,)), ("end_logits", (last,))))
        output = "the sum of the logits of the answer's start and end"
        return Chosen(_answers(text, spans)[0], output, places, batch.rows_of(0)[window], self.shape.fields)

    def _spans(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> list[Spans]:
        """The possible spans of each window of an item."""
        tokens, rows = batch.context, batch.rows_of(index)
        encodings = [tokens.encodings[row] for row in rows]
        contexts = [_context(encoding) for encoding in encodings]
        owned = _owned(tokens.firsts[rows.start : rows.stop], [len(each) for each in contexts])
        return [
            (encoding.offsets, *_spans(outputs["start_logits"][row, : len(encoding)],
                                       outputs["end_logits"][row, : len(encoding)],
                                       context, own, options["max_answer_tokens"]))
            for row, encoding, context, own in zip(rows, encodings, contexts, owned, strict=True)
        ]  # fmt: skip

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        """A row for each answer. A question may have fewer than ``top_k`` answers."""
        return columns_by_item(self.answer_specs, [each if isinstance(each, list) else [each] for each in answers])

    def sample(self, words: int) -> Windows:
        return self.encoder.windows("What is it?", super().sample(words), "The question")


def _context(encoding: Any) -> range:
    """The positions of the context's tokens in a window."""
    sequences = encoding.sequence_ids
    return range(first := sequences.index(1), first + sequences.count(1))


def _owned(firsts: tuple[int, ...], lengths: list[int]) -> list[np.ndarray]:
    """For each window, bool [context tokens]: whether no other window has more context for the token.

    As in run_squad.py's _check_is_max_context, a token's context is the smaller one of the numbers of tokens before and
    after it in the window, plus a hundredth of the window's length. If windows are equal, the first one counts.
    """
    count = firsts[-1] + lengths[-1]
    best, owner = np.full(count, -np.inf), np.zeros(count, dtype=np.int64)
    for window, (first, length) in enumerate(zip(firsts, lengths, strict=True)):
        at = np.arange(length)
        context = np.minimum(at, length - 1 - at) + 0.01 * length
        better = first + np.flatnonzero(context > best[first : first + length])
        best[better], owner[better] = context[better - first], window
    return [owner[first : first + n] == at for at, (first, n) in enumerate(zip(firsts, lengths, strict=True))]


def _spans(
    starts: np.ndarray, ends: np.ndarray, context: range, owned: np.ndarray, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sums of logits, first tokens, last tokens) of a window's possible spans. ``starts`` and ``ends`` are its logits,
    float [tokens]."""
    firsts, lasts = (_best(each, context) for each in (starts, ends))
    firsts = firsts[owned[firsts - context.start]]
    lengths = lasts[None, :] - firsts[:, None] + 1
    i, j = np.nonzero((lengths > 0) & (lengths <= longest))
    sums = starts[firsts[i]].astype(np.float64) + ends[lasts[j]]
    return sums, firsts[i], lasts[j]


def _best(logits: np.ndarray, context: range) -> np.ndarray:
    """The positions of the ``N_BEST`` largest logits, largest first, without those outside the context."""
    places = np.argsort(-logits, kind="stable")[:N_BEST]
    return places[(places >= context.start) & (places < context.stop)]


def _distinct(text: str, spans: list[Spans]) -> list[Found]:
    """The ``N_BEST`` likeliest spans of different text, best first. ``spans`` has the possible spans of each window."""
    offsets, *columns = zip(*spans, strict=True)
    sums, firsts, lasts = (np.concatenate(each) for each in columns)
    windows = np.repeat(np.arange(len(spans)), [len(each[1]) for each in spans])
    found: dict[str, Found] = {}
    for at in np.argsort(-sums, kind="stable").tolist():
        window, first, last = int(windows[at]), int(firsts[at]), int(lasts[at])
        start, end = _trimmed(text, offsets[window][first][0], offsets[window][last][1])
        if start < end and text[start:end] not in found:
            found[text[start:end]] = sums[at], start, end, (window, first, last)
            if len(found) == N_BEST:
                break
    return list(found.values())


def _answers(text: str, spans: list[Spans]) -> list[dict[str, Any]]:
    """The answers for the likeliest spans of ``spans``, best first."""
    if not (found := _distinct(text, spans)):
        return [{"answer": "", "score": 0.0, "start": 0, "end": 0}]
    shares = np.exp(np.array([total for total, *_ in found]) - found[0][0])
    return [
        {"answer": text[start:end], "score": share, "start": start, "end": end}
        for (_, start, end, _), share in zip(found, (shares / shares.sum()).tolist(), strict=True)
    ]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without leading and trailing blanks, which some tokenizers include in a token."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
