"""A user's own handler: the contract and the build. Each mistake gives one sentence and a correct handler."""

import shutil
import textwrap
import zipfile

import pytest

from compare import request
from compare.errors import CompareError
from export.archive import read_record
from export.build import ParityError
from export.catalog import CatalogError
from export.dry_run import DryRunError
from export.own_handler import HandlerError, check, code, digest
from export.own_models import model_of_row, own_models
from export.tasks import TASKS, Request, json_request
from tests.conftest import run
from tests.export.image_checkpoints import timm_file
from tests.page_handlers import PAGE, write_embedder, write_handler
from tests.through_archive import build_and_ask

OWN_TASKS = [name for name, task in TASKS.items() if task.kind != "none"]
IMPORT = "from handlers.tasks.embedding import Embedding\n"
SUFFIX = "; a handler of the task embedding is written like this (docs/your-handler.md):"


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return write_embedder(tmp_path_factory.mktemp("checkpoints") / "embedder")


def own(handler, task="embedding", source="/nowhere", **more):
    return model_of_row("mine", {"source": str(source), "task": task, "handler": str(handler), **more})


def body(text):
    """A handler of the embedding task with the lines ``text`` in its class."""
    return f"{IMPORT}from handlers.options import Whole\n\n\nclass Mine(Embedding):\n{textwrap.indent(text, '    ')}\n"


REFUSED = [
    (None, "cannot be read (No such file or directory)"),
    ("", "has no class"),
    ("x = (\n", "is no valid Python in line 1 ('(' was never closed)"),
    ("x = 1\0", "is no valid Python"),
    ("from .other import x\n", "has a relative import in line 1, and an archive has only this file"),
    ("import beside\n", "imports beside, and an archive has only this file: put that code into it, or install it"),
    ("import no_such_package.x\n", "imports no_such_package, which is not installed for"),
    ("import export.build\n", "imports export, which archives do not have"),
    ("import handlers.embedding\n", "imports handlers.embedding, which is no module of this project"),
    (f"{IMPORT}1 / 0\n", "fails in line 2 while it is imported (ZeroDivisionError: division by zero)"),
    ("raise SystemExit('enough')\n", "ended Python while it was imported (enough)"),
    (f"{IMPORT}class A(Embedding): ...\nclass B(Embedding): ...\n", "has the classes A and B; TorchServe takes"),
    ("class A: ...\n", "has the class A, which subclasses object and not Embedding"),
    ("from handlers.tasks.fill_mask import FillMask\nclass A(FillMask): ...\n", "subclasses FillMask and not"),
    (f"{IMPORT}class A(Embedding): ...\ndef handle(data, context): ...\n", "has a function handle"),
    (body("def handle(self, requests, context): ..."), "overrides handle, which is the task's own"),
    (body("def __init__(self): ..."), "overrides __init__, which is the task's own"),
    (body("def preprocess(self, data): ..."), "has preprocess(self, data) where preprocess(self, item, options) is"),
    (body("async def postprocess(self, answer, options): ..."), "has a postprocess that is no plain method"),
    (body("def postprocess(self, answer, options): yield 1"), "has a postprocess that is no plain method"),
    (body("options = [Whole(1, 2)]"), "has options that are no dict"),
    (body("options = {'text': Whole(1, 2)}"), "has the option 'text', a name that the task has already"),
    (body("options = {'n': 3}"), "has the option n of type int; expected Whole, Number or OneOf"),
    (body("options = {'n': Whole(1, 2, default=3)}"), "has an option with the default 3"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_the_error_for_a_broken_contract_is_one_sentence_and_a_correct_handler(tmp_path, text, says):
    path = tmp_path / "mine.py"
    (tmp_path / "beside.py").write_text("")
    if text is not None:
        path.write_text(text)
    with pytest.raises(HandlerError) as caught:
        check(own(path))
    sentence, _, shown = str(caught.value).partition("\n\n")
    assert sentence.startswith(f"{path} ") and sentence.endswith(SUFFIX) and says in sentence and "\n" not in sentence
    compile(textwrap.dedent(shown), "shown", "exec")


@pytest.mark.parametrize("task", OWN_TASKS)
def test_the_handler_in_the_error_keeps_the_contract_and_the_page_names_its_class(tmp_path, task):
    (tmp_path / "json.py").write_text(code(task, "Mine"))  # a name that would hide a library's
    check(own(tmp_path / "json.py", task))
    assert f"`handlers.tasks.{code(task).split()[1].rpartition('.')[2]}.{code(task).split()[3]}`" in PAGE.read_text()


def ask(handler, folder, monkeypatch, tmp_path, *requests, task="embedding", **more):
    """The replies of an eager archive with this handler."""
    store = tmp_path / "store"
    store.mkdir(exist_ok=True)
    more = {"pooling": "mean", **more} if task == "embedding" else more
    return build_and_ask(own(handler, task, folder, **more), "eager", list(requests), store, monkeypatch)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def postprocess(self, answer, options):\n    return answer['vector']",
         ", line 7, in postprocess: IndexError: only integers"),
        ("def postprocess(self, answer, options):\n    return {1, 2}",
         "postprocess returned a value that JSON cannot represent: Type is not JSON serializable: set"),
        ("def postprocess(self, answer, options):\n    answer[:2]", "postprocess returned None, expected the answer"),
        ("def preprocess(self, item, options):\n    return item.encode()",
         "preprocess returned a value of type bytes, expected a value of type str"),
        ("def preprocess(self, item, options):\n    return item[options['n']]",
         ", line 7, in preprocess: KeyError: 'n'"),
        ("def postprocess(self, answer, options):\n    options['seen'] = 1\n    return answer",
         ", line 7, in postprocess: TypeError"),
        ("def load(self):\n    self.names = open('names.txt')",
         ", line 7, in load: FileNotFoundError: [Errno 2] No such file"),
    ],
)  # fmt: skip
def test_a_hook_that_fails_in_the_dry_run_is_named_with_its_line(embedder, monkeypatch, tmp_path, text, says):
    (tmp_path / "mine.py").write_text(body(text))
    with pytest.raises(DryRunError) as caught:
        ask(tmp_path / "mine.py", embedder, monkeypatch, tmp_path)
    first = str(caught.value).splitlines()[0]
    assert says in first and str(tmp_path / "mine.py") in first
    assert list((tmp_path / "store").iterdir()) == []


