"""Texts are checked, tokenized once per batch, padded to the longest, and truncated at the limit. Truncated texts are
marked."""

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import BertTokenizerFast

from export.text_checkpoint import VOCABULARY
from handlers.errors import RequestError, TooLarge
from handlers.requests import Form, Payload
from handlers.settings import Settings, TensorSpec
from handlers.text import TextEncoder, groups_of_like_length, read_texts
from handlers.windows import WindowEncoder
from tests import checkpoints


@pytest.fixture(scope="module")
def reference():
    words = VOCABULARY.read_text(encoding="utf-8").splitlines()
    return BertTokenizerFast(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True)


@pytest.fixture(scope="module")
def encoder(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    # A checkpoint's tokenizer may have these settings. They must not affect the encoder.
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


def test_truncation_is_marked(encoder):
    assert encoder.encode(["short", "a " * 40]).truncated.tolist() == [False, True]


def saved(family, folder):
    checkpoints.tokenizer_of(family).backend_tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.mark.parametrize("length", [6, 16, 64])
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_pairs_are_encoded_as_the_tokenizer_itself_does(tmp_path, family, length):
    """For WordPiece, byte-level BPE and Unigram. One text, both or none exceed the limit."""
    file = saved(family, tmp_path)
    encoder, ordinary = TextEncoder(file, length, 0), Tokenizer.from_file(str(file))
    ordinary.no_padding()
    ordinary.enable_truncation(length)
    drawn = np.random.default_rng(0)
    words = np.array(["rain", "soup", "déjà", "x", "🍕", "unbelievable", "12", "—"])
    pairs = [
        tuple(" ".join(drawn.choice(words, drawn.choice([0, 1, 2, 5, 10, 40]))) for _ in range(2)) for _ in range(100)
    ]
    pairs += [("rain " * many, "soup " * more) for many in range(1, 9) for more in range(1, 9)]
    found, wanted = encoder.encode(pairs), ordinary.encode_batch(pairs)
    assert found.truncated.tolist() == [bool(each.overflowing) for each in wanted]
    assert len(set(found.truncated.tolist())) == 2 or length == 6
    for row, each in enumerate(wanted):
        kept = found.attention_mask[row] == 1
        assert found.input_ids[row][kept].tolist() == each.ids
        assert found.token_type_ids[row][kept].tolist() == each.type_ids


def test_texts_and_pairs_of_one_batch_stay_in_order(encoder):
    mixed = ["one", ("two", "three"), "four " * 40, ("five " * 40, "six"), "seven"]
    together = encoder.encode(mixed)
    for row, item in enumerate(mixed):
        alone = encoder.encode([item])
        assert together.input_ids[row][together.attention_mask[row] == 1].tolist() == alone.input_ids[0].tolist()
        assert together.truncated[row] == alone.truncated[0]


def test_a_pair_that_fails_leaves_truncation_as_it_was(tmp_path):
    encoder = TextEncoder(saved("bert", tmp_path), 16, 0)
    with pytest.raises(TypeError):
        encoder.encode([("rain", 7)])
    assert encoder.encode(["rain " * 40]).input_ids.shape == (1, 16)


def test_a_pair_of_long_texts_does_not_make_all_combinations_of_their_parts(tmp_path):
    class Counting(TextEncoder):
        def padded(self, encodings, texts=()):
            self.pieces = sum(1 + len(each.overflowing) for each in encodings)
            return super().padded(encodings, texts)

    encoder = Counting(saved("bert", tmp_path), 16, 0)
    tokens = encoder.encode([("rain " * 600, "soup " * 600)])
    assert tokens.input_ids.shape == (1, 16) and tokens.truncated.all()
    assert encoder.pieces < 20  # the product has 8,000


@pytest.mark.parametrize("asked", [1, 3, 11, 12])
def test_windows_are_counted_before_they_are_made(tmp_path, asked):
    encoder = WindowEncoder(saved("bert", tmp_path), 16, 0)
    question = "rain " * asked
    for count in range(1, 60):
        made = len(encoder.windows(question, "soup " * count, "The question", 60).encodings)
        assert len(encoder.windows(question, "soup " * count, "The question", made).encodings) == made
        with pytest.raises(TooLarge, match=f"The context of the question makes {made} windows of 16 tokens; at most"):
            encoder.windows(question, "soup " * count, "The question", made - 1)


def test_a_question_that_leaves_room_for_one_token_is_refused_before_its_windows_are_made(tmp_path, monkeypatch):
    class WithoutPairs:
        """A tokenizer that encodes single texts but not pairs."""

        def __init__(self, file):
            self._tokenizer = Tokenizer.from_file(file)

        def __getattr__(self, name):
            if name == "encode":
                raise AssertionError("a window was made")
            return getattr(self._tokenizer, name)

        from_file = classmethod(lambda cls, file: cls(file))

    monkeypatch.setattr("handlers.text.Tokenizer", WithoutPairs)
    encoder = WindowEncoder(saved("bert", tmp_path), 512, 0)
    with pytest.raises(TooLarge, match="makes 10000 windows of 512 tokens; at most 64 are left"):
        encoder.windows("rain " * 508, "soup " * 10_000, "The question", 64)


def test_a_context_without_tokens_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"^The context of question 1 has no character that the model knows; send"):
        WindowEncoder(saved("bert", tmp_path), 16, 0).windows("Who?", "\u200b", "Question 1", 9)


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


