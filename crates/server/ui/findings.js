// The reports, newest first; the newest is open.

import { byId, clock, html } from "./dom.js";
import { course } from "./services.js";

const MOST = 50;
let shown = "";

export function drawFindings({ reports }, waiting, load) {
  const key = JSON.stringify([reports, waiting]);
  if (key === shown) return;
  shown = key;
  if (reports.length === 0) {
    const text = waiting ? "Nothing to judge yet." : "Nothing found wrong.";
    byId("findings").replaceChildren(html("div", { class: "empty" }, text));
    return;
  }
  const open = new Set([...document.querySelectorAll("#findings details[open]")].map((d) => d.dataset.id));
  if (open.size === 0) open.add(reports[0].id);
  const items = reports.slice(0, MOST).map((head) => item(head, open.has(head.id), load));
  if (reports.length > MOST) items.push(html("p", { class: "quiet" }, `${reports.length - MOST} older ones are not shown.`));
  byId("findings").replaceChildren(...items);
}

function item(head, isOpen, load) {
  const body = html("div", {}, "loading ...");
  const meta = html("span", { class: "meta" }, `${clock(head.at)}${head.service ? ` · ${head.service}` : ""}`);
  const details = html("details", {}, html("summary", {}, html("span", { class: "title" }, head.title), meta), body);
  details.dataset.id = head.id;
  details.addEventListener("toggle", () => {
    if (details.open) load(head.id).then((r) => body.replaceChildren(...told(r)), (e) => body.replaceChildren(e.message));
  });
  details.open = isOpen;
  return details;
}

// A report: what to know and do first, then the proof, then all of it as text.
function told({ report, text }) {
  const { advice = {}, verdict = {} } = report;
  const list = html("dl");
  section(list, "Since", verdict.since ? [clock(verdict.since)] : []);
  section(list, "Users feel", report.symptoms, withCourse);
  section(list, "What to do", advice.fix);
  section(list, "To confirm", advice.commands, (command) => [html("code", {}, command)]);
  section(list, "Proof", report.evidence, withCourse);
  section(list, "What follows", report.effects);
  section(list, "Ruled out", report.ruled_out, (cause) => [`${cause.class}: ${cause.text}`]);
  section(list, "Not seen", report.blind, (blind) => [blind.text]);
  const whole = html("details", {}, html("summary", {}, "as text"), html("pre", {}, text));
  return [list, whole];
}

function section(list, title, items = [], draw = (item) => [item]) {
  if (items.length === 0) return;
  list.append(html("dt", {}, title), ...items.map((item) => html("dd", {}, ...draw(item))));
}

function withCourse({ text, chart }) {
  const values = chart?.values ?? [];
  const known = values.filter((v) => v !== null);
  if (known.length < 2) return [text];
  return [text, course(values, Math.max(...known, 1e-9))];
}

// What could not be seen, in the footer: never hidden, never in the way.
export function drawLosses({ losses, coverage, dropped }) {
  const lines = losses.slice(0, 6).map((l) => html("p", { class: "warn" }, `not seen: ${l.count.toLocaleString("en")} by ${l.collector} (${l.reason})`));
  const kept = Object.entries(dropped).map(([reason, n]) => `${n.toLocaleString("en")} ${reason}`);
  if (kept.length > 0) lines.push(html("p", { class: "warn" }, `dropped from memory: ${kept.join(", ")}`));
  if (lines.length === 0) lines.push(html("p", {}, "No losses reported by any collector."));
  if (coverage.length > 0) {
    const worst = coverage.slice(0, 5).map((c) => `${c.service} ${Math.round(c.coverage * 100)} %`);
    lines.push(html("p", {}, `traffic understood, least first: ${worst.join(", ")}`));
  }
  byId("losses").replaceChildren(...lines);
}
