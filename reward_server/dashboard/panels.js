// One function a panel: data in, elements out.

// From how many samples on, and from which value on, a number of the watch is called high.
const ENOUGH_SAMPLES = 64;
const MEASURES = [
  ["length_correlation", "reward and length", "Pearson's correlation of reward and response length", (v) => Math.abs(v) >= 0.5, short],
  ["identical_responses", "identical responses", "share of responses that repeat an earlier one letter for letter", (v) => v >= 0.3, percent],
  ["commonest_answer", "commonest answer", "share of samples that give the most frequent final answer", (v) => v >= 0.5, percent],
  ["several_answers", "several answers", "share of responses that give several different final answers", (v) => v >= 0.1, percent],
  ["disagreement", "verifiers disagree", "share of samples on which two verifiers disagree; – where none are compared", (v) => v >= 0.05, percent],
];

function tilesPanel(data) {
  const { rates, server, failures } = data;
  const last = (values) => mean(values.slice(-5));
  const latest = (values) => values.findLast((value) => value !== null) ?? null;
  const count = (codes) => Object.values(codes).reduce((sum, n) => sum + n, 0);
  const tiles = [
    [short(last(rates.samples_per_s)), "/s", "samples, last 10 s"],
    [short(last(rates.requests_per_s)), "/s", "requests, last 10 s"],
    [short(latest(rates.p50_ms)), "ms", "latency p50"],
    [short(latest(rates.p99_ms)), "ms", "latency p99"],
    [short(server.pending_samples), "", "samples in work"],
    [short(count(failures.samples)), "", "samples not scored, 10 min"],
    [short(count(failures.requests)), "", "requests refused, 10 min"],
    ...upstreamTiles(server.upstreams),
  ];
  return tiles.map(([value, unit, name]) =>
    make("div", { class: "tile" }, make("b", {}, value, make("small", {}, unit && ` ${unit}`)), make("span", {}, name)));
}

// What endpoints cost and saved since the server began; nothing where there are none.
function upstreamTiles(upstreams) {
  if (!upstreams.length) return [];
  const sum = (name) => upstreams.reduce((total, { usage }) => total + (usage[name] ?? 0), 0);
  const endpoints = upstreams.flatMap((each) => each.endpoints);
  const calls = sum("calls"), known = sum("cache_hits");
  const tiles = [
    [`${endpoints.filter(([, up]) => up).length} of ${endpoints.length}`, "", "endpoints up"],
    [short(calls), "", "calls of endpoints"],
    [percent(calls + known ? known / (calls + known) : null), "", "verdicts from the cache"],
  ];
  if (sum("prompt_tokens")) tiles.push([short(sum("prompt_tokens") + sum("completion_tokens")), "", "tokens of endpoints"]);
  if (sum("cost")) tiles.push([short(sum("cost")), "", "cost by price table"]);
  return tiles;
}

function upstreamsPanel(upstreams) {
  const heads = ["scorer", "endpoints", "calls", "failed", "over budget", "mean seconds", "tokens", "cost", "from the cache"];
  const row = ({ scorer, endpoints, usage }) => {
    const of = (name) => usage[name] ?? 0;
    const answered = of("calls") - of("failed");
    const cells = [
      short(of("calls")), short(of("failed")), short(of("over_budget")), short(answered ? of("seconds") / answered : null),
      short(of("prompt_tokens") + of("completion_tokens")), short(of("cost")), short(of("cache_hits")),
    ];
    const states = endpoints.map(([url, up, busy]) => make("div", {}, tag(up ? "up" : "▼ down", up ? "good" : "bad"), ` ${url}`, make("span", { class: "soft" }, ` ${busy} in flight`)));
    return make("tr", {}, make("td", {}, make("b", {}, scorer)), make("td", {}, ...states),
      ...cells.map((value, at) => make("td", { "data-label": heads[at + 2] }, make("span", {}, value))));
  };
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", {}, head)))),
    make("tbody", {}, ...upstreams.map(row)));
}

// How often each scorer that runs for some samples only was asked, and whether it could tell.
function cascadesPanel(profiles) {
  const facts = profiles.flatMap(({ name, cascades }) => Object.entries(cascades).map(([key, counts]) => {
    const { not_asked: passed = 0, decided = 0, undecided = 0, failed = 0 } = counts;
    const asked = decided + undecided + failed;
    return [`${name}: ${key}`, `asked for ${percent(asked / (asked + passed))} of ${(asked + passed).toLocaleString("en")}: ${decided} decided, ${undecided} undecided, ${failed} failed`];
  }));
  return facts.length ? definitions(facts) : null;
}

