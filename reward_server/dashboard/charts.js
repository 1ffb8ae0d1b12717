// Charts as inline SVG: lines over the last minutes, and bars. A null leaves a gap.

const HEIGHT = 200;
const EDGE = { left: 44, right: 10, top: 10, bottom: 24 };
// So wide is the longest label of the time axis, with room beside it.
const LABEL_WIDTH = 58;
// Seconds shown, and into how many parts the axis is cut.
const SPANS = [[60, 4], [120, 4], [300, 5], [600, 5]];

// Ticks at 1, 2 or 5 times a power of ten, around all that is shown.
function niceTicks(low, high) {
  const room = high > low ? high - low : Math.abs(high) || 1;
  const raw = room / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

function nothing(box, text) {
  box.replaceChildren(make("p", { class: "nothing soft" }, text));
}

// A frame with horizontal lines at the ticks; gives the plot and how values become places.
function frame(box, ticks, label) {
  const width = Math.max(240, box.clientWidth);
  const bottom = HEIGHT - EDGE.bottom;
  const low = ticks[0], high = ticks[ticks.length - 1];
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - EDGE.top);
  const plot = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": label });
  for (const tick of ticks) {
    plot.append(svg("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }));
    plot.append(text(EDGE.left - 6, y(tick) + 4, "end", short(tick)));
  }
  return { plot, y, bottom, width, inner: width - EDGE.left - EDGE.right };
}

function text(x, y, anchor, content) {
  return svg("text", { class: "tick", x, y, "text-anchor": anchor }, content);
}

// series: [{name, values}], one value a slot, the last one now.
// marks: [{agoS, text}], something that happened so many seconds ago.
function lineChart(box, { series, slotSeconds, from = null, to = null, unit = "", marks = [] }) {
  const known = series.flatMap((one) => one.values.filter((value) => value !== null));
  if (!known.length) return nothing(box, "no data in the last 10 minutes");
  let low = from, high = to;
  if (low === null || Math.min(...known) < low) low = Math.min(...known);
  if (high === null || Math.max(...known) > high) high = Math.max(...known);
  const count = Math.max(...series.map((one) => one.values.length));
  const [span, parts] = SPANS.find(([s]) => s >= count * slotSeconds) ?? SPANS[SPANS.length - 1];
  const slots = span / slotSeconds;
  const label = series.map((one) => `${one.name} ${short(one.values.findLast((v) => v !== null))}${unit}`).join(", ");
  const { plot, y, bottom, width, inner } = frame(box, niceTicks(low, high), `now: ${label}`);
  const x = (i) => EDGE.left + ((i + slots - count + 1) / slots) * inner;
  const each = Math.ceil(parts / Math.max(1, Math.floor(inner / LABEL_WIDTH)));
  for (let part = parts; part >= 0; part -= each) {
    const ago = (span * (parts - part)) / parts;
    const anchor = part === parts ? "end" : part === 0 ? "start" : "middle";
    const words = ago === 0 ? "now" : `−${ago % 60 ? `${ago} s` : `${ago / 60} min`}`;
    plot.append(text(EDGE.left + (inner * part) / parts, HEIGHT - 6, anchor, words));
  }
  series.forEach((one, number) => plot.append(...linesOf(one.values, x, y, `s${number % 4}`)));
  for (const { agoS, text: said } of marks.filter((mark) => mark.agoS < span)) {
    const at = EDGE.left + (1 - agoS / span) * inner;
    const mark = svg("path", { class: "mark", d: `M${at} ${EDGE.top}V${bottom}` });
    const head = svg("path", { class: "mark head", d: `M${at - 6} ${EDGE.top - 8}h12l-6 9z` }, svg("title", {}, said));
    plot.append(mark, head);
  }
  const cursor = svg("line", { class: "cursor", y1: EDGE.top, y2: bottom, visibility: "hidden" });
  plot.append(cursor);
  plot.addEventListener("pointermove", (event) => {
    const at = plot.getBoundingClientRect();
    const place = ((event.clientX - at.left) / at.width) * width;
    const i = Math.round(((place - EDGE.left) / inner) * slots - slots + count - 1);
    if (i < 0 || i >= count) return leave();
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(i));
    cursor.setAttribute("visibility", "visible");
    const rows = series.map((one) => `${one.name}  ${short(one.values[i])}${one.values[i] === null ? "" : unit}`);
    const agoS = (count - i) * slotSeconds;
    const raised = marks.filter((mark) => Math.abs(mark.agoS - agoS) <= slotSeconds).map((mark) => `▲ ${mark.text}`);
    showTip(event, [`${agoS} s ago`, ...rows, ...raised].join("\n"));
  });
  function leave() { cursor.setAttribute("visibility", "hidden"); hideTip(); }
  plot.addEventListener("pointerleave", leave);
  box.replaceChildren(plot, legend(series));
}

// Runs of neighbouring values as lines, a lonely value as a dot.
function linesOf(values, x, y, kind) {
  const found = [];
  let run = [];
  const close = () => {
    if (run.length === 1) found.push(svg("path", { class: `dot ${kind}`, d: `M${run[0]}h0` }));
    if (run.length > 1) found.push(svg("path", { class: `line ${kind}`, d: `M${run.join("L")}` }));
    run = [];
  };
  values.forEach((value, i) => {
    if (value === null) close();
    else run.push(`${x(i).toFixed(1)} ${y(value).toFixed(1)}`);
  });
  close();
  return found;
}

function legend(series) {
  const entries = series.map((one, number) => make("span", {},
    svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, svg("path", { class: `line s${number % 4}`, d: "M1 5h24" })),
    `${one.name}`));
  return make("div", { class: "legend soft" }, ...entries);
}

// bars: [{low, high, count}]; low and high are the same where a bar is one value.
function barChart(box, bars, name) {
  const total = bars.reduce((sum, bar) => sum + bar.count, 0);
  if (!total) return nothing(box, "no scores yet");
  const ticks = niceTicks(0, Math.max(...bars.map((bar) => bar.count)));
  const { plot, y, bottom, inner } = frame(box, ticks, `${name}: ${total} samples`);
  const each = inner / bars.length;
  const wide = Math.min(each - 2, 90);
  const labelEach = Math.ceil(bars.length / 7);
  bars.forEach((bar, i) => {
    const middle = EDGE.left + each * (i + 0.5);
    const column = svg("rect", { class: "column", x: middle - wide / 2, width: wide, y: y(bar.count), height: bottom - y(bar.count), rx: 2 });
    const where = bar.low === bar.high ? short(bar.low) : `${short(bar.low)} to ${short(bar.high)}`;
    column.addEventListener("pointermove", (event) =>
      showTip(event, `${name} ${where}\n${short(bar.count)} samples, ${percent(bar.count / total)}`));
    column.addEventListener("pointerleave", hideTip);
    plot.append(column);
    if (i % labelEach === 0) plot.append(text(middle, HEIGHT - 6, "middle", short((bar.low + bar.high) / 2)));
  });
  box.replaceChildren(plot, make("div", { class: "legend soft" }, `samples by ${name}`));
}
