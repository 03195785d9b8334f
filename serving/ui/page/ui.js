"use strict";
// The page of python -m serving.ui. What users and models write is set as text, never as HTML.

const FORMS = {
  "embedding": { fields: [["text", "Text"], ["other", "Another text, to compare (may be empty)"]], show: showEmbedding },
  "fill-mask": { fields: [["text", "Text with [MASK]"]], show: showTokens },
  "text-classification": { fields: [["text", "Text"], ["text_pair", "Second text, for models of pairs (may be empty)"]], show: showLabels },
  "token-classification": { fields: [["text", "Text"]], show: showEntities },
  "question-answering": { fields: [["question", "Question"], ["context", "Context"]], show: showSpan },
  "rerank": { fields: [["query", "Query"], ["texts", "Texts, one a line"]], show: showRanking },
  "image-classification": { image: 1, show: showLabels },
  "image-embedding": { image: 2, show: showEmbedding },
  "null": { fields: [["text", "Text"]], show: () => [element("p", "This model answers nothing: it measures the server alone.")] },
};
const MAY_BE_EMPTY = ["other", "text_pair"];
const EXAMPLES = {
  "other": "A server replies with a document.", "question": "Where is the tower?", "context": "The tower is in Paris, beside the river.",
  "query": "What is the capital of France?", "texts": "Bananas are rich in potassium.\nParis is the capital of France.",
};
const NUMBERS = 8; // of a vector that are shown
const BYTES = 16 << 20;

const $ = (id) => document.getElementById(id);
let models = [], address = "", model = null, files = [];

/** The key of the local server: from the link, then kept for this tab alone, and no longer shown in the address. */
function key() {
  const given = location.hash.slice(1);
  if (given) {
    sessionStorage.setItem("key", given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("key") || "";
}

function element(name, text, attributes = {}, ...children) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function begin() {
  const reply = await fetch("models", { headers: { "X-UI-Key": key() } });
  const found = await reply.json();
  if (!reply.ok) return trouble(found.message);
  ({ models, address } = found);
  $("server").textContent = `Served at ${address}`;
  for (const each of models) $("model").append(element("option", each.name, { value: each.name }));
  $("model").addEventListener("change", choose);
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("ask").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); }
  });
  $("example").addEventListener("click", putExample);
  for (const button of document.querySelectorAll("[data-copies]")) button.addEventListener("click", copy);
  $("ask").hidden = false;
  choose();
}

/** Draws the inputs of the chosen model. */
function choose() {
  model = models.find((each) => each.name === $("model").value);
  const form = FORMS[model.task];
  files = [];
  $("task").textContent = `Task: ${model.task}`;
  $("answer").hidden = $("code").hidden = true;
  trouble(form ? "" : `This page does not know the task ${model.task}.`);
  $("send").disabled = !form;
  $("inputs").replaceChildren(...(form?.fields || []).map(textField), ...Array.from({ length: form?.image || 0 }, (_, at) => imageField(at, form.image)));
  $("options").replaceChildren(...optionFields());
}

function textField([name, label]) {
  return element("div", null, { class: "field" }, element("label", label, { for: `field-${name}` }),
    element("textarea", null, { id: `field-${name}`, name, rows: "3", ...(MAY_BE_EMPTY.includes(name) ? {} : { required: "" }) }));
}

function imageField(at, count) {
  const label = at ? "Another image, to compare (may be left out)" : "Image";
  const input = element("input", null, { type: "file", id: `file-${at}`, accept: "image/jpeg,image/png,image/webp,image/gif,image/bmp" });
  const drop = element("div", null, { class: "drop" }, element("p", "Drop an image here, or choose one:", { class: "hint" }), input,
    element("img", null, { alt: "", hidden: "" }));
  input.addEventListener("change", () => take(at, input.files[0]));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); take(at, event.dataTransfer.files[0]); });
  return element("div", null, { class: "field" }, element("label", label, { for: `file-${at}` }), drop);
}

function take(at, file) {
  if (!file) return;
  trouble(file.size > BYTES ? `${file.name} has more than ${BYTES >> 20} MiB.` : "");
  if (file.size > BYTES) return;
  files[at] = file;
  const held = new DataTransfer();
  held.items.add(file);
  $(`file-${at}`).files = held.files; // names it, also where it was dropped
  const image = document.querySelectorAll(".drop img")[at];
  image.src = URL.createObjectURL(file);
  image.alt = `The chosen image, ${file.name}`;
  image.hidden = false;
}

