// The common code of all pages: colours, axes and a layout for charts, and tables that sort. Knows no page's data.
"use strict";

const SERIES = 6;

// A page that was copied without plotly.min.js still has its tables. A message takes the place of each chart.
if (typeof Plotly === "undefined") {
  document.querySelectorAll("[data-chart]").forEach(chart => { chart.textContent = "This chart needs plotly.min.js beside the page; its figures are in the table."; });
  globalThis.Plotly = {react() {}};
}

const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = index => style(`--series-${index % SERIES}`);
const present = values => values.filter(value => value !== null && value > 0);

function axis(title, more = {}) {
  return {
    title: {text: title, standoff: 8, font: {size: 12, color: style("--soft")}}, gridcolor: style("--line"), zeroline: false,
    linecolor: style("--line"), tickfont: {size: 11, color: style("--soft")}, automargin: true, fixedrange: true, ...more,
  };
}

// Ticks at 1, 2 and 5 of each decade. plotly's own ticks are either too few or show digits without their decade.
function logAxis(title, values, more = {}) {
  const known = present(values), low = Math.min(...known) / 1.25, high = Math.max(...known) * 1.25;
  const ticks = [];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++)
    for (const digit of high / low > 300 ? [1] : [1, 2, 5]) ticks.push(digit * 10 ** decade);
  const text = ticks.map(tick => String(Number(tick.toPrecision(1))));
  return axis(title, {type: "log", tickvals: ticks, ticktext: text, range: [Math.log10(low), Math.log10(high)], ...more});
}

function layout(more) {
  return {
    margin: {l: 8, r: 10, t: 14, b: 8}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: {family: getComputedStyle(document.body).fontFamily, color: style("--ink"), size: 12}, hovermode: "closest",
    hoverlabel: {bgcolor: style("--card"), bordercolor: style("--line"), font: {color: style("--ink"), size: 12}}, ...more,
  };
}

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const difference = Number(a) - Number(b);
  return Number.isNaN(difference) ? a.localeCompare(b) : difference;
}

function sort(event) {
  const header = event.currentTarget.closest("th"), table = header.closest("table"), column = header.cellIndex;
  const descending = header.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = row => row.cells[column].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((a, b) => (descending ? -1 : 1) * compare(value(a), value(b)));
  table.tBodies[0].append(...rows);
}

document.querySelectorAll("table.sortable th button").forEach(button => button.addEventListener("click", sort));
