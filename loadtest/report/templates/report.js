// Draws the load test's charts and switches load points. Knows how series look; their numbers come from the data.

const models = JSON.parse(document.getElementById("data").textContent);
const STAGES = [
  ["client_queue", "client queue"], ["network_and_queue", "network, front end, queue"], ["preprocess", "preprocess"],
  ["inference", "inference"], ["postprocess", "postprocess"],
];
const DASHES = ["solid", "dot", "dash", "dashdot"];
const nines = q => -Math.log10(1 - q / 100);
function floorLine(floor) {
  if (!floor) return [];
  return [{type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor, line: {color: style("--floor"), width: 1.5, dash: "dash"}}];
}

function errorBars(points, name, tint) {
  const parts = side => points.map(point => point[`${name}_ci`] ? Math.abs(point[`${name}_ci`][side] - point[name]) : 0);
  return {type: "data", symmetric: false, array: parts(1), arrayminus: parts(0), color: tint, thickness: 1, width: 2};
}

function curve(model) {
  const traces = model.archives.flatMap((archive, index) => ["p50", "p99"].map(name => {
    const points = model.curve[archive].filter(point => point[name] !== null), tint = colour(index), first = name === "p50";
    return {
      x: points.map(point => point.rps), y: points.map(point => point[name]), type: "scatter", mode: "lines+markers+text",
      text: points.map(point => first ? point.users : ""), textposition: "bottom right", textfont: {size: 10.5, color: style("--soft")},
      customdata: points.map(point => point.users), error_y: errorBars(points, name, tint), cliponaxis: false,
      line: {color: tint, width: first ? 2 : 1.2, dash: first ? "solid" : "dot"},
      marker: {size: first ? 7 : 6, color: first ? tint : style("--card"), line: {color: tint, width: 1.4}},
      meta: archive, hovertemplate: `${archive}<br>%{customdata} at a time<br>${name} %{y:.2f} ms at %{x:.1f}/s<extra></extra>`,
    };
  }));
  const values = [...traces.flatMap(trace => trace.y), model.floor.p50];
  return [traces, layout({
    xaxis: axis("requests/s", {rangemode: "tozero"}), yaxis: logAxis("ms (p50 solid, p99 dotted)", values), shapes: floorLine(model.floor.p50),
  })];
}

function distribution(model, point) {
  const traces = model.archives.filter(name => point.distribution[name]).map(name => ({
    x: point.distribution[name][0].map(nines), y: point.distribution[name][1], customdata: point.distribution[name][0],
    type: "scatter", mode: "lines", line: {color: colour(model.archives.indexOf(name)), width: 2, shape: "linear"},
    meta: name, hovertemplate: `${name}<br>p%{customdata:.2f}: %{y:.2f} ms<extra></extra>`,
  }));
  const ticks = [0, 50, 90, 99, 99.9, 99.99], values = [...traces.flatMap(trace => trace.y), model.floor.p50];
  return [traces, layout({
    xaxis: axis("percentile", {tickvals: ticks.map(nines), ticktext: ticks.map(q => String(q)), rangemode: "tozero"}),
    yaxis: logAxis("ms", values), shapes: floorLine(model.floor.p50),
  })];
}

// The stages that take any time. A closed loop has no client queue, and the legend must not name a stage that is not drawn.
function shownStages(splits) {
  return STAGES.map(([stage, label], index) => [stage, label, index]).filter(([stage]) => splits.some(split => split[stage] > 0));
}

function stages(model, point) {
  const named = model.archives.filter(name => point.stages[name]).map(name => [name, point.stages[name]]);
  const bars = model.floor.stages ? [...named, ["null floor", model.floor.stages]] : named;
  const traces = shownStages(bars.map(([, split]) => split)).map(([stage, label, index]) => ({
    y: bars.map(([name]) => name), x: bars.map(([, split]) => split[stage]), name: label, type: "bar", orientation: "h", width: 0.5,
    marker: {color: style(`--stage-${index}`)}, hovertemplate: `%{y}<br>${label} %{x:.3f} ms<extra></extra>`,
  }));
  return [traces, layout({barmode: "stack", bargap: 0.4, xaxis: axis("ms, mean"), yaxis: axis("", {autorange: "reversed", gridcolor: "rgba(0,0,0,0)"})})];
}