function optionFields() {
  const found = [];
  const most = { "image-classification": 1000, "fill-mask": 100, "text-classification": 1000, "question-answering": 20 }[model.task];
  if (most) {
    found.push(element("label", "Answers", { for: "top_k" }),
      element("input", null, { type: "number", id: "top_k", min: "1", max: `${most}`, value: `${model.parameters.top_k || 5}` }));
  }
  if (model.task === "token-classification") {
    const strategy = element("select", null, { id: "aggregation_strategy" }, ...["simple", "first", "max"].map((name) => element("option", name, { value: name })));
    strategy.value = model.parameters.aggregation_strategy || "simple";
    found.push(element("label", "A word of several tokens", { for: "aggregation_strategy" }), strategy);
  }
  return found;
}

function parameters() {
  const found = {};
  if ($("top_k")?.value) found.top_k = Number($("top_k").value);
  if ($("aggregation_strategy")) found.aggregation_strategy = $("aggregation_strategy").value;
  return Object.keys(found).length ? { parameters: found } : {};
}

function putExample() {
  if (FORMS[model.task].image) {
    const bytes = Uint8Array.from(atob(model.example.base64 || ""), (letter) => letter.charCodeAt(0));
    const kind = model.example.content_type;
    if (bytes.length) take(0, new File([bytes], `example.${kind.split("/")[1]}`, { type: kind }));
    return;
  }
  let given = { text: model.example.text };
  if (model.example.content_type === "application/json") given = JSON.parse(model.example.text);
  for (const [name] of FORMS[model.task].fields) {
    const value = given[name] ?? EXAMPLES[name];
    if (value !== undefined && name !== "text_pair" || given[name]) $(`field-${name}`).value = Array.isArray(value) ? value.join("\n") : value;
  }
}

const encoded = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1]);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

/** The JSON body of what is in the fields; null where something is missing. */
async function body() {
  if (FORMS[model.task].image) {
    const given = files.filter(Boolean);
    if (!given.length) { trouble("Choose an image first."); $("file-0").focus(); return null; }
    const images = await Promise.all(given.map(encoded));
    return { image: images.length > 1 ? images : images[0], ...parameters() };
  }
  const given = Object.fromEntries(FORMS[model.task].fields.map(([name]) => [name, $(`field-${name}`).value]));
  for (const name of MAY_BE_EMPTY) if (!given[name]) delete given[name];
  if (model.task === "rerank") given.texts = given.texts.split("\n").filter((line) => line.trim());
  if (given.other) return { text: [given.text, given.other] };
  return { ...given, ...parameters() };
}

async function send() {
  if ($("send").disabled || !$("ask").reportValidity()) return;
  trouble("");
  const asked = model, request = await body();
  if (!request) return;
  $("send").disabled = true;
  const began = performance.now();
  try {
    const reply = await fetch(`predictions/${encodeURIComponent(asked.name)}`, {
      method: "POST", headers: { "Content-Type": "application/json", "X-UI-Key": key() }, body: JSON.stringify(request),
    });
    const text = await reply.text();
    if (asked === model) answered(request, reply, text, performance.now() - began);
  } catch {
    trouble("No answer: the page's server has ended. Run make ui again and open the new link.");
  } finally {
    $("send").disabled = false;
  }
}

function answered(request, reply, text, took) {
  let answer;
  try { answer = JSON.parse(text); } catch { answer = { message: text }; }
  const wait = reply.headers.get("Retry-After");
  const why = `${reply.status}: ${answer.message}${wait ? ` Try again in ${wait} s.` : ""}`;
  $("shown").replaceChildren(...(reply.ok ? FORMS[model.task].show(request, answer) : [element("p", why, { class: "error" })]));
  $("json").textContent = JSON.stringify(answer, null, 1);
  showTimes(reply.headers, took);
  showCode(request);
  $("answer").hidden = $("code").hidden = false;
  $("answer").scrollIntoView({ block: "nearest" });
}

function showTimes(headers, took) {
  const rows = [["preprocess", "x-preprocess-ms"], ["inference", "x-inference-ms"], ["postprocess", "x-postprocess-ms"]]
    .filter(([, name]) => headers.get(name)).map(([what, name]) => [`${what}, in the worker`, Number(headers.get(name))]);
  rows.push(["whole, as seen from this page", took]);
  $("times").tBodies[0].replaceChildren(...rows.map(([what, ms]) =>
    element("tr", null, {}, element("th", what, { scope: "row" }), element("td", `${ms.toFixed(ms < 10 ? 2 : 0)} ms`))));
}

// What each task shows. Every function returns elements.

function bars(rows) {
  const most = Math.max(...rows.map(([, score]) => Math.abs(score)), 1e-9);
  return element("ol", null, { class: "bars" }, ...rows.map(([name, score]) => {
    const inner = element("div");
    inner.style.width = `${Math.max(0, score) / Math.max(most, 1) * 100}%`;
    return element("li", null, {}, element("span", name, { class: "name" }), element("div", null, { class: "track", "aria-hidden": "true" }, inner),
      element("span", score.toFixed(4), { class: "score" }));
  }));
}

function showLabels(_, answer) {
  return [bars(answer.predictions.map((each) => [each.label, each.score]))];
}

