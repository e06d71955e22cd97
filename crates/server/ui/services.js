// Golden signals of each service, with their course.

import { byId, html, percent, rate, seconds, svg } from "./dom.js";

const HEIGHT = 28;
const ALARMING = 0.05;

export function drawServices(view) {
  const rows = view.services.filter((s) => s.rate.some((n) => n > 0));
  rows.sort((a, b) => b.golden.rate - a.golden.rate);
  if (rows.length === 0) {
    byId("services").replaceChildren(html("div", { class: "empty" }, "No requests understood yet."));
    return;
  }
  const head = html("tr", {}, ...["Service", "Requests", "Failed", "p99 latency"].map((t) => html("th", { scope: "col" }, t)));
  byId("services").replaceChildren(html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows.map(row))));
}

function row(service) {
  const failing = (service.error_ratio.at(-1) ?? service.golden.error_ratio) >= ALARMING;
  return html(
    "tr",
    {},
    html("td", { class: "name" }, service.service),
    cell(service.rate, rate, "", null),
    cell(service.error_ratio, percent, failing ? "bad" : "", 0.02),
    cell(service.p99, seconds, "", null),
  );
}

// One course and its newest value. `floor` keeps a chart of almost nothing from looking like a lot.
function cell(values, text, level, floor) {
  const known = values.filter((v) => v !== null);
  const newest = known.at(-1);
  const chart = course(values, Math.max(...known, floor ?? 0, 1e-9));
  const value = html("span", { class: "value" }, newest === undefined ? "–" : text(newest));
  const highest = known.length ? `highest ${text(Math.max(...known))}` : "nothing measured";
  return html("td", { class: "cell" }, html("div", { class: `course ${level}`, title: highest }, chart, value));
}

// Gaps stay gaps: each run of known values is a line of its own.
export function course(values, top) {
  const width = Math.max(values.length - 1, 1);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  let run = [];
  const close = () => {
    if (run.length > 0) chart.append(...line(run));
    run = [];
  };
  values.forEach((value, x) => {
    if (value === null) close();
    else run.push([x, HEIGHT - 2 - (value / top) * (HEIGHT - 4)]);
  });
  close();
  return chart;
}

function line(points) {
  const path = points.map(([x, y]) => `${x} ${y.toFixed(1)}`).join(" L");
  const area = `M${points[0][0]} ${HEIGHT} L${path} L${points.at(-1)[0]} ${HEIGHT} z`;
  return [svg("path", { class: "area", d: area }), svg("path", { class: "line", d: `M${path}` })];
}
