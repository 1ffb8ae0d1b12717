// One sample at a time: yes, no or unclear by a key. The labels leave as a file for `audit`.

const LABELS = { y: "yes", n: "no", u: "unclear" };
const FILE_NAME = "labelled.jsonl";
const labelling = { lines: [], at: 0, store: null, verdicts: false };

// The samples of a text of JSON lines; the error names the line.
function readLines(text) {
  const found = text.split("\n").flatMap((line, at) => {
    if (!line.trim()) return [];
    try {
      const read = JSON.parse(line);
      if (read && read.response !== undefined) return [read];
    } catch { /* said below */ }
    throw new Error(`line ${at + 1} is no sample; expected {"response": "…", "ground_truth": "…", "label": null}`);
  });
  if (!found.length) throw new Error("there is no sample in it");
  return found;
}

function begin(text) {
  try {
    labelling.lines = readLines(text);
  } catch (error) {
    return say(error.message, "bad");
  }
  labelling.store = `touchstone-labels-${digestOf(labelling.lines)}`;
  const kept = JSON.parse(localStorage.getItem(labelling.store) ?? "{}");
  for (const [at, label] of Object.entries(kept)) labelling.lines[at].label = label;
  const open = labelling.lines.findIndex((line) => !line.label);
  labelling.at = open < 0 ? 0 : open;
  $("content").hidden = false;
  say(`${labelling.lines.length} samples`, "soft");
  show();
}

// Names these samples whatever their labels, so that labels come back with the same samples only.
function digestOf(lines) {
  const text = JSON.stringify(lines.map((line) => [line.id, line.prompt, line.response, line.ground_truth]));
  let hash = 0x811c9dc5; // FNV-1a
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return `${text.length}-${hash >>> 0}`;
}

function say(text, kind) {
  $("said").textContent = text;
  $("said").className = kind;
}

function show() {
  const { lines, at, verdicts } = labelling;
  const line = lines[at];
  const done = lines.filter((each) => each.label).length;
  setState(`${done} of ${lines.length} labelled`, done === lines.length ? "good" : "soft");
  $("done").style.width = `${(100 * done) / lines.length}%`;
  const parts = [make("h2", {}, `Sample ${at + 1} of ${lines.length}`), make("p", { class: "soft" }, String(line.id ?? ""))];
  for (const [title, value] of [["Prompt", line.prompt], ["Response", line.response], ["Ground truth", line.ground_truth]]) {
    if (value !== undefined && value !== null) parts.push(make("h3", {}, title), make("pre", {}, asText(value)));
  }
  if (verdicts) {
    const said = (line.verdicts ?? []).map((verdict) => tag(verdict === null ? "not scored" : short(verdict)));
    parts.push(make("h3", {}, "Verdicts"), make("p", {}, ...(said.length ? said : ["none in the file"])));
  }
  $("sample").replaceChildren(...parts);
  $("show_verdicts").setAttribute("aria-pressed", String(verdicts));
  $("back").disabled = at === 0;
  $("next").disabled = at === lines.length - 1;
  for (const button of document.querySelectorAll("[data-label]")) {
    button.setAttribute("aria-pressed", String(button.dataset.label === line.label));
  }
}

function label(word) {
  const { lines, at, store } = labelling;
  lines[at].label = word;
  const given = Object.fromEntries(lines.flatMap((line, place) => (line.label ? [[place, line.label]] : [])));
  try {
    localStorage.setItem(store, JSON.stringify(given));
  } catch {
    say("This browser keeps no labels: download them before you close the page.", "bad");
  }
  go(1);
}

function go(by) {
  labelling.at = Math.max(0, Math.min(labelling.lines.length - 1, labelling.at + by));
  show();
}

function toggleVerdicts() {
  labelling.verdicts = !labelling.verdicts;
  show();
}

function labelledText() {
  return labelling.lines.map((line) => `${JSON.stringify({ ...line, label: line.label ?? null })}\n`).join("");
}

function download() {
  const url = URL.createObjectURL(new Blob([labelledText()], { type: "application/jsonl" }));
  make("a", { href: url, download: FILE_NAME }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function takeRecent() {
  try {
    const answer = await answerTo("/dashboard/samples");
    begin(await answer.text());
  } catch (error) {
    if (error.status === 401) askForKey();
    else say(error.message, "bad");
  }
}

function onKey(event) {
  if ($("content").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLInputElement) return;
  const key = event.key.toLowerCase();
  if (key in LABELS) label(LABELS[key]);
  else if (key === "arrowleft") go(-1);
  else if (key === "arrowright") go(1);
  else if (key === "v") toggleVerdicts();
  else return;
  event.preventDefault();
}

$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  if (file) begin(await file.text());
  $("file").blur();
});
$("recent").addEventListener("click", takeRecent);
for (const button of document.querySelectorAll("[data-label]")) {
  button.addEventListener("click", () => label(button.dataset.label));
}
$("back").addEventListener("click", () => go(-1));
$("next").addEventListener("click", () => go(1));
$("show_verdicts").addEventListener("click", toggleVerdicts);
$("download").addEventListener("click", download);
addEventListener("keydown", onKey);
onKeyGiven(takeRecent);
