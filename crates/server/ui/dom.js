// Elements and figures. Text is only ever set as text: names come from the
// network and must never become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// Three figures are enough to read at a glance.
function short(value) {
  if (value >= 100) return Math.round(value).toString();
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(value === 0 ? 0 : 2);
}

export function rate(perSecond) {
  if (perSecond >= 10000) return `${short(perSecond / 1000)}k/s`;
  return `${short(perSecond)}/s`;
}

export function percent(ratio) {
  if (ratio === 0) return "0 %";
  return ratio < 0.001 ? "<0.1 %" : `${(ratio * 100).toFixed(1)} %`;
}

export function seconds(value) {
  if (value >= 1) return `${short(value)} s`;
  if (value >= 1e-3) return `${short(value * 1e3)} ms`;
  return `${short(value * 1e6)} µs`;
}

// Nanoseconds since the epoch as a time of day in UTC, as the reports print it.
export function clock(nanos) {
  return `${new Date(nanos / 1e6).toISOString().slice(11, 19)} UTC`;
}

export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

// "shop/gateway" is "gateway" in "shop".
export function parts(service) {
  const cut = service.lastIndexOf("/");
  return { name: service.slice(cut + 1) || "?", space: cut > 0 ? service.slice(0, cut) : "" };
}