function showTokens(_, answer) {
  const masks = Array.isArray(answer.predictions[0]) ? answer.predictions : [answer.predictions];
  return masks.flatMap((found, at) => [
    ...(masks.length > 1 ? [element("h3", `Mask ${at + 1}`)] : []), bars(found.map((each) => [each.token, each.score])),
    element("p", found[0].sequence, { class: "passage" }),
  ]);
}

function showEmbedding(_, answer) {
  const vectors = answer.embeddings || [answer.embedding];
  const shown = vectors.map((vector) => element("p", `${vector.slice(0, NUMBERS).map((each) => each.toFixed(4)).join(", ")}, … (${vector.length} numbers)`, { class: "numbers" }));
  return vectors.length > 1 ? [element("p", `Cosine of the two: ${cosine(...vectors).toFixed(4)}`, { id: "cosine" }), ...shown] : shown;
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, each, at) => sum + each * y[at], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** The text with marks; starts and ends count characters as Python does, where JavaScript counts some as two. */
function marked(text, spans) {
  const letters = Array.from(text), shown = element("p", null, { class: "passage" });
  let at = 0;
  for (const { start, end, name } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start < at) continue;
    shown.append(letters.slice(at, start).join(""), element("mark", letters.slice(start, end).join(""), {}, ...(name ? [element("sup", name)] : [])));
    at = end;
  }
  shown.append(letters.slice(at).join(""));
  return shown;
}

function showEntities(request, answer) {
  const found = answer.predictions;
  if (!found.length) return [element("p", "No entity was found.")];
  return [marked(request.text, found.map((each) => ({ ...each, name: each.entity_group }))),
    bars(found.map((each) => [`${each.word} (${each.entity_group})`, each.score]))];
}

function showSpan(request, answer) {
  const found = (Array.isArray(answer) ? answer : [answer]).filter((each) => each.answer);
  if (!found.length) return [element("p", "No answer was found in the context.")];
  return [marked(request.context, [{ ...found[0], name: "" }]), bars(found.map((each) => [each.answer, each.score]))];
}

function showRanking(request, answer) {
  return [bars(answer.map((each) => [request.texts[each.index], each.score]))];
}

// The same request in a shell and in Python. The token comes from make, so that neither has it.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCode(request) {
  const url = `${address}/predictions/${model.name}`;
  const one = files.filter(Boolean).length === 1 && files.find(Boolean);
  $("token-hint").textContent = "Run these in the project's folder; make -s token prints a token that is valid for an hour.";
  const access = `curl -H "Authorization: Bearer $(make -s token)"`;
  const options = Object.entries(request.parameters || {});
  if (FORMS[model.task].image) {
    const names = files.filter(Boolean).map((file) => file.name);
    const form = options.map(([name, value]) => ` -F ${name}=${value}`).join("");
    $("curl").textContent = one ? `${access} -F image=@${quoted(names[0])}${form} ${url}`
      : `${access} -H 'Content-Type: application/json' -d "{\\"image\\": [${names.map((name) => `\\"$(base64 -w0 ${quoted(name)})\\"`).join(", ")}]}" ${url}`;
  } else {
    $("curl").textContent = `${access} -H 'Content-Type: application/json' --data-raw ${quoted(JSON.stringify(request))} ${url}`;
  }
  $("python").textContent = python(request, url);
}

function python(request, url) {
  const literal = (value) => JSON.stringify(value); // strings, numbers and lists are written alike in Python
  let lines = [];
  if (FORMS[model.task].image) {
    const names = files.filter(Boolean).map((file) => file.name);
    const read = names.map((name) => `base64.b64encode(open(${literal(name)}, "rb").read()).decode()`);
    lines = [`body = {"image": ${read.length > 1 ? `[${read.join(", ")}]` : read[0]}${request.parameters ? `, "parameters": ${literal(request.parameters)}` : ""}}`];
  } else {
    lines = [`body = ${literal(request)}`];
  }
  const first = FORMS[model.task].image ? ["import base64"] : [];
  return [...first, "import subprocess", "", "import requests", "",
    `url = ${literal(url)}`, ...lines,
    `token = subprocess.check_output(["make", "-s", "token"], text=True).strip()`,
    `access = {"Authorization": f"Bearer {token}"}`, "reply = requests.post(url, json=body, headers=access, timeout=60)",
    "reply.raise_for_status()", "print(reply.json())"].join("\n");
}

async function copy(event) {
  const name = event.currentTarget.dataset.copies;
  try {
    await navigator.clipboard.writeText($(name).textContent);
    $("copied").textContent = `Copied: ${name}.`;
  } catch {
    $("copied").textContent = "The browser does not allow copying; select the text.";
  }
}

begin().catch(() => trouble("The page's server does not answer; run make ui and open the link that it prints."));