def test_groups_have_each_row_once_and_pad_no_row_by_more_than_a_quarter():
    lengths = np.random.default_rng(0).integers(2, 256, 40)
    groups = groups_of_like_length(lengths)
    assert sorted(np.concatenate(groups)) == list(range(40))
    assert all(lengths[group].max() <= 1.25 * lengths[group].min() for group in groups)
    assert [lengths[group[0]] for group in groups] == sorted(lengths[group[0]] for group in groups)
    assert len(groups_of_like_length(np.array([7, 7, 7]))) == 1


@pytest.mark.parametrize(("device", "widths"), [("cpu", [2, 8]), ("gpu", [8])])
def test_on_a_cpu_a_batch_of_different_lengths_runs_in_groups_and_keeps_its_order(device, widths):
    from handlers.text_service import TextService

    seen = []

    def runtime(ids, mask, position):
        assert ids.shape == mask.shape and len(position) == len(ids)
        seen.append(ids.shape[1])
        shared[: len(ids), 0] = ids.sum(axis=1)
        return {"sum": shared[: len(ids)], "twice": 2.0 * ids}

    shared = np.zeros((4, 1), np.float32)  # a runtime may overwrite its last result
    service = TextService()
    outputs = (TensorSpec("sum", ("batch", 1)), TensorSpec("twice", ("batch", "tokens")))
    service.settings = Settings("m", "v", "t", device, "eager", "w", (), outputs)
    service.runtime, service._per_token = runtime, frozenset({"twice"})
    ids, mask = np.zeros((3, 8), np.int64), np.zeros((3, 8), np.int64)
    for row, length in enumerate((8, 2, 7)):
        ids[row, :length], mask[row, :length] = row + 1, 1
    found = service.forward((ids, mask, np.arange(3)))
    assert found["sum"][:, 0].tolist() == [8, 4, 21]
    assert (found["twice"] == 2.0 * ids).all()
    assert seen == widths


def filled(encoder, ids, place, tokens):
    return encoder.decode_with(ids, place, tokens, encoder.around(ids, place))


TEXTS = ["[MASK] is first", "the [MASK].", "don't [MASK]'s , ok", "it is [MASK]", "##s [UNK] [MASK] a ##s . ! ##x"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_filled_mask_is_decoded_as_by_the_tokenizer(encoder, text):
    """The tokens are words, parts of words, punctuation without a space before it, and special tokens, which are left
    out."""
    ids = encoder.encode([text]).input_ids[0].tolist()
    position, tokens = ids.index(encoder.token_id("[MASK]")), ["cat", "##s", ".", "'", "a", "[SEP]", "##\u00e9"]
    found = filled(encoder, ids, position, [token for token in map(encoder.token_id, tokens) if token])
    expected = [
        encoder.decode([*ids[:position], token, *ids[position + 1 :]])
        for token in map(encoder.token_id, tokens)
        if token
    ]
    assert found == expected and len(set(found)) > 4


def test_a_byte_pair_tokenizer_also_fills_a_mask(tmp_path):
    """Byte-pair tokens cannot be decoded one by one, so the whole text is decoded for each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = {word: index for index, word in enumerate(["[PAD]", "Ġa", "Ġb", "Ã", "©", "c", "a"])}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = TextEncoder(tmp_path / "tokenizer.json", max_length=16, pad_id=0)
    assert filled(encoder, [1, 5, 4], 1, [2, 3]) == [" a b\ufffd", " a\u00e9"]
