"""Texts are checked, tokenized once per batch, padded to the longest and cut at the limit with that fact kept."""

import numpy as np
import pytest
from transformers import BertTokenizerFast

from export.text_checkpoint import VOCABULARY
from handlers.errors import RequestError, TooLarge
from handlers.requests import Form, Payload
from handlers.settings import Settings, TensorSpec
from handlers.text import TextEncoder, groups_of_like_length, read_texts


@pytest.fixture(scope="module")
def reference():
    words = VOCABULARY.read_text(encoding="utf-8").splitlines()
    return BertTokenizerFast(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True)


@pytest.fixture(scope="module")
def encoder(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    # Settings that a checkpoint may package and that must not leak into what is served.
    reference.backend_tokenizer.enable_padding(length=64)
    reference.backend_tokenizer.save(str(path))
    reference.backend_tokenizer.no_padding()
    return TextEncoder(path, max_length=16, pad_id=0)


TEXTS = ["Hello, world!", "Ça coûte 12 €", "自然言語処理", "I ❤️ 🍕", "x", "tabs\tand\nlines", "a " * 40]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_transformers(encoder, reference, text):
    assert encoder.encode([text]).input_ids[0].tolist() == reference(text, truncation=True, max_length=16)["input_ids"]


def test_a_batch_is_padded_to_its_longest(encoder):
    tokens = encoder.encode(["one", "one two three four"])
    assert tokens.input_ids.shape == tokens.attention_mask.shape == (2, 6)
    assert tokens.attention_mask.sum(axis=1).tolist() == [3, 6]
    assert (tokens.input_ids[0, 3:] == 0).all()
    assert tokens.input_ids.dtype == np.int64


def test_truncation_is_told(encoder):
    assert encoder.encode(["short", "a " * 40]).truncated.tolist() == [False, True]


def items(*values):
    return Payload(Form.LIST, raw=None, items=values)


@pytest.mark.parametrize(
    ("payload", "error", "says"),
    [
        (Payload(Form.SINGLE, raw=b"\xff\xfeabc"), RequestError, "not UTF-8 text .byte 0 is 0xff"),
        (items("a", 3), RequestError, "Text 1 is a number"),
        (items("a", None), RequestError, "Text 1 is null"),
        (items(" \n\t"), RequestError, "blank"),
        (items("x" * 101), TooLarge, "at most 100"),
        (items("x" * 100, "y" * 100, "z"), TooLarge, "201 characters together; at most 200"),
    ],
)
def test_bad_texts_name_the_item_and_never_quote_it(payload, error, says):
    with pytest.raises(error, match=says):
        read_texts(payload, max_chars=100, max_total_chars=200)


def test_groups_hold_every_row_once_shortest_first_and_pad_none_by_more_than_a_quarter():
    lengths = np.random.default_rng(0).integers(2, 256, 40)
    groups = groups_of_like_length(lengths)
    assert sorted(np.concatenate(groups)) == list(range(40))
    assert all(lengths[group].max() <= 1.25 * lengths[group].min() for group in groups)
    assert [lengths[group[0]] for group in groups] == sorted(lengths[group[0]] for group in groups)
    assert len(groups_of_like_length(np.array([7, 7, 7]))) == 1


@pytest.mark.parametrize(("device", "widths"), [("cpu", [2, 8]), ("gpu", [8])])
def test_on_a_cpu_a_batch_of_unlike_lengths_is_run_in_groups_and_answered_in_order(device, widths):
    from handlers.text_service import TextService

    seen = []

    def runtime(ids, mask, position):
        assert ids.shape == mask.shape and len(position) == len(ids)
        seen.append(ids.shape[1])
        shared[: len(ids), 0] = ids.sum(axis=1)
        return {"sum": shared[: len(ids)], "twice": 2.0 * ids}

    shared = np.zeros((4, 1), np.float32)  # as a runtime that overwrites its last result
    service = TextService()
    outputs = (TensorSpec("sum", ("batch", 1)), TensorSpec("twice", ("batch", "tokens")))
    service.settings = Settings("m", "v", "t", device, "eager", "w", (), outputs)
    service.runtime, service._per_token = runtime, {"twice": True}
    ids, mask = np.zeros((3, 8), np.int64), np.zeros((3, 8), np.int64)
    for row, length in enumerate((8, 2, 7)):
        ids[row, :length], mask[row, :length] = row + 1, 1
    found = service.forward((ids, mask, np.arange(3)))
    assert found["sum"][:, 0].tolist() == [8, 4, 21]
    assert (found["twice"] == 2.0 * ids).all()
    assert seen == widths


@pytest.mark.parametrize("text", ["[MASK] is first", "the [MASK].", "don't [MASK]'s , ok", "it is [MASK]"])
def test_a_place_is_filled_as_the_tokenizer_would_decode_it(encoder, text):
    """Words, parts of words, punctuation that swallows a space, and special tokens, which vanish."""
    ids = encoder.encode([text]).input_ids[0].tolist()
    position, tokens = ids.index(encoder.token_id("[MASK]")), ["cat", "##s", ".", "'", "a", "[SEP]", "##\u00e9"]
    found = encoder.decode_with(ids, position, [token for token in map(encoder.token_id, tokens) if token])
    expected = [
        encoder.decode([*ids[:position], token, *ids[position + 1 :]])
        for token in map(encoder.token_id, tokens)
        if token
    ]
    assert found == expected and len(set(found)) > 4


def test_another_kind_of_tokenizer_fills_a_place_as_well(tmp_path):
    """Byte-pair pieces do not decode one by one: the whole text is decoded for each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = {word: index for index, word in enumerate(["[PAD]", "Ġa", "Ġb", "Ã", "©", "c", "a"])}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = TextEncoder(tmp_path / "tokenizer.json", max_length=16, pad_id=0)
    assert encoder.decode_with([1, 5, 4], 1, [2, 3]) == [" a b\ufffd", " a\u00e9"]
