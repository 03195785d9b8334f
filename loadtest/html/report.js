// Draws the load test's charts and switches load points. Knows how series look; which numbers they hold comes from the data.

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
      hovertemplate: `${archive}<br>%{customdata} at a time<br>${name} %{y:.2f} ms at %{x:.1f}/s<extra></extra>`,
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
    hovertemplate: `${name}<br>p%{customdata:.2f}: %{y:.2f} ms<extra></extra>`,
  }));
  const ticks = [0, 50, 90, 99, 99.9, 99.99], values = [...traces.flatMap(trace => trace.y), model.floor.p50];
  return [traces, layout({
    xaxis: axis("percentile", {tickvals: ticks.map(nines), ticktext: ticks.map(q => String(q)), rangemode: "tozero"}),
    yaxis: logAxis("ms", values), shapes: floorLine(model.floor.p50),
  })];
}

function stages(model, point) {
  const named = model.archives.filter(name => point.stages[name]).map(name => [name, point.stages[name]]);
  const bars = model.floor.stages ? [...named, ["null floor", model.floor.stages]] : named;
  const traces = STAGES.map(([stage, label], index) => ({
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
        hovertemplate: `${name}, round ${trial.round}<br>%{y:.2f}${unit} at %{x:.1f} s<extra></extra>`,
      };
    })));
  return [traces, layout({
    xaxis: axis("seconds since the load began", {rangemode: "tozero"}),
    yaxis: axis("p50, ms", {domain: [0, 0.46], rangemode: "tozero", nticks: 5}),
    yaxis2: axis("requests/s", {domain: [0.54, 1], rangemode: "tozero", nticks: 5}),
  })];
}

function memory(model) {
  const point = model.points.find(each => Object.keys(each.memory).length);  // whichever load was long enough to show it
  const traces = model.archives.filter(name => point.memory[name]).map(name => ({
    x: point.memory[name][0], y: point.memory[name][1], type: "scatter", mode: "lines", line: {color: colour(model.archives.indexOf(name)), width: 2},
    hovertemplate: `${name}<br>%{y:.0f} MiB at %{x:.0f} s<extra></extra>`,
  }));
  return [traces, layout({xaxis: axis("seconds"), yaxis: axis("MiB", {rangemode: "tozero"})})];
}

const DRAW = {curve, distribution, stages, windows, memory};

function draw(section, chosen) {
  const model = models.find(each => each.model === section.dataset.model);
  for (const chart of section.querySelectorAll("[data-chart]")) {
    const [traces, look] = DRAW[chart.dataset.chart](model, model.points[chosen]);
    Plotly.react(chart, traces, look, {displayModeBar: false, responsive: true});
  }
  section.querySelectorAll(".chips i[data-series]").forEach(chip => {
    if (chip.dataset.series !== "floor") chip.style.background = colour(Number(chip.dataset.series));
  });
  section.querySelectorAll(".chips.stages").forEach(list => {
    list.innerHTML = STAGES.map(([, label], index) => `<li><i style="background:${style(`--stage-${index}`)}"></i>${label}</li>`).join("");
  });
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
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
