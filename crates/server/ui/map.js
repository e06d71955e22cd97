// The service map: an SVG, callers on the left.

import { byId, count, html, parts, percent, rate, seconds, svg } from "./dom.js";
import { layers } from "./layout.js";

const BOX = { width: 172, height: 62, across: 104, down: 38, margin: 10 };
// More boxes than this are no picture any more; the busiest are drawn.
const MOST = 40;
const OUTSIDE = "outside";

export function drawMap(map, waiting) {
  const graph = simplify(map);
  const note = byId("map-note");
  note.textContent = graph.notes.join(" ");
  if (graph.names.length === 0) {
    byId("map").replaceChildren(nothing(waiting));
    return;
  }
  const columns = layers(graph.names, graph.edges);
  const place = positions(columns);
  const size = extent(place);
  const picture = svg("svg", {
    viewBox: `0 0 ${size.width} ${size.height}`,
    width: size.width,
    height: size.height,
    role: "img",
    "aria-label": "service map",
  });
  picture.append(svg("defs", {}, ...["", "warn", "bad"].map(tip)));
  for (const edge of graph.edges) picture.append(drawEdge(edge, place));
  for (const name of graph.names) picture.append(drawNode(graph.services.get(name), place.get(name)));
  byId("map").replaceChildren(picture);
}

function nothing(waiting) {
  const text = "Traffic appears here as soon as two services talk to each other.";
  const state = waiting ? "waiting for the first signals ..." : "no traffic between services";
  return html("div", { class: "empty" }, html("strong", {}, state), text);
}

// Strangers become one box, edges of several ports one line, and the quiet ones are left out.
function simplify(map) {
  const outside = new Set(map.services.filter((s) => s.kind === "external").map((s) => s.service));
  const called = (name) => (outside.has(name) ? OUTSIDE : name);
  const why = new Map(map.anomalies.map((a) => [`${a.client} ${a.server} ${a.port}`, a]));
  const edges = new Map();
  for (const edge of map.edges) {
    const [from, to] = [called(edge.client), called(edge.server)];
    const line = edges.get(`${from} ${to}`) ?? { from, to, rate: 0, errors: 0, p99: null, why: [], level: "" };
    addEdge(line, edge, why.get(`${edge.client} ${edge.server} ${edge.port}`));
    edges.set(`${from} ${to}`, line);
  }
  const traffic = new Map();
  for (const { from, to, rate: n } of edges.values()) {
    for (const name of [from, to]) traffic.set(name, (traffic.get(name) ?? 0) + n + 1e-6);
  }
  const names = [...traffic.keys()].sort((a, b) => traffic.get(b) - traffic.get(a)).slice(0, MOST);
  return finish(map, edges, names, traffic.size - names.length, outside);
}

function finish(map, edges, names, left, outside) {
  const drawn = new Set(names);
  const services = new Map(names.map((name) => [name, { service: name, instances: [], level: "" }]));
  for (const service of map.services) {
    if (drawn.has(service.service)) services.set(service.service, { ...service, level: "" });
  }
  const shown = [...edges.values()].filter((e) => drawn.has(e.from) && drawn.has(e.to));
  for (const edge of shown) mark(services.get(edge.to), edge);
  const notes = [];
  if (left > 0) notes.push(`${count(left, "quieter service")} not drawn.`);
  const silent = map.services.filter((s) => !drawn.has(s.service) && !outside.has(s.service)).length - left;
  if (silent > 0) notes.push(`${count(silent, "service")} without traffic not drawn.`);
  if (drawn.has(OUTSIDE)) notes.push(`“${OUTSIDE}” stands for ${count(outside.size, "address", "addresses")} that nobody known owns.`);
  return { names: names.sort(), edges: shown, services, notes };
}

function addEdge(line, edge, anomaly) {
  line.rate += edge.golden.rate;
  line.errors += edge.golden.error_rate;
  const latency = edge.golden.client_latency ?? edge.golden.server_latency;
  if (latency) line.p99 = Math.max(line.p99 ?? 0, latency.p99);
  if (!anomaly) return;
  line.why.push(anomaly.why);
  if (line.level !== "bad") line.level = anomaly.level;
}

