// The recent samples: which are shown, and what one of them shows when it is opened.

const MOST_ROWS = 200;
const ANY = "any";
const FILTERS = ["profile", "component", "status", "alarm", "text"];

// While a sample is open new ones wait, so that what is read does not move.
function take(recent) {
  recent = recent.filter((sample) => sample.seq > page.after);
  if (recent.length) page.after = recent[recent.length - 1].seq;
  page.waiting = [...page.waiting, ...recent].slice(-MOST_ROWS);
  const reading = $("recent").querySelector(".detail") !== null;
  $("newer").hidden = !(reading && page.waiting.length);
  $("newer").textContent = `${page.waiting.length} newer`;
  if (!reading) showWaiting();
}

function showWaiting() {
  const list = $("recent");
  list.prepend(...page.waiting.map(sampleRow).reverse());
  while (list.children.length > MOST_ROWS) list.lastChild.remove();
  page.waiting = [];
  $("newer").hidden = true;
  filterRows();
}

// What the filters offer: what the samples at hand have.
function offerFilters(data) {
  const rows = Array.from($("recent").children, (row) => row.sample);
  const sorted = (names) => [...new Set(names)].sort();
  setOptions($("of_profile"), [ANY, ...sorted(rows.map((sample) => sample.profile))]);
  setOptions($("of_component"), ["reward", ...sorted(rows.flatMap((sample) => Object.keys(sample.scores)))]);
  const codes = sorted(rows.flatMap((sample) => (sample.error ? [sample.error.code] : [])));
  setOptions($("of_status"), [ANY, "above 0", "0 or less", "not scored", ...codes]);
  setOptions($("of_alarm"), [ANY, "in an alarm", ...sorted(data.alarms.map((alarm) => alarm.signal))]);
}

function filterRows() {
  const wanted = Object.fromEntries(FILTERS.map((name) => [name, $(`of_${name}`).value]));
  const rows = Array.from($("recent").children);
  for (const row of rows) row.hidden = !isWanted(row.sample, wanted);
  const shown = rows.filter((row) => !row.hidden).length;
  const filtered = shown < rows.length;
  $("matching").textContent = filtered ? `${shown} of ${rows.length}` : "";
  $("no_recent").hidden = shown > 0;
  $("no_recent").textContent = rows.length ? "None of the recent samples is like that." : "None yet.";
}

function isWanted(sample, { profile, component, status, alarm, text }) {
  const score = component === "reward" || !component ? sample.reward : sample.scores[component];
  const raised = page.data.alarms.filter((one) => one.profile === sample.profile && one.sample_ids.includes(sample.id));
  const said = [sample.id, sample.prompt, sample.response, sample.ground_truth].join("\n").toLowerCase();
  const has = {
    [ANY]: true, "above 0": score > 0, "0 or less": score !== null && score <= 0, "not scored": score === null,
  };
  return (profile === ANY || profile === sample.profile) && score !== undefined
    && (has[status] ?? sample.error?.code === status)
    && (alarm === ANY || raised.some((one) => alarm === "in an alarm" || one.signal === alarm))
    && said.includes(text.toLowerCase());
}

function sampleRow(sample) {
  const time = clockTime(sample.at_s);
  const opener = make("button", { class: "opener", type: "button", "aria-expanded": "false" },
    make("span", { class: "soft" }, time), make("span", {}, sample.profile), verdict(sample),
    make("span", { class: "text", title: `sample ${sample.id}` }, sample.response.trim() || "(empty response)"));
  const row = make("li", {}, opener);
  row.sample = sample;
  opener.addEventListener("click", () => openSample(row, opener, sample));
  return row;
}

async function openSample(row, opener, sample) {
  const open = row.querySelector(".detail");
  opener.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const detail = make("div", { class: "detail" }, make("p", { class: "soft" }, "scoring it again, with explanation …"));
  row.append(detail);
  try {
    if (!sample.can_open) throw new Error("this sample is too large to be kept whole");
    const explained = await ask("/dashboard/explain", { seq: sample.seq });
    const changed = explained.result.reward !== sample.reward;
    const note = changed ? make("p", { class: "bad" }, `The reward was ${short(sample.reward)} then; scored again just now it is ${short(explained.result.reward)}.`) : null;
    const edit = make("button", { type: "button", class: "quiet" }, "Change it and score it below");
    edit.addEventListener("click", () => fillForm(explained));
    detail.replaceChildren(...[note, explanationPanel(explained), edit].filter(Boolean));
  } catch (error) {
    const pairs = [["why not", error.message], ["response", sample.response], ["ground truth", sample.ground_truth]];
    detail.replaceChildren(definitions(pairs));
  }
}

// An opened sample as the form has it, to be changed.
function fillForm({ sample, profile }) {
  const asField = (value) => (value === undefined || value === null ? "" : asWritten(value));
  $("try_profile").value = profile;
  showFields();
  for (const [field, name] of [["truth", "ground_truth"], ["prompt", "prompt"], ["response", "response"]]) {
    $(`try_${field}`).value = asField(sample[name]);
  }
  for (const name of ["metadata", "signals"]) {
    const given = sample[name] && Object.keys(sample[name]).length;
    $(`try_${name}`).value = given ? JSON.stringify(sample[name], null, 1) : "";
  }
  $("try_response").focus();
}

const asWritten = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));
