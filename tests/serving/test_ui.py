"""The page to try models: its local server lets only the page predict, and a real Chromium shows real answers."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from serving.ui.__main__ import shown
from serving.ui.server import KEY, Local
from tests import chromium
from tests.conftest import ROOT, run
from tests.trust.place import place

pytestmark = pytest.mark.served
SEVEN = ROOT / "handlers/samples/seven.png"


@contextmanager
def ended_later(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def ui(served):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("serving.ui.__main__.STORE", ROOT.joinpath(served.environment["MODEL_STORE"]))
        about = shown(served.config, served.directory)
    with ended_later(Local(0, about, served.client)) as server:
        yield server


def ask(ui, method, path, body=None, **headers):
    """(status, headers, body) of the local server's answer; a header of None is left out."""
    own = {"Host": f"127.0.0.1:{ui.server_port}", KEY: ui.shown.key}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {name: value for name, value in {**own, **given}.items() if value is not None}
    connection = http.client.HTTPConnection("127.0.0.1", ui.server_port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in given and "Transfer-Encoding" not in given:
            given["Content-Length"] = str(len(body))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def predict(ui, name="null", body=b"hello", **headers):
    return ask(ui, "POST", f"/predictions/{name}", body, **{"Content_Type": "text/plain", **headers})


def test_a_prediction_is_that_of_the_server(ui, served):
    body = json.dumps({"text": ["one", "two"]}).encode()
    status, headers, answer = predict(ui, "minilm-torchscript", body, Content_Type="application/json")
    expected = served.client.predict("minilm-torchscript", body, "application/json").json()
    assert status == 200 and json.loads(answer)["embeddings"][1] == pytest.approx(expected["embeddings"][1], abs=1e-5)
    assert headers["x-variant"] == "torchscript" and float(headers["x-inference-ms"]) > 0
    assert predict(ui, "bert-eager", b"no mask")[0] == 400


@pytest.mark.parametrize("key", [None, "", "wrong", "é"])
def test_without_the_key_there_is_nothing_but_the_page(ui, key):
    given = {KEY.replace("-", "_"): key and key.encode("latin-1").decode("latin-1")}
    assert ask(ui, "GET", "/models", **given)[0] == predict(ui, **given)[0] == 401
    assert ask(ui, "GET", "/", **given)[0] == 200


@pytest.mark.parametrize(
    "host", [None, "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"]
)
def test_a_foreign_name_for_loopback_is_refused(ui, host):
    named = {"Host": host and host.format(port=ui.server_port)}
    for path in ("/", "/ui.js", "/models"):
        assert ask(ui, "GET", path, **named)[0] == 421
    assert predict(ui, **named)[0] == 421


def test_localhost_is_loopback(ui):
    assert predict(ui, Host=f"localhost:{ui.server_port}", Origin=f"http://localhost:{ui.server_port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_another_origin_is_refused_and_no_answer_allows_one(ui, origin):
    origin = origin.format(port=ui.server_port)
    asked = [predict(ui, Origin=origin), ask(ui, "GET", "/models", Origin=origin),
             ask(ui, "OPTIONS", "/predictions/null", Origin=origin, Access_Control_Request_Method="POST")]  # fmt: skip
    assert [status for status, _, _ in asked] == [403, 403, 501]
    assert not [name for _, headers, _ in asked for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "path", ["/predictions/nope", "/predictions/null/1.0", "/v2/models/null/infer", "/predictions/..%2Fping", "/token",
             "/predictions/../models", "http://127.0.0.1/predictions/null?x"]
)  # fmt: skip
def test_nothing_but_predictions_of_the_served_models_is_passed_on(ui, path):
    status, _, answer = ask(ui, "POST", path, b"hello")
    assert status == 404 and json.loads(answer)["message"] == "There is no such model."  # TorchServe was not asked
    assert ask(ui, "GET", path)[0] == 404


def test_bodies_have_one_length_within_the_limit(ui):
    assert predict(ui, Content_Length="16777217")[0] == 413
    assert predict(ui, body=None)[0] == predict(ui, Content_Length="+5")[0] == 411
    assert predict(ui, Content_Length="5", Transfer_Encoding="chunked")[0] == 411


def test_neither_token_nor_key_is_in_any_answer(ui, served):
    tokens = [served.client.token(kind) for kind in ("inference", "management")]
    asked = [ask(ui, "GET", path) for path in ("/", "/ui.js", "/ui.css", "/models")] + [
        predict(ui),
        predict(ui, "nope"),
    ]
    said = "".join(f"{headers}{body.decode()}" for _, headers, body in asked)
    assert not [secret for secret in (*tokens, ui.shown.key) if secret in said]
    assert all("default-src 'none'" in headers["Content-Security-Policy"] for _, headers, _ in asked)
    assert all(headers["Cache-Control"] == "no-store" for _, headers, _ in asked)
    assert ui.server_address[0] == "127.0.0.1"


def test_two_starts_have_two_keys(served, ui):
    assert len({ui.shown.key, type(ui.shown)("", [], 0).key, type(ui.shown)("", [], 0).key}) == 3 < len(ui.shown.key)


def test_without_a_server_or_a_port_one_sentence_says_what_to_do(served, tmp_path, ui):
    absent = run("serving.ui", RUN_DIR=str(tmp_path), CONFIG=served.environment["CONFIG"])
    assert (absent.returncode, absent.stderr) == (1, "TorchServe is not running; run: make serve\n")
    taken = run("serving.ui", **served.environment, UI_PORT=str(ui.server_port))
    assert taken.returncode == 1 and "name another: make ui UI_PORT=" in taken.stderr
    wrong = run("serving.ui", **served.environment, UI_PORT="page")
    assert wrong.returncode == 1 and wrong.stderr.startswith("UI_PORT=page is no port")


def test_serve_with_ui_continues_as_the_page(null_store, tmp_path):
    with place(tmp_path, null_store) as made:
        environment = {**os.environ, **made.environment, "UI": "1", "UI_PORT": "0"}
        command = [sys.executable, "-m", "serving", "serve"]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                link = next(line.split()[1] for line in process.stdout if line.startswith("Open http"))
                with urllib.request.urlopen(link.partition("#")[0], timeout=60) as page:
                    assert b"<title>" in page.read()
                assert process.poll() is None and made.client.predict("null", b"x", "text/plain").status_code == 200
            finally:
                process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        assert made.client.predict("null", b"x", "text/plain").status_code == 200  # the server keeps running


@pytest.mark.parametrize(
    ("given", "says"),
    [({"UI": "yes"}, "UI=yes is neither 0 nor 1"), ({"UI": "1", "FOREGROUND": "1"}, "give one of them")],
)
def test_serve_refuses_contradictory_variables(tmp_path, given, says):
    refused = run("serving", "serve", RUN_DIR=str(tmp_path), MODEL_STORE=str(tmp_path), **given)
    assert refused.returncode == 1 and says in refused.stderr and not refused.stdout


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (chromium.CHROMIUM and chromium.DRIVER):
        pytest.skip("chromium and chromium-driver are not installed")
    with chromium.started(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(browser, ui):
    chromium.show(browser, ui.link)
    until(browser, lambda _: browser.find_elements(By.CSS_SELECTOR, "#model option"))
    yield browser
    assert browser.get_log("browser") == []
    own = f"http://127.0.0.1:{ui.server_port}/"
    assert all(url.startswith((own, "data:", "blob:", "about:")) for url in chromium.asked_for(browser))


def until(browser, condition):
    return WebDriverWait(browser, 60).until(condition)


def choose(page, name):
    Select(page.find_element(By.ID, "model")).select_by_value(name)


def send(page):
    page.find_element(By.ID, "send").click()
    until(
        page,
        lambda _: page.find_element(By.ID, "answer").is_displayed() and page.find_element(By.ID, "send").is_enabled(),
    )


def bars(page):
    rows = page.find_elements(By.CSS_SELECTOR, "#shown .bars li")
    return [(row.find_element(By.CLASS_NAME, "name").text, float(row.find_element(By.CLASS_NAME, "score").text))
            for row in rows]  # fmt: skip


def test_the_key_leaves_the_address_and_a_page_without_it_says_so(page, ui):
    assert page.current_url == f"http://127.0.0.1:{ui.server_port}/"
    page.refresh()
    until(page, lambda _: page.find_elements(By.CSS_SELECTOR, "#model option"))  # kept for the tab
    page.execute_script("sessionStorage.clear()")
    page.refresh()
    trouble = page.find_element(By.ID, "trouble")
    until(page, lambda _: "open the link that make ui printed" in page.find_element(By.ID, "trouble").text)
    assert not page.find_element(By.ID, "ask").is_displayed() and trouble is not None
    page.get_log("browser")  # the 401


def test_an_image_has_a_bar_for_each_class_and_its_times(page):
    choose(page, "digits-torchscript")
    page.find_element(By.ID, "file-0").send_keys(str(SEVEN))
    page.find_element(By.ID, "top_k").clear()
    page.find_element(By.ID, "top_k").send_keys("3")
    send(page)
    found = bars(page)
    assert len(found) == 3 and found[0][0] == "7" and found[0][1] > 0.5
    times = [row.text for row in page.find_elements(By.CSS_SELECTOR, "#times tr")]
    assert len(times) == 4 and all(each.endswith(" ms") for each in times)
    widths = [bar.rect["width"] for bar in page.find_elements(By.CSS_SELECTOR, ".track > div")]
    assert widths[0] > widths[1] >= widths[2]


def test_two_texts_have_a_cosine(page, served):
    choose(page, "minilm-torchscript")
    page.find_element(By.ID, "field-text").send_keys("A cat sits.")
    page.find_element(By.ID, "field-other").send_keys("A cat is sitting.")
    send(page)
    body = json.dumps({"text": ["A cat sits.", "A cat is sitting."]}).encode()
    first, second = served.client.predict("minilm-torchscript", body, "application/json").json()["embeddings"]
    cosine = sum(a * b for a, b in zip(first, second, strict=True))
    assert float(page.find_element(By.ID, "cosine").text.rpartition(" ")[2]) == pytest.approx(cosine, abs=1e-3)


def test_the_keyboard_is_enough_and_a_mistake_is_told(page):
    choose(page, "bert-eager")
    text = page.find_element(By.ID, "field-text")
    text.send_keys("no such word", Keys.CONTROL, Keys.ENTER)
    until(page, lambda _: page.find_elements(By.CSS_SELECTOR, "#shown .error"))
    assert page.find_element(By.CSS_SELECTOR, "#shown .error").text.startswith("400: Text 0 has no [MASK]")
    text.clear()
    text.send_keys("Paris is the [MASK] of France. <b>", Keys.TAB, Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "send"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    until(page, lambda _: bars(page))
    assert bars(page)[0][0] == "capital" and not page.find_elements(By.CSS_SELECTOR, "#shown b")
    page.get_log("browser")  # the 400


def test_every_control_has_a_name_and_the_answer_is_announced(page):
    for name in ("digits-torchscript", "minilm-torchscript", "bert-eager"):
        choose(page, name)
        controls = page.find_elements(By.CSS_SELECTOR, "select, input, textarea, button")
        assert all(each.accessible_name for each in controls if each.is_displayed())
    assert page.find_element(By.ID, "shown").get_attribute("aria-live") == "polite"
    assert page.find_element(By.ID, "trouble").get_attribute("role") == "alert"


@pytest.mark.parametrize("name", ["digits-torchscript", "minilm-torchscript", "bert-eager", "null"])
def test_the_example_is_answered_and_a_phone_does_not_scroll_sideways(page, name):
    chromium.width(page, 390)
    choose(page, name)
    page.find_element(By.ID, "example").click()
    if name.startswith("digits"):
        until(page, lambda _: page.find_element(By.CSS_SELECTOR, ".drop img").is_displayed())
    send(page)
    assert not page.find_elements(By.CSS_SELECTOR, "#shown .error")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390


def test_the_shown_commands_give_the_shown_answer(page, served, tmp_path):
    make = tmp_path / "make"
    make.write_text(f"#!/bin/sh\necho {served.client.token()}\n")
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / "it's 7.png").write_bytes(SEVEN.read_bytes())
    for name in ("digits-torchscript", "bert-eager"):
        choose(page, name)
        if name.startswith("digits"):
            page.find_element(By.ID, "file-0").send_keys(str(tmp_path / "it's 7.png"))
        else:
            page.find_element(By.ID, "field-text").send_keys('It\'s the "[MASK]" of\nFrance: déjà $vu `ls`')
        send(page)
        shown = json.loads(page.find_element(By.ID, "json").get_attribute("textContent"))
        curl, code = (page.find_element(By.ID, each).text for each in ("curl", "python"))
        for command in (
            ["bash", "-c", f"{curl} -s"],
            [sys.executable, "-c", code.replace("reply.json()", "reply.text")],
        ):
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
            labels = [next(iter(each.values())) for each in json.loads(done.stdout)["predictions"]]
            assert labels == [next(iter(each.values())) for each in shown["predictions"]], done.stderr


def test_entities_spans_and_ranks_are_shown_where_the_server_says_they_are(page):
    draw = "document.getElementById('shown').replaceChildren(...FORMS[arguments[0]].show(arguments[1], arguments[2]));"
    draw += "document.getElementById('answer').hidden = false"
    text = "😀 Ada went to <i>London</i>."
    entities = [{"entity_group": "LOC", "score": 0.9, "word": "london", "start": 17, "end": 23},
                {"entity_group": "PER", "score": 0.8, "word": "ada", "start": 2, "end": 5}]  # fmt: skip
    assert [text[each["start"] : each["end"]] for each in entities] == ["London", "Ada"]  # as the server counts
    page.execute_script(draw, "token-classification", {"text": text}, {"predictions": entities})
    marks = [mark.text for mark in page.find_elements(By.CSS_SELECTOR, "#shown mark")]
    assert marks == ["AdaPER", "LondonLOC"] and page.find_element(By.CSS_SELECTOR, "#shown .passage").text.endswith(
        "</i>."
    )
    found = {"answer": "London", "score": 0.7, "start": 17, "end": 23}
    page.execute_script(draw, "question-answering", {"question": "Where?", "context": text}, [found])
    assert [mark.text for mark in page.find_elements(By.CSS_SELECTOR, "#shown mark")] == ["London"]
    page.execute_script(
        draw, "rerank", {"query": "x", "texts": ["a", "b"]}, [{"index": 1, "score": 0.5}, {"index": 0, "score": 0.1}]
    )
    assert [name for name, _ in bars(page)] == ["b", "a"]
    page.execute_script(draw, "image-embedding", {}, {"embeddings": [[1.0, 0.0], [0.0, 2.0]]})
    assert page.find_element(By.ID, "cosine").text.endswith(" 0.0000")


def test_the_page_knows_every_task(page):
    from export.tasks import TASKS

    assert set(page.execute_script("return Object.keys(FORMS)")) == set(TASKS)
