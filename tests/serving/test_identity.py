"""Archives are identified by their content, not by their names. MODELS and VARIANTS choose among them."""

import zipfile

import pytest

from serving.choice import words
from serving.errors import ServingError
from serving.identity import Identity, identity
from serving.store import archives, chosen, sha256
from tests.conftest import run
from tests.serving.plain_archives import ours

MANIFEST = '{"model": {"modelName": "other-net", "modelVersion": "1.0", "handler": "x.py"}}'


@pytest.fixture
def store(tmp_path):
    """Models and variants with dashes in their names; one model's name is the beginning of another's."""
    ours(tmp_path, "reviews-bert-eager", "reviews-bert", "eager")
    ours(tmp_path, "reviews-bert-my-int8", "reviews-bert", "my-int8")
    ours(tmp_path, "reviews-eager", "reviews", "eager")
    ours(tmp_path, "null", "null", "null", task="null")
    with zipfile.ZipFile(tmp_path / "other-net.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", MANIFEST)
    return tmp_path


def test_an_identity_is_read_from_the_archive(store):
    assert identity(store / "reviews-bert-my-int8.mar") == Identity(
        "reviews-bert-my-int8", "reviews-bert", "my-int8", "embedding", True
    )
    assert identity(store / "null.mar") == Identity("null", "null", "", "null", True)
    assert identity(store / "other-net.mar") == Identity("other-net", "other-net")


@pytest.mark.parametrize(
    ("models", "variants", "expected"),
    [
        ("", "", "null other-net reviews-bert-eager reviews-bert-my-int8 reviews-eager"),
        ("reviews", "", "reviews-eager"),
        ("reviews-bert", "", "reviews-bert-eager reviews-bert-my-int8"),
        ("reviews-bert,null", "my-int8", "null reviews-bert-my-int8"),
        ("other-net", "eager", "other-net"),
        ("", "my-int8", "null other-net reviews-bert-my-int8"),
    ],
)
def test_models_and_variants_choose_by_identity(store, models, variants, expected):
    assert [each.name for each in chosen(store, words(models), words(variants))] == expected.split()


@pytest.mark.parametrize(
    ("models", "variants", "says"),
    [
        ("reviews-brt", "", "no archive of the model 'reviews-brt', but of: null, other-net, reviews, reviews-bert; "
         "run: make archive MODELS=reviews-brt"),
        ("", "onnx", "no archive of the variant 'onnx', but of: eager, my-int8; run: make archive VARIANTS=onnx"),
        ("reviews,reviews-bert", "my-int8", "holds reviews as eager, not as my-int8; "
         "run: make archive MODELS=reviews VARIANTS=my-int8"),
    ],
)  # fmt: skip
def test_a_name_that_the_store_lacks_is_refused_with_what_is_there(store, models, variants, says):
    refused = run("serving", "serve", MODELS=models, VARIANTS=variants, MODEL_STORE=str(store),
                  RUN_DIR=str(store / "run"))  # fmt: skip
    assert refused.returncode == 1 and says in refused.stderr and refused.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["a,b", "a b", " a , b,", "a,\tb\n"])
def test_commas_and_blanks_separate_names(text):
    assert words(text) == ["a", "b"]


def test_an_archive_of_others_needs_no_digest_but_fits_the_one_it_has(store):
    assert "other-net" in archives(store)
    (store / "other-net.mar.sha256").write_text("0" * 64 + "  other-net.mar\n")
    with pytest.raises(ServingError, match=r"other-net\.mar is not what was built"):
        archives(store)


def test_an_archive_of_others_with_a_digest_needs_a_manifest_too(store):
    holding("model.pt", "x")(store)
    (store / "other-net.mar.sha256").write_text(f"{sha256(store / 'other-net.mar')}  other-net.mar\n")
    with pytest.raises(ServingError, match="is no TorchServe archive"):
        archives(store)


def holding(name, text):
    """Makes other-net.mar an archive with this entry alone."""

    def change(store):
        with zipfile.ZipFile(store / "other-net.mar", "w") as archive:
            archive.writestr(name, text)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda store: (store / "other-net.mar").write_text("no zip"), r"other-net\.mar .* cannot be read"),
        (holding("model.pt", "x"), r"other-net\.mar is no TorchServe archive"),
        (holding("MAR-INF/MANIFEST.json", '{"runtime": "python"}'), r"other-net\.mar is no TorchServe archive"),
        (holding("MAR-INF/MANIFEST.json", "[1]"), r"other-net\.mar .* cannot be read"),
        (holding("MAR-INF/MANIFEST.json", "{"), r"other-net\.mar .* cannot be read"),
        (holding("model-config.yaml", "a: [1"), r"other-net\.mar .* cannot be read"),
        (lambda store: (store / "other-net.mar").rename(store / "other net.mar"), r"other net\.mar: an archive's name"),
        (lambda store: (store / "null.mar.sha256").unlink(), r"null\.mar is not what was built"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(store, change, says):
    change(store)
    with pytest.raises(ServingError, match=says):
        archives(store)


def test_a_replaced_archive_is_read_again(store):
    assert identity(store / "reviews-eager.mar").variant == "eager"
    ours(store, "reviews-eager", "reviews", "frozen-in-time")
    assert identity(store / "reviews-eager.mar").variant == "frozen-in-time"


def test_a_signed_store_takes_no_archive_of_others_without_a_signature(store, monkeypatch):
    monkeypatch.setenv("STORE_KEY", str(store / "key.pub"))
    with pytest.raises(ServingError, match=r"sha256sum other-net\.mar > other-net\.mar\.sha256 && minisign -Sm"):
        archives(store, ["other-net"])
