// Asks for the data every two seconds while someone looks, and puts it into the panels.

const EVERY_MS = 2000;
const USUAL_PROFILE = "math";
const page = { profile: null, after: 0, data: null, waiting: [] };

async function refresh() {
  const query = new URLSearchParams({ after: page.after });
  if (page.profile) query.set("profile", page.profile);
  try {
    show(await ask(`/dashboard/data?${query}`));
  } catch (error) {
    if (error.status === 401) askForKey();
    else setState(`unreachable: ${error.message}`, "bad");
  }
}

async function keepRefreshing() {
  if (!document.hidden && $("key_form").hidden) await refresh();
  setTimeout(keepRefreshing, EVERY_MS);
}

function show(data) {
  const { server } = data;
  if (page.data && server.started_at_s !== page.data.server.started_at_s) forget();
  page.data = data;
  $("content").hidden = false;
  setState(server.not_ready_reason ?? "● ready", server.not_ready_reason ? "bad" : "good");
  $("about").textContent = `reward server ${server.version}, up for ${duration(server.uptime_s)}`;
  chooseProfile(data);
  $("tiles").replaceChildren(...tilesPanel(data));
  $("watch").replaceChildren(watchPanel(data.profiles));
  showAlarms(data.alarms);
  $("shadow_part").hidden = !data.shadows.length;
  $("shadows").replaceChildren(...data.shadows.flatMap(shadowPanel));
  const cascades = cascadesPanel(data.profiles);
  $("upstream_part").hidden = !server.upstreams.length && !cascades;
  $("upstreams").replaceChildren(...[server.upstreams.length ? upstreamsPanel(server.upstreams) : null, cascades].filter(Boolean));
  $("failures").replaceChildren(failuresPanel(data.failures));
  $("machine").replaceChildren(machinePanel(server));
  draw();
  take(data.recent);
  offerFilters(data);
  filterRows();
}

// Drawn anew only when there is another one, so that an open one stays open.
function showAlarms(alarms) {
  $("alarm_part").hidden = !alarms.length;
  const newest = alarms.at(-1)?.id ?? "";
  if ($("alarms").dataset.newest === newest) return;
  $("alarms").dataset.newest = newest;
  $("alarms").replaceChildren(alarmsPanel(alarms));
}

async function openAlarm(row, opener, alarm) {
  const open = row.querySelector(".detail");
  opener.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const detail = make("div", { class: "detail" }, make("p", { class: "soft" }, "asking for its samples …"));
  row.append(detail);
  try {
    const query = new URLSearchParams({ profile: alarm.profile, signal: alarm.signal });
    const found = (await ask(`/alarms?${query}`)).alarms.find((one) => one.id === alarm.id);
    if (!found) throw new Error("it is no longer kept");
    detail.replaceWith(alarmSamples(found));
  } catch (error) {
    detail.replaceChildren(make("p", { class: "bad" }, error.message));
  }
}

// Another process answers now: it counts its samples from 1.
function forget() {
  page.after = 0;
  page.waiting = [];
  $("recent").replaceChildren();
  $("alarms").dataset.newest = "";
}

// The profile that has the most samples, until a person chooses.
function chooseProfile(data) {
  const names = data.profiles.map((profile) => profile.name);
  const seen = data.profiles.filter((profile) => profile.watched);
  $("empty").hidden = seen.length > 0;
  if (!names.includes(page.profile)) page.profile = null;
  if (page.profile === null && seen.length) {
    page.profile = seen.reduce((a, b) => (b.watched.samples > a.watched.samples ? b : a)).name;
    setTimeout(refresh);
  }
  const usual = names.includes(USUAL_PROFILE) ? USUAL_PROFILE : names[0];
  setOptions($("profile"), names, page.profile ?? usual);
  setOptions($("try_profile"), names, $("try_profile").value || page.profile || usual);
  showFields();
}

