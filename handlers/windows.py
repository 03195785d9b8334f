"""A question with a text of any length, in overlapping windows of token ids."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding

from handlers.errors import RequestError, TooLarge
from handlers.text import TextEncoder, Tokens

OVERLAP = 128  # tokens that a window shares with the one before it; half its room where that is less


@dataclass(frozen=True)
class Windows:
    """A text in overlapping windows, each after the same question.

    ``encodings`` has the tokenizer's record of each window, question and special tokens included. ``firsts`` are the
    numbers of the windows' first tokens among the text's own tokens, from 0.
    """

    text: str
    encodings: tuple[Encoding, ...]
    firsts: tuple[int, ...]


@dataclass(frozen=True)
class WindowTokens(Tokens):
    """A padded batch of windows; ``firsts`` is ``Windows.firsts`` of each row."""

    firsts: tuple[int, ...] = ()


class WindowEncoder(TextEncoder):
    """Tokenizes a question with a text of any length, in windows of ``max_length`` tokens."""

    def windows(self, question: str, text: str, name: str, most_windows: int = sys.maxsize) -> Windows:
        """The windows of ``text``; the question is whole in each. An error's sentence calls the question ``name``.

        Raises RequestError for a question that leaves no room and for a text that no token is left of; TooLarge for
        more than ``most_windows`` windows, before any is made.
        """
        tokenizer = self._tokenizer
        asked, count = map(len, self._plain([question, text]))
        most = self._max_length - tokenizer.num_special_tokens_to_add(True) - 1
        if asked > most:
            raise RequestError(f"{name} has {asked} tokens; at most {most} are taken: shorten it.")
        room = most + 1 - asked
        overlap = min(OVERLAP, room // 2)
        context = f"The context of {name[0].lower()}{name[1:]}"
        if not count:
            raise RequestError(f"{context} has no character that the model knows; send other text.")
        needed = 1 + max(0, -(-(count - room) // (room - overlap)))
        if needed > most_windows:
            raise TooLarge(
                f"{context} makes {needed} windows of {self._max_length} tokens; at most {most_windows} are left in "
                "the request: shorten the question or the context, or send several requests."
            )
        tokenizer.enable_truncation(self._max_length, stride=overlap, strategy="only_second")
        first = tokenizer.encode(question, text)
        encodings = (first, *first.overflowing)
        return Windows(text, encodings, tuple(at * (room - overlap) for at in range(len(encodings))))

    def together(self, items: Sequence[Windows]) -> WindowTokens:
        """One batch of the windows of all items, item after item; of windows, nothing is truncated."""
        encodings = [each for item in items for each in item.encodings]
        tokens = self.padded(encodings, [item.text for item in items])
        return WindowTokens(
            tokens.input_ids, tokens.attention_mask, np.zeros(len(encodings), bool), tokens.token_type_ids,
            tokens.encodings, tokens.texts, tuple(first for item in items for first in item.firsts),
        )  # fmt: skip