function mean(values) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

function watchPanel(profiles) {
  const rows = profiles.filter((profile) => profile.watched);
  if (!rows.length) return make("p", { class: "soft" }, "Fills with the first samples.");
  const heads = MEASURES.map(([, name, meaning]) => make("th", { title: meaning }, name));
  const head = make("tr", {}, make("th", {}, "profile"), make("th", { title: "mean ± standard deviation" }, "reward"), ...heads);
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows.map(watchRow)));
}

function watchRow({ name, watched }) {
  const enough = watched.samples >= ENOUGH_SAMPLES;
  const flat = enough && watched.reward_std === 0;
  const samples = `${watched.samples.toLocaleString("en")} samples`;
  const cells = MEASURES.map(([key, label, meaning, isHigh, format]) => {
    const value = watched[key];
    const high = value !== null && enough && isHigh(value);
    return make("td", { "data-label": label, title: meaning },
      make("span", {}, format(value), high ? tag("▲ high", "bad") : null),
      value === null ? null : shareBar(Math.abs(value), high));
  });
  return make("tr", {},
    make("td", {}, make("b", {}, name), make("div", { class: "soft" }, samples)),
    make("td", { "data-label": "reward" }, make("span", {}, `${short(watched.reward_mean)} ± ${short(watched.reward_std)}`, flat ? tag("▲ all equal", "bad") : null)),
    ...cells);
}

// What the watch over runs raised, the newest first; an alarm opens with the samples that show it.
function alarmsPanel(alarms) {
  const rows = alarms.toReversed().map((alarm) => {
    const opener = make("button", { class: "opener alarm", type: "button", "aria-expanded": "false" },
      make("span", { class: "soft" }, clockTime(alarm.time)), make("span", {}, tag(`▲ ${alarm.signal.replaceAll("_", " ")}`, "bad")),
      make("span", {}, alarm.message));
    const row = make("li", {}, opener);
    row.dataset.alarm = alarm.id;
    opener.addEventListener("click", () => openAlarm(row, opener, alarm));
    return row;
  });
  return make("ol", {}, ...rows);
}

function alarmSamples(alarm) {
  const shown = alarm.samples.flatMap((sample) => [
    make("h3", {}, `${sample.id}: `, sample.reward === null ? "not scored" : `reward ${short(sample.reward)}`),
    sample.prompt ? make("p", { class: "soft" }, sample.prompt) : null, make("pre", {}, sample.response)]);
  return make("div", { class: "detail" }, ...shown.filter(Boolean));
}

function shadowPanel({ profile, info, last }) {
  const both = info.samples - info.failed;
  const facts = [
    ["scored by both", both.toLocaleString("en")],
    ["verdicts differ", `${info.disagreements.toLocaleString("en")} (${percent(info.samples ? info.disagreements / info.samples : null)})`],
    ["mean difference", short(info.mean_difference)],
    ["not compared", `${info.failed.toLocaleString("en")} without the shadow's reward, ${info.dropped.toLocaleString("en")} for want of time`],
  ];
  const reward = (value) => make("td", {}, value === null ? "not scored" : short(value));
  const rows = last.map((one) => make("tr", {}, make("td", { class: "name" }, one.id), reward(one.reward), reward(one.shadow_reward)));
  const heads = ["last that differ", profile, info.profile].map((head) => make("th", {}, head));
  return [
    make("h3", {}, profile, make("span", { class: "soft" }, ` beside its shadow ${info.profile}`)),
    definitions(facts),
    rows.length ? make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)) : make("p", { class: "soft" }, "No verdict differs."),
  ];
}

function failuresPanel({ requests, samples }) {
  const rows = [
    ...Object.entries(samples).map(([code, count]) => [`sample: ${code}`, count]),
    ...Object.entries(requests).map(([code, count]) => [`request: HTTP ${code}`, count]),
  ];
  if (!rows.length) return make("p", { class: "soft" }, "None.");
  const most = Math.max(...rows.map(([, count]) => count));
  return make("table", {}, ...rows.map(([code, count]) => make("tr", {},
    make("td", {}, make("code", {}, code)), make("td", { class: "number" }, count.toLocaleString("en")),
    make("td", {}, shareBar(count / most, true)))));
}

