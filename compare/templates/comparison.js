// Draws a bar chart per load, with the slowest server at the bottom. Knows how bars look; the servers come from the data.
const comparison = JSON.parse(document.getElementById("data").textContent);

function bars(load) {
  const trace = {
    y: load.bars.map(bar => bar.title), x: load.bars.map(bar => bar.rps), type: "bar", orientation: "h", width: 0.6, cliponaxis: false,
    marker: {color: load.bars.map(bar => colour(bar.ours ? 0 : 1))},
    error_x: {type: "data", symmetric: false, thickness: 1.2, color: style("--ink"),
      array: load.bars.map(bar => bar.ci ? bar.ci[1] - bar.rps : 0), arrayminus: load.bars.map(bar => bar.ci ? bar.rps - bar.ci[0] : 0)},
    customdata: load.bars.map(bar => bar.setting), hovertemplate: "%{y}: %{x:.1f}/s<br>%{customdata}<extra></extra>",
  };
  return [[trace], layout({xaxis: axis("requests/s", {rangemode: "tozero"}), yaxis: axis("", {gridcolor: "rgba(0,0,0,0)"})})];
}

function drawAll() {
  for (const chart of document.querySelectorAll("[data-chart]")) {
    const [traces, look] = bars(comparison.loads[Number(chart.dataset.chart)]);
    Plotly.react(chart, traces, look, {displayModeBar: false, responsive: true});
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