function windows(model, point) {
  const traces = model.archives.filter(name => point.windows[name]).flatMap(name => point.windows[name].flatMap((trial, round) =>
    [["rps", "y2", "/s"], ["p50", "y", " ms"]].map(([key, yaxis, unit]) => {
      const tint = colour(model.archives.indexOf(name));
      return {
        x: trial.t, y: trial[key], yaxis, type: "scatter", mode: "lines+markers", line: {color: tint, width: 1.4, dash: DASHES[round % DASHES.length]},
        marker: {size: 6, color: trial.counted.map(counts => counts ? tint : style("--card")), line: {color: tint, width: 1.3}},
        meta: name, hovertemplate: `${name}, round ${trial.round}<br>%{y:.2f}${unit} at %{x:.1f} s<extra></extra>`,
      };
    })));
  return [traces, layout({
    xaxis: axis("seconds since the load began", {rangemode: "tozero"}),
    yaxis: axis("p50, ms", {domain: [0, 0.46], rangemode: "tozero", nticks: 5}),
    yaxis2: axis("requests/s", {domain: [0.54, 1], rangemode: "tozero", nticks: 5}),
  })];
}

function memory(model) {
  const point = model.points.find(each => Object.keys(each.memory).length);  // the first load with samples of the memory
  const traces = model.archives.filter(name => point.memory[name]).map(name => ({
    x: point.memory[name][0], y: point.memory[name][1], type: "scatter", mode: "lines", line: {color: colour(model.archives.indexOf(name)), width: 2},
    meta: name, hovertemplate: `${name}<br>%{y:.0f} MiB at %{x:.0f} s<extra></extra>`,
  }));
  return [traces, layout({xaxis: axis("seconds"), yaxis: axis("MiB", {rangemode: "tozero"})})];
}

const DRAW = {curve, distribution, stages, windows, memory};

function draw(section, chosen) {
  const model = models.find(each => each.model === section.dataset.model), drawn = new Set();
  for (const chart of section.querySelectorAll("[data-chart]")) {
    const [traces, look] = DRAW[chart.dataset.chart](model, model.points[chosen]);
    Plotly.react(chart, traces, look, {displayModeBar: false, responsive: true});
    traces.filter(trace => trace.y.some(value => value !== null)).forEach(trace => drawn.add(trace.meta));
    if (chart.dataset.chart === "stages") nameStages(section, traces);
  }
  section.querySelectorAll(".chips i[data-series]").forEach(chip => {
    if (chip.dataset.series === "floor") return;
    chip.style.background = colour(Number(chip.dataset.series));
    chip.parentElement.hidden = !drawn.has(model.archives[Number(chip.dataset.series)]);
  });
  section.querySelectorAll("a[data-rows]").forEach(link => { link.href = `#${rowsOf(link)[0]?.id ?? "results"}`; });
}

function nameStages(section, traces) {
  section.querySelector(".chips.stages").replaceChildren(...traces.map(trace => {
    const chip = document.createElement("li"), mark = document.createElement("i");
    mark.style.background = trace.marker.color;
    chip.append(mark, trace.name);
    return chip;
  }));
}

// The rows of the results that a chart shows: those of its model, of the present load point or of all.
function rowsOf(link) {
  const section = link.closest(".model"), point = section.querySelector('[aria-pressed="true"]').dataset.key;
  return [...document.querySelectorAll("#results tbody tr")].filter(row =>
    row.dataset.model === section.dataset.model && (link.dataset.rows === "model" || row.dataset.point === point));
}

function markRows(event) {
  document.querySelectorAll("tr.marked").forEach(row => row.classList.remove("marked"));
  rowsOf(event.currentTarget).forEach(row => row.classList.add("marked"));
}

function drawAll() {
  for (const section of document.querySelectorAll(".model")) {
    const pressed = section.querySelector('[aria-pressed="true"]');
    draw(section, Number(pressed.dataset.point));
  }
}

function choose(event) {
  const section = event.currentTarget.closest(".model");
  section.querySelectorAll(".loads button").forEach(button => button.setAttribute("aria-pressed", String(button === event.currentTarget)));
  draw(section, Number(event.currentTarget.dataset.point));
}

document.querySelectorAll(".loads button").forEach(button => button.addEventListener("click", choose));
document.querySelectorAll("a[data-rows]").forEach(link => link.addEventListener("click", markRows));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