function machinePanel(server) {
  const restarts = Object.entries(server.worker_restarts).map(([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`);
  const facts = [
    ["workers alive", String(server.workers_alive)],
    ["samples at workers", server.workers_pending.toLocaleString("en")],
    ["workers replaced", restarts.join(", ") || "none"],
  ];
  for (const model of server.models) {
    const about = ["dtype", "device", "layout"].filter((key) => key in model.about).map((key) => model.about[key]);
    facts.push([`${model.kind} ${model.name}`, [model.ready ? "ready" : model.reason, ...about].join(", ")]);
  }
  if (!server.models.length) facts.push(["models", "none in these profiles"]);
  return definitions(facts);
}

function definitions(pairs) {
  return make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

// Reward and scores as small labels; the code where there is no reward.
function verdict({ reward, scores, error }) {
  const first = reward === null ? tag(`not scored: ${error ? error.code : "no reward"}`, "bad")
    : tag(`reward ${short(reward)}`, reward > 0 ? "good" : "bad");
  const others = Object.entries(scores).map(([key, value]) => tag(`${key} ${short(value)}`));
  return make("span", { class: "verdict" }, first, ...others);
}

// What a scorer's explanation calls things, in plain words.
const WORDS = {
  asked: "asked?", because: "because", cached: "known before?", equal: "the same?", method: "decided by", answer: "extracted", place: "found in", read_answer: "read as",
  read_ground_truth: "ground truth read as", rule: "rule", same_answer: "members with this answer", members: "members of the group", error: "error", tokens: "tokens", tokens_cut: "tokens cut off",
};

function explanationPanel(explained) {
  const { sample, result, profile, fingerprint, elapsed_ms, weights } = explained;
  const parts = [make("p", {}, verdict(result), make("span", { class: "soft" }, `${profile}, fingerprint ${fingerprint}, ${short(elapsed_ms)} ms`))];
  parts.push(definitions(identityOf(sample, weights)));
  for (const [key, by] of Object.entries(result.decided_by ?? {})) {
    parts.push(make("p", { class: "soft" }, by ? `${key}: ${by} decided` : `${key}: none could tell`));
  }
  if (result.error) parts.push(make("p", { class: "bad" }, `${result.error.code}: ${result.error.message}`));
  for (const [key, told] of Object.entries(result.explanation ?? {})) {
    const pairs = Object.entries(told ?? {}).filter(([name, value]) => name !== "span" && value !== null);
    parts.push(make("h3", {}, key in result.scores ? `${key}: ${short(result.scores[key])}` : key));
    parts.push(told ? definitions(pairs.map(([name, value]) => [WORDS[name] ?? name.replaceAll("_", " "), asText(value)]))
      : make("p", { class: "soft" }, "This scorer gives no explanation."));
  }
  const spans = Object.values(result.explanation ?? {}).map((told) => told?.span).filter(Boolean);
  if (sample.prompt) parts.push(make("h3", {}, "Prompt"), make("pre", {}, asText(sample.prompt)));
  if (result.turns) parts.push(make("h3", {}, "Turns"), make("p", {}, ...result.turns.map((value) => tag(short(value)))));
  const messages = typeof sample.response !== "string";
  parts.push(make("h3", {}, "Response"), messages ? make("pre", {}, asText(sample.response)) : marked(sample.response, spans[0]));
  if (sample.ground_truth !== undefined) parts.push(make("h3", {}, "Ground truth"), make("pre", {}, asText(sample.ground_truth)));
  return make("div", { class: "detail" }, ...parts);
}

// Who a sample is, what it came with, and what each of its scores counts for.
function identityOf(sample, weights) {
  const counted = Object.entries(weights).map(([key, weight]) => `${key} × ${short(weight)}`);
  const facts = [["sample", sample.id], ["group", sample.group_id], ["weights", counted.join(", ")]];
  for (const name of ["metadata", "signals"]) {
    if (sample[name] && Object.keys(sample[name]).length) facts.push([name, JSON.stringify(sample[name])]);
  }
  return facts.filter(([, value]) => value !== undefined && value !== null && value !== "");
}

// The response with what was extracted marked; the server counts characters, not UTF-16 units.
function marked(response, span) {
  if (!span) return make("pre", {}, response);
  const characters = Array.from(response);
  const part = (start, end) => characters.slice(start, end).join("");
  return make("pre", {}, part(0, span[0]), make("mark", {}, part(span[0], span[1])), part(span[1]));
}
