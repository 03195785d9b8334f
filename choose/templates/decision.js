// Draws the decision's two charts. Knows how variants look; the trials come from the data.
const decision = JSON.parse(document.getElementById("data").textContent);
const SYMBOLS = [["circle", "●"], ["square", "■"], ["diamond", "◆"], ["triangle-up", "▲"], ["triangle-down", "▼"], ["star", "★"], ["cross", "✚"], ["x", "✖"]];
const AREA = [7, 26];  // diameters in pixels of the smallest and the largest memory

const symbol = index => SYMBOLS[index % SYMBOLS.length];

function diameter(memory) {
  const known = present(decision.points.map(point => point.memory)), least = Math.min(...known), most = Math.max(...known);
  if (!memory || most === least) return 11;
  return Math.sqrt(AREA[0] ** 2 + (memory - least) / (most - least) * (AREA[1] ** 2 - AREA[0] ** 2));
}

function marks(variant, index) {
  const points = decision.points.filter(point => point.variant === variant), tint = colour(index);
  return {
    x: points.map(point => point.rps), y: points.map(point => point.p99), type: "scatter", mode: "markers+text", cliponaxis: false,
    text: points.map(point => point.role), textposition: "bottom center", textfont: {size: 12, color: style("--ink")},
    hovertemplate: points.map(point => `${point.hover.join("<br>")}<extra></extra>`),
    marker: {
      symbol: points.map(point => symbol(index)[0] + (point.complete ? "" : "-open")), size: points.map(point => diameter(point.memory)),
      color: tint, opacity: points.map(point => point.front || point.role ? 1 : 0.55),
      line: {color: points.map(point => point.role ? style("--ink") : tint), width: points.map(point => point.role ? 2 : 1)},
    },
  };
}

function pareto() {
  const front = {
    x: decision.line.map(point => point[0]), y: decision.line.map(point => point[1]), type: "scatter", mode: "lines",
    line: {color: style("--floor"), width: 1.5}, hoverinfo: "skip",
  };
  const values = [...decision.points.map(point => point.p99), decision.slo];
  const shapes = decision.slo ? [{
    type: "line", xref: "paper", x0: 0, x1: 1, y0: decision.slo, y1: decision.slo, line: {color: style("--bad"), width: 1.2, dash: "dash"},
    label: {text: `asked: p99 within ${decision.slo} ms`, textposition: "start", yanchor: "bottom", font: {size: 11.5, color: style("--bad")}},
  }] : [];
  return [[front, ...decision.variants.map(marks)], layout({
    xaxis: axis("requests/s", {rangemode: "tozero"}), yaxis: logAxis("p99, ms", values), shapes,
  })];
}

function importance() {
  const bars = {
    y: decision.importance.map(([name]) => name.replace("_", " ")), x: decision.importance.map(([, share]) => 100 * share),
    type: "bar", orientation: "h", width: 0.55, marker: {color: colour(0)}, cliponaxis: false,
    text: decision.importance.map(([, share]) => `${Math.round(100 * share)} %`), textposition: "outside", textfont: {size: 12, color: style("--ink")},
    hovertemplate: "%{y}: %{x:.1f} %<extra></extra>",
  };
  return [[bars], layout({xaxis: axis("% of the differences", {range: [0, 112], tickvals: [0, 25, 50, 75, 100]}), yaxis: axis("", {gridcolor: "rgba(0,0,0,0)"})})];
}

const CHARTS = {pareto, importance};

function drawAll() {
  for (const chart of document.querySelectorAll("[data-chart]")) {
    const [traces, look] = CHARTS[chart.dataset.chart]();
    Plotly.react(chart, traces, look, {displayModeBar: false, responsive: true});
  }
  document.querySelector(".variants").replaceChildren(...decision.variants.map((variant, index) => {
    const chip = document.createElement("li"), mark = document.createElement("i");
    [mark.textContent, mark.style.color] = [symbol(index)[1], colour(index)];
    chip.append(mark, variant);
    return chip;
  }));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