// The fields that the chosen profile reads.
function showFields() {
  const chosen = page.data?.profiles.find((profile) => profile.name === $("try_profile").value);
  for (const name of ["metadata", "signals"]) $(`try_${name}_field`).hidden = !chosen?.reads.includes(name);
  $("try_others_field").hidden = !chosen?.groups;
}

// What was written as JSON; the error names the field.
function written(name) {
  try {
    return JSON.parse($(`try_${name}`).value);
  } catch (error) {
    throw new Error(`${name} is no JSON: ${error.message}`);
  }
}

function asResponse(text) {
  try {
    const messages = JSON.parse(text);
    if (Array.isArray(messages) && messages.length && messages.every((turn) => turn && typeof turn.role === "string")) return messages;
  } catch { /* a text */ }
  return text;
}

// The sample in the form, and the responses to hold it against.
function triedSample() {
  const sample = { id: "tried on the dashboard", response: asResponse($("try_response").value) };
  if ($("try_truth").value) sample.ground_truth = $("try_truth").value;
  if ($("try_prompt").value) sample.prompt = $("try_prompt").value;
  for (const name of ["metadata", "signals"]) {
    if (!$(`try_${name}_field`).hidden && $(`try_${name}`).value.trim()) sample[name] = written(name);
  }
  const others = $("try_others_field").hidden || !$("try_others").value ? [] : $("try_others").value.split(/^---$/m);
  return { sample, others: others.map((text) => asResponse(text.trim())) };
}

function draw() {
  const { rates, chosen } = page.data;
  const slotSeconds = rates.slot_s;
  const columns = Object.keys(chosen?.histograms ?? { reward: [] });
  setOptions($("column"), columns);
  const column = $("column").value;
  const means = Object.entries(chosen?.means ?? {}).map(([name, values]) => ({ name, values }));
  const { started_at_s: startedAtS, uptime_s: uptimeS } = page.data.server;
  const marks = page.data.alarms.filter((alarm) => alarm.profile === chosen?.profile)
    .map((alarm) => ({ agoS: startedAtS + uptimeS - alarm.time, text: alarm.message }));
  lineChart($("means"), { series: means, slotSeconds, from: 0, to: 1, marks });
  barChart($("histogram"), chosen?.histograms[column] ?? [], column);
  const seen = page.data.profiles.find((profile) => profile.name === chosen?.profile)?.watched;
  $("window").textContent = seen ? `last ${seen.samples.toLocaleString("en")} samples` : "";
  lineChart($("throughput"), { series: [{ name: "samples/s", values: rates.samples_per_s }], slotSeconds, from: 0, to: 1 });
  const latency = [{ name: "p50", values: rates.p50_ms }, { name: "p99", values: rates.p99_ms }];
  lineChart($("latency"), { series: latency, slotSeconds, from: 0, unit: " ms" });
}

async function tryResponse(event) {
  event.preventDefault();
  const button = event.submitter ?? $("try_form").querySelector("button");
  button.disabled = true;
  try {
    const explained = await ask("/dashboard/explain", { profile: $("try_profile").value, ...triedSample() });
    $("try_result").replaceChildren(explanationPanel(explained));
  } catch (error) {
    $("try_result").replaceChildren(make("p", { class: "bad" }, error.message));
  }
  button.disabled = false;
}

$("score_url").textContent = `${location.origin}/score`;
$("try_form").addEventListener("submit", tryResponse);
$("try_profile").addEventListener("change", showFields);
$("newer").addEventListener("click", showWaiting);
$("profile").addEventListener("change", () => { page.profile = $("profile").value; refresh(); });
$("column").addEventListener("change", draw);
for (const name of FILTERS) $(`of_${name}`).addEventListener("input", filterRows);
addEventListener("resize", () => { if (page.data) draw(); });
onKeyGiven(refresh);
if (document.documentElement.dataset.wantsKey === "yes" && !sessionStorage.getItem(KEY)) askForKey();
keepRefreshing();