// A service is as bad as the worst edge that leads to it.
function mark(service, edge) {
  if (edge.level === "bad" || service.level === "") service.level = edge.level;
}

function positions(columns) {
  const tallest = Math.max(...columns.map((column) => column.length));
  const step = BOX.height + BOX.down;
  const place = new Map();
  columns.forEach((column, x) => {
    const top = BOX.margin + ((tallest - column.length) * step) / 2;
    column.forEach((name, y) => {
      place.set(name, { x: BOX.margin + x * (BOX.width + BOX.across), y: top + y * step });
    });
  });
  return place;
}

function extent(place) {
  const all = [...place.values()];
  return {
    width: Math.max(...all.map((p) => p.x)) + BOX.width + BOX.margin,
    height: Math.max(...all.map((p) => p.y)) + BOX.height + BOX.margin + 24,
  };
}

function tip(level) {
  const shape = svg("path", { d: "M0 0 L8 4 L0 8 z", class: `tip ${level}` });
  return svg("marker", { id: `tip-${level}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, shape);
}

function drawEdge(edge, place) {
  const [a, b] = [place.get(edge.from), place.get(edge.to)];
  const forward = b.x > a.x;
  const start = { x: a.x + (forward ? BOX.width : BOX.width / 2), y: a.y + (forward ? BOX.height / 2 : BOX.height) };
  const end = { x: b.x + (forward ? 0 : BOX.width / 2), y: b.y + (forward ? BOX.height / 2 : BOX.height) };
  const bend = forward ? Math.max(40, (end.x - start.x) / 2) : 46;
  const curve = forward
    ? `M${start.x} ${start.y} C${start.x + bend} ${start.y} ${end.x - bend} ${end.y} ${end.x - 2} ${end.y}`
    : `M${start.x} ${start.y} C${start.x} ${start.y + bend} ${end.x} ${end.y + bend} ${end.x} ${end.y + 2}`;
  const width = Math.min(5, 1.2 + Math.log10(1 + edge.rate) * 0.9);
  const middle = { x: (start.x + end.x) / 2, y: (start.y + end.y) / 2 + (forward ? -6 : bend * 0.75) };
  const [above, ...below] = edgeText(edge);
  const label = svg("text", { x: middle.x, y: middle.y }, above);
  below.forEach((text, i) => label.append(svg("tspan", { x: middle.x, dy: i === 0 ? 19 : 13 }, text)));
  const line = svg("path", { d: curve, "stroke-width": width, "marker-end": `url(#tip-${edge.level})` });
  const title = svg("title", {}, [`${edge.from} → ${edge.to}`, ...edge.why].join("\n"));
  return svg("g", { class: `edge ${edge.level}` }, title, line, label);
}

// The rate above the line, what else there is below it.
function edgeText(edge) {
  if (edge.rate === 0) return [edge.why[0] ?? "connected"];
  const lines = [rate(edge.rate)];
  if (edge.p99 !== null) lines.push(`p99 ${seconds(edge.p99)}`);
  if (edge.errors > 0) lines.push(`${percent(edge.errors / edge.rate)} fail`);
  return lines;
}

function drawNode(service, at) {
  const { name, space } = parts(service.service);
  const lines = [clip(name, 21), clip(placeText(service, space), 30), clip(goldenText(service), 31)];
  const box = svg("rect", { width: BOX.width, height: BOX.height, rx: 9 });
  const texts = lines.map((line, i) => svg("text", { x: 12, y: 20 + i * 16, class: i > 0 ? "sub" : null }, line));
  const title = svg("title", {}, [service.service, ...service.instances].join("\n"));
  return svg("g", { class: `node ${service.level}`, transform: `translate(${at.x} ${at.y})` }, title, box, ...texts);
}

function placeText(service, space) {
  const n = service.instances.length;
  return [space, n > 1 ? count(n, "instance") : ""].filter(Boolean).join(" · ");
}

function goldenText({ inbound }) {
  if (!inbound || inbound.rate === 0) return "";
  return `${rate(inbound.rate)} · ${percent(inbound.error_ratio)} fail`;
}

function clip(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
