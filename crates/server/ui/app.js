// Asks the API every two seconds and redraws.

import { byId, clock, count } from "./dom.js";
import { drawFindings, drawLosses } from "./findings.js";
import { drawMap } from "./map.js";
import { drawServices } from "./services.js";

const EVERY = 2000;
const PATIENCE = 10000;
const WORDS = { ok: ["live", "ok"], waiting: ["waiting for the first signals ...", ""], stale: ["no signals any more", "warn"] };

async function ask(path) {
  const response = await fetch(`/api/v1/${path}`, { signal: AbortSignal.timeout(PATIENCE) });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error ?? response.statusText);
  return body;
}

function report(id) {
  return ask(`reports/${encodeURIComponent(id)}`);
}

async function refresh() {
  const last = encodeURIComponent(byId("last").value);
  const [health, map, services, losses, reports] = await Promise.all([
    ask("health"),
    ask("map?last=30s"),
    ask(`services?last=${last}`),
    ask(`losses?last=${last}`),
    ask("reports"),
  ]);
  drawStatus(health);
  drawMap(map, health.status === "waiting");
  drawServices(services);
  drawLosses(losses);
  drawFindings(reports, health.status === "waiting", report);
}

function say(text, level) {
  const pill = byId("status");
  pill.textContent = text;
  pill.className = `pill ${level}`;
}

function drawStatus(health) {
  say(...WORDS[health.status]);
  const newest = health.newest ? `, newest ${clock(health.newest)}` : "";
  byId("summary").textContent = `${count(health.signals, "signal")}${newest} · taproot ${health.version}`;
}

async function loop() {
  if (!document.hidden) {
    try {
      await refresh();
    } catch (error) {
      say(`cannot read: ${error.message}`, "bad");
    }
  }
  setTimeout(loop, EVERY);
}

byId("last").addEventListener("change", () => refresh().catch((error) => say(error.message, "bad")));
loop();
