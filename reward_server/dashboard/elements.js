"use strict";
// Elements of the page. What models wrote reaches the page as text nodes only, never as HTML.

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Three significant digits, no exponent where a person would write none.
function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(1);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

const percent = (value) => (value === null ? "–" : `${short(100 * value)}%`);

function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

const clockTime = (atS) => new Date(atS * 1000).toLocaleTimeString([], { hour12: false });

// Another list of options only when it changed, so that an open menu stays open.
function setOptions(select, values, chosen) {
  const before = Array.from(select.options, (option) => option.value);
  if (before.join("\n") !== values.join("\n")) {
    select.replaceChildren(...values.map((value) => make("option", { value }, value)));
  }
  if (chosen !== undefined && values.includes(chosen)) select.value = chosen;
}

function tag(text, kind = "soft") {
  return make("span", { class: `tag ${kind}` }, text);
}

// A share from 0 to 1 as a bar.
function shareBar(share, high) {
  const full = Math.max(0, Math.min(100, 100 * share));
  return svg("svg", { class: high ? "bar high" : "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 8 }),
    svg("rect", { class: "full", width: full, height: 8 }));
}

function showTip(event, text) {
  const tip = $("tip");
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
}

const hideTip = () => { $("tip").hidden = true; };

function asText(value) {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.every((turn) => turn && "role" in Object(turn))) {
    return value.map((turn) => `${turn.role}: ${asText(turn.content)}`).join("\n");
  }
  return JSON.stringify(value);
}