def test_a_handler_may_refuse_requests_but_not_the_example(embedder, monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text("from handlers.errors import RequestError\n" + body(
        "def preprocess(self, item, options):\n    if 'JSON' not in item:\n        raise RequestError('Say JSON.')\n"
        "    return item"
    ))  # fmt: skip
    asked = ask(tmp_path / "mine.py", embedder, monkeypatch, tmp_path, Request(b"JSON"), Request(b"YAML"))
    assert [reply["status"] for reply in asked] == [200, 400] and asked[1]["body"]["message"] == "Say JSON."
    other = {"example": "YAML is fine."}
    with pytest.raises(ParityError, match=r"its own example is answered 400: Say JSON\."):
        ask(tmp_path / "mine.py", embedder, monkeypatch, tmp_path, **other)


def test_an_image_of_another_shape_is_refused(monkeypatch, tmp_path):
    made = timm_file(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from handlers.tasks.image_classification import ImageClassification\n\n\nclass Mine(ImageClassification):\n"
        "    def preprocess(self, item, options):\n        return item[::2]\n"
    )
    more = {"architecture": made.architecture, "labels": str(made.labels), "task": "image-classification"}
    with pytest.raises(DryRunError, match=r"preprocess returned a uint8 array \[\d+, (\d+), 3\], expected a uint8"):
        ask(tmp_path / "mine.py", made.source, monkeypatch, tmp_path, **more)


def test_expect_needs_the_tasks_form(monkeypatch, tmp_path):
    made = timm_file(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from handlers.tasks.image_classification import ImageClassification\n\n\nclass Mine(ImageClassification):\n"
        "    def postprocess(self, answer, options):\n        return answer[0]['label']\n"
    )
    more = {"architecture": made.architecture, "labels": str(made.labels), "expect": "ant"}
    with pytest.raises(ParityError, match=r"which .*mine\.py changes; leave EXPECT out"):
        ask(tmp_path / "mine.py", made.source, monkeypatch, tmp_path, task="image-classification", **more)


@pytest.mark.parametrize("task", ["fill-mask", "question-answering", "rerank"])
def test_preprocess_comes_before_the_tasks_own_processing(monkeypatch, tmp_path, task):
    """``preprocess`` comes before masks are counted, contexts are split into windows, and texts are ranked."""
    from tests.checkpoints import write_checkpoint, write_cross_encoder

    change, request, expected = {
        "fill-mask": ("item.replace('___', '[MASK]')", Request(b"Paris is the ___ of France."), lambda found: found),
        "question-answering": ("(item[0], item[1].upper())", json_request({"question": "Who?", "context": "ada sang"}),
                               lambda found: found["answer"].isupper()),
        "rerank": ("(item[0], item[1][:2])", json_request({"query": "a", "texts": ["b", "c", "d"]}),
                   lambda found: len(found) == 2),
    }[task]  # fmt: skip
    heads = {"fill-mask": "fill-mask", "question-answering": "span"}
    folder = (write_cross_encoder(tmp_path / "model", "bert") if task == "rerank"
              else write_checkpoint(tmp_path / "model", "bert", heads[task]))  # fmt: skip
    (tmp_path / "mine.py").write_text(
        code(task, "Mine").replace("        return item", f"        return {change}")
    )
    (reply,) = ask(tmp_path / "mine.py", folder, monkeypatch, tmp_path, request, task=task)
    assert reply["status"] == 200 and expected(reply["body"])


def test_a_broken_file_leaves_the_archive_and_the_packed_one_is_up_to_date(embedder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    mine = shutil.move(write_handler(tmp_path, "short_vectors.py"), tmp_path / "elsewhere" / "numpy.py")
    place = {"MODELS_FILE": str(tmp_path / "models.toml"), "MODEL_STORE": str(tmp_path / "store"), "DEVICE": "cpu",
             "VARIANTS": "eager"}  # fmt: skip
    archive = tmp_path / "store" / "short-eager.mar"
    first = run("export", **place, MODEL=str(embedder), POOLING="mean", HANDLER=str(mine), NAME="short")
    assert first.returncode == 0, first.stderr
    (model,) = own_models(tmp_path / "models.toml")
    assert model.handler == str(mine) and f'handler = "{mine}"' in (tmp_path / "models.toml").read_text()
    assert read_record(archive)["handler"] == {"file": "numpy.py", "sha256": digest(model)}
    with zipfile.ZipFile(archive) as packed:
        assert packed.read("user_handler.py") == mine.read_bytes() and "numpy.py" not in packed.namelist()
    before = archive.read_bytes()
    mine.write_text(mine.read_text().replace("class ShortVectors(Embedding)", "class ShortVectors"))
    broken = run("export", **place, MODELS="short")
    assert broken.returncode == 1 and "which subclasses object and not Embedding" in broken.stderr
    assert "    class ShortVectors(Embedding):\n" in broken.stderr and "Traceback" not in broken.stderr
    listed = run("export.list_models", **place)
    assert f"short: answers through {mine} (sha256 {digest(model)[:12]})" in listed.stdout
    mine.unlink()
    gone = run("export", **place, MODELS="short")
    assert gone.returncode == 1 and f"{mine} cannot be read" in gone.stderr
    assert f"short: {mine} cannot be read" in run("export.list_models", **place).stdout
    write_handler(tmp_path / "elsewhere", "short_vectors.py").rename(mine)
    same = run("export", **place, MODELS="short")
    assert same.returncode == 0 and "up to date" in same.stdout and archive.read_bytes() == before


def test_a_changed_file_makes_the_archive_out_of_date(embedder, tmp_path):
    from export.catalog import Row, variant
    from export.fingerprint import fingerprint
    from export.weights import Choice

    mine = write_handler(tmp_path, "short_vectors.py")
    row = Row(own(mine, source=embedder), variant("eager")[0])
    before = fingerprint(row, "cpu", Choice())
    mine.write_text(mine.read_text() + "# another line\n")
    assert fingerprint(row, "cpu", Choice()) != before


def test_a_handler_of_a_built_in_model_is_refused(tmp_path):
    (tmp_path / "models.toml").write_text("[minilm]\nhandler = '/mine.py'\n")
    with pytest.raises(CatalogError, match="has a handler and no source"):
        own_models(tmp_path / "models.toml")


def test_make_compare_refuses_a_model_with_its_own_handler(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    (tmp_path / "models.toml").write_text("[mine]\nsource = '/x'\ntask = 'embedding'\nhandler = '/mine.py'\n")
    with pytest.raises(CompareError, match=r"MODELS=mine answers through /mine\.py, which the peers do not run"):
        request.read({"MODELS": "mine"})
