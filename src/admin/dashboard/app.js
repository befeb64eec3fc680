// The dashboard. Reads one stream of server-sent events over fetch (so that the key is in a header, never in an
// address), and asks for budgets and health now and then. Writes text as text: no markup is ever made of data.
"use strict";

const KEY = "weir-admin-key";
const POLL_MS = 5000;
const ROWS_MAX = 50;
const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
const SILENCE_MS = 15000;
const CHART_HEIGHT = 168;

const $ = (id) => document.getElementById(id);
const state = {
  key: sessionStorage.getItem(KEY) || "",
  range: "200",
  stream: null,
  boot: 0,
  seq: 0,
  paused: false,
  held: [],
  stats: null,
  tiers: {},
  routing: null,
  hasRouting: false,
  providers: {},
};

// ---------------------------------------------------------------- small tools

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Gives `box` one child per item, and keeps the children that are there already (and with them the focus). */
function keyed(box, items, nameOf, make, fill, empty) {
  const known = new Map([...box.children].filter((child) => child.key !== undefined).map((child) => [child.key, child]));
  const wanted = items.map((item) => {
    const name = nameOf(item);
    let child = known.get(name);
    if (!child) {
      child = make(item);
      child.key = name;
    }
    fill(child, item);
    return child;
  });
  if (wanted.length === 0) {
    box.replaceChildren(el("li", { class: "empty" }, empty));
    return;
  }
  for (const child of [...box.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((child, at) => {
    if (box.children[at] !== child) box.insertBefore(child, box.children[at] || null);
  });
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function width(node, share) {
  node.style.width = `${Math.max(0, Math.min(100, share * 100)).toFixed(2)}%`;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function count(value) {
  return Math.abs(value) < 10000 ? whole.format(value) : compact.format(value);
}

function percent(share) {
  const value = share * 100;
  return `${value >= 99.95 || value < 0.05 ? value.toFixed(0) : value.toFixed(1)} %`;
}

function usd(value) {
  if (value === null || value === undefined) return "\u2013";
  const size = Math.abs(value);
  const digits = size === 0 || size >= 100 ? 2 : size >= 1 ? 2 : size >= 0.01 ? 4 : 6;
  let text = size.toFixed(digits);
  if (digits > 2) text = text.replace(/0+$/, "").replace(/\.(\d?)$/, (_, digit) => `.${digit.padEnd(2, "0")}`);
  if (size >= 10000) text = compact.format(size);
  return `${value < 0 ? "\u2212" : ""}$${text}`;
}

function time(ms) {
  if (ms >= 10000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return ms >= 10 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(1)} ms`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

const entries = (object) => Object.entries(object || {});
const tierOf = (model) => state.tiers[model] || null;

// ---------------------------------------------------------------- the control API

async function ask(path, options) {
  const init = { cache: "no-store", ...options };
  init.headers = { authorization: `Bearer ${state.key}`, ...(options && options.headers) };
  const answer = await fetch(path, init);
  if (answer.status === 401 || answer.status === 403) throw new Refused(await message(answer));
  return answer;
}

class Refused extends Error {}

async function message(answer) {
  try {
    const body = await answer.json();
    return (body.error && body.error.message) || `the gateway answered ${answer.status}`;
  } catch {
    return `the gateway answered ${answer.status}`;
  }
}

// ---------------------------------------------------------------- the key

function showGate(error) {
  stop();
  $("board").hidden = true;
  $("tools").hidden = true;
  $("gate").hidden = false;
  $("key").value = "";
  put($("key-error"), error || "");
  $("key").toggleAttribute("aria-invalid", Boolean(error));
  say("off", "Not connected");
  $("key").focus();
}

function forget(error) {
  state.key = "";
  sessionStorage.removeItem(KEY);
  showGate(error);
}

async function enter(event) {
  event.preventDefault();
  const key = $("key").value.trim();
  if (!key) return;
  $("open").disabled = true;
  put($("key-error"), "");
  try {
    if (!/^[\x21-\x7e]+$/.test(key)) throw new Refused("a key has visible ASCII characters only");
    state.key = key;
    const answer = await ask("api/stats/live");
    if (!answer.ok) throw new Error(await message(answer));
    sessionStorage.setItem(KEY, key);
    open();
    $("main").focus({ preventScroll: true });
  } catch (error) {
    state.key = "";
    const words = error instanceof Refused ? `This key does not open it: ${error.message}.` : `The gateway cannot be reached: ${error.message}`;
    put($("key-error"), words);
    $("key").setAttribute("aria-invalid", "true");
    $("key").select();
  } finally {
    $("open").disabled = false;
  }
}

// ---------------------------------------------------------------- the stream

function say(kind, text) {
  $("state").dataset.state = kind;
  put($("state"), text);
}

function open() {
  $("gate").hidden = true;
  $("board").hidden = false;
  $("tools").hidden = false;
  follow();
  learn().then(poll);
}

function stop() {
  if (state.stream) state.stream.abort();
  state.stream = null;
}

/** Reads the stream of the chosen range until it is replaced; comes back by itself when it breaks off. */
async function follow() {
  stop();
  const own = new AbortController();
  state.stream = own;
  let failures = 0;
  while (state.stream === own) {
    let why = "the stream has ended";
    try {
      say(failures ? "retry" : "off", failures ? "Reconnecting" : "Connecting");
      await read(own, () => {
        failures = 0;
        $("trouble").hidden = true;
      });
    } catch (error) {
      if (state.stream !== own) return;
      if (error instanceof Refused) {
        forget(`This key no longer opens it: ${error.message}.`);
        return;
      }
      why = error.message;
    }
    if (state.stream !== own) return;
    await wait(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)], why, own);
    failures += 1;
  }
}

async function wait(ms, why, own) {
  $("trouble").hidden = false;
  for (let left = Math.ceil(ms / 1000); left > 0 && state.stream === own; left -= 1) {
    say("retry", `Retry in ${left} s`);
    put($("trouble"), `No connection to the gateway (${why}). The numbers below are the last known; trying again by itself.`);
    await new Promise((done) => setTimeout(done, 1000));
  }
}

async function read(own, alive) {
  // A stream that says nothing at all is broken, whatever the connection thinks.
  const attempt = new AbortController();
  own.signal.addEventListener("abort", () => attempt.abort(), { once: true });
  let watchdog = setTimeout(() => attempt.abort(), SILENCE_MS);
  try {
    const answer = await ask(`api/stats/stream?range=${state.range}`, { signal: attempt.signal, headers: { accept: "text/event-stream" } });
    if (!answer.ok) throw new Error(await message(answer));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => attempt.abort(), SILENCE_MS);
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        take(text.slice(0, end), alive);
        text = text.slice(end + 2);
      }
    }
  } finally {
    clearTimeout(watchdog);
    attempt.abort();
  }
}

function take(block, alive) {
  const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
  if (!data.length) return;
  const news = JSON.parse(data.join("\n"));
  alive();
  say("live", "Live");
  if (news.boot !== state.boot) {
    state.boot = news.boot;
    state.seq = 0;
    state.held = [];
    $("recent").replaceChildren();
  }
  if (news.live.total === 0) {
    state.held = [];
    $("recent").replaceChildren();
  }
  state.stats = news.stats;
  Object.assign(state.tiers, news.stats.model_tiers);
  const rows = news.rows.filter((row) => row.seq > state.seq);
  state.seq = Math.max(state.seq, news.live.seq);
  render(news.stats);
  addRows(rows, $("recent").children.length > 0);
}

// ---------------------------------------------------------------- what is asked now and then

async function learn() {
  try {
    const paths = (await (await fetch("openapi.json")).json()).paths || {};
    state.hasRouting = Boolean(paths["/api/routing"] && paths["/api/routing"].get);
  } catch {
    state.hasRouting = false;
  }
}

let polling = 0;

async function poll() {
  clearTimeout(polling);
  if (state.key && !document.hidden) {
    await Promise.allSettled([pollSpend(), pollStatus(), pollRouting()]);
  }
  clearTimeout(polling);
  if (state.key) polling = setTimeout(poll, POLL_MS);
}

async function pollSpend() {
  const answer = await ask("api/spend");
  if (answer.ok) renderBudgets(await answer.json());
}

async function pollStatus() {
  // It answers 503 when a part is in trouble, with the same body.
  const answer = await ask("status");
  renderStatus(await answer.json());
}

async function pollRouting() {
  if (!state.hasRouting) return;
  const answer = await ask("api/routing");
  if (answer.ok) state.routing = await answer.json();
}

// ---------------------------------------------------------------- cards

const CARDS = [
  ["requests", "Requests", (s) => [count(s.total_requests), `${s.rpm.toFixed(1)} per minute`]],
  ["success", "Success", (s) => [s.total_requests ? percent(s.success_rate) : "\u2013", `${count(s.success_count)} answered`, s.total_requests && s.success_rate < 0.9 ? "warn" : ""]],
  ["escalation", "Escalated", (s) => [s.total_requests ? percent(s.escalation_rate) : "\u2013", `${count(s.escalation_count)} switched model`]],
  ["errors", "Errors", (s) => [s.total_requests ? percent(s.error_rate) : "\u2013", errorWords(s), s.error_rate > 0.1 ? "bad" : ""]],
  ["cache", "Cache hit", (s) => [s.prompt_tokens ? percent(s.cache_hit_rate) : "\u2013", pinWords(s)]],
  ["spend", "Spend", (s) => [usd(s.cost_usd), `${count(s.prompt_tokens + s.completion_tokens)} tokens`]],
  ["saved", "Saved", (s) => [usd(s.saved_usd), s.baseline_model ? `vs. always ${s.baseline_model}` : "no price is known", s.saved_usd > 0 ? "good" : ""]],
];

function errorWords(stats) {
  const [first] = entries(stats.error_types);
  if (!first) return "none";
  return first[0].replaceAll("_", " ");
}

function activePins() {
  const pins = (state.routing || {}).active_pins;
  return typeof pins === "number" ? pins : null;
}

function pinWords(stats) {
  const pins = activePins();
  const cached = `${count(stats.cached_tokens)} cached`;
  return pins === null ? `${cached} tokens` : `${cached}, ${count(pins)} active pins`;
}

function renderCards(stats) {
  const box = $("stats");
  const items = CARDS.map(([name, label, value]) => ({ name, label, value: value(stats) }));
  keyed(box, items, (item) => item.name,
    (item) => el("div", { "data-card": item.name }, el("dt", {}, item.label), el("dd"), el("dd", { class: "sub" })),
    (node, { value: [main, sub, tone] }) => {
      put(node.children[1], main);
      put(node.children[2], sub);
      node.children[2].title = sub;
      node.dataset.tone = tone || "";
    });
}

// ---------------------------------------------------------------- bars

function barItem() {
  return el("li", {}, el("span", { class: "name" }), el("span", { class: "value" }), el("span", { class: "bar", "aria-hidden": "true" }, el("i")), el("span", { class: "more" }));
}

function fillBar(node, { name, tier, value, more, share, tip }) {
  const [nameNode, valueNode, bar, moreNode] = node.children;
  put(nameNode, name);
  put(valueNode, value);
  put(moreNode, more || "");
  moreNode.hidden = !more;
  node.dataset.tier = tier || "";
  width(bar.firstChild, share);
  if (tip) nameNode.dataset.tip = tip;
}

function renderModels(stats) {
  const all = entries(stats.model_costs).map(([name, costs]) => ({ name, costs }));
  const most = Math.max(1, ...all.map(({ costs }) => costs.requests));
  keyed($("models"), all, (item) => item.name, barItem, (node, { name, costs }) => {
    const tier = tierOf(name);
    const saved = costs.saved_usd > 0 ? `, saved ${usd(costs.saved_usd)}` : "";
    fillBar(node, {
      name, tier, share: costs.requests / most,
      value: `${count(costs.requests)} \u00b7 ${percent(costs.requests / Math.max(1, stats.total_requests))}`,
      more: `${usd(costs.cost_usd)}${saved} \u00b7 ${count(costs.tokens)} tokens \u00b7 ${time(costs.avg_ms)} on average${costs.errors ? ` \u00b7 ${count(costs.errors)} failed` : ""}`,
      tip: `${name}${tier ? `\n${tier} tier` : ""}`,
    });
  }, "No model has answered yet.");
  put($("models-note"), stats.baseline_model && stats.total_requests
    ? `Always asking ${stats.baseline_model} would have cost ${usd(stats.baseline_usd)}.` : "");
}

function renderTasks(stats) {
  const all = entries(stats.task_distribution);
  const most = Math.max(1, ...all.map(([, number]) => number));
  keyed($("tasks"), all, ([name]) => name, barItem, (node, [name, number]) =>
    fillBar(node, { name: name.replaceAll("_", " "), value: count(number), share: number / most }),
  "No request has been classified: strategies do that when a request names no model.");
}

function renderGuards(stats) {
  const all = stats.guard_verdicts;
  const most = Math.max(1, ...all.map((verdict) => verdict.count));
  keyed($("guards"), all, (verdict) => `${verdict.rule} ${verdict.action}`, (verdict) => {
    const item = barItem();
    item.insertBefore(el("span", { class: "name" }, verdict.rule.replaceAll("_", " "), el("span", { class: "action", "data-action": verdict.action }, verdict.action)), item.firstChild);
    item.children[1].remove();
    return item;
  }, (node, verdict) => {
    put(node.children[1], count(verdict.count));
    width(node.children[2].firstChild, verdict.count / most);
    node.children[3].hidden = true;
  }, "No guard has fired.");
  chips($("pins"), entries(stats.pin_states), activePins() === null ? "No session is pinned." : `${count(activePins())} active, none used in this range.`);
}

function chips(box, all, empty) {
  keyed(box, all, ([name]) => name, ([name]) => el("li", {}, name.replaceAll("_", " "), el("b")), (node, [, number]) => put(node.lastChild, count(number)), empty);
}

function renderFlow(stats) {
  keyed($("flow"), stats.escalation_hops.slice(0, 8), (hop) => `${hop.from} ${hop.to}`,
    (hop) => el("li", {}, el("span", { class: "node", "data-tip": hop.from }, hop.from), el("span", { class: "arrow", "aria-label": "then" }, "\u2192"), el("span", { class: "node", "data-tip": hop.to }, hop.to), el("span", { class: "count" })),
    (node, hop) => {
      node.children[0].dataset.tier = tierOf(hop.from) || "";
      node.children[2].dataset.tier = tierOf(hop.to) || "";
      put(node.lastChild, count(hop.count));
    }, "Every first choice has answered.");
  const reasons = entries(stats.escalation_reasons);
  $("reasons").hidden = reasons.length === 0;
  chips($("reasons"), reasons, "");
}

// ---------------------------------------------------------------- latency

const BUCKETS = [["lt100", "< 0.1 s"], ["lt500", "< 0.5 s"], ["lt1000", "< 1 s"], ["lt3000", "< 3 s"], ["lt10000", "< 10 s"], ["gt10000", "10 s +"]];
const TICKS = [1, 10, 100, 1000, 10000, 100000, 1000000];
/** Where a time lies on the axis, in columns: four to each doubling, as the gateway counts. */
const column = (ms) => Math.log2(Math.max(ms, 0.16) / 0.128) * 4;

function renderLatency(stats) {
  const marks = [["P50", stats.latency_stats.p50], ["P90", stats.latency_stats.p90], ["P99", stats.latency_stats.p99]];
  keyed($("percentiles"), [...marks, ["Mean", stats.latency_stats.avg]], ([name]) => name,
    ([name]) => el("div", {}, el("dt", {}, name), el("dd")), (node, [, ms]) => put(node.lastChild, stats.total_requests ? time(ms) : "\u2013"));
  keyed($("buckets"), BUCKETS, ([name]) => name, ([, label]) => el("li", {}, el("b"), label), (node, [name]) => put(node.firstChild, count(stats.latency_buckets[name] || 0)));
  const box = $("hist");
  const cells = stats.latency_histogram;
  if (!cells.length) {
    box.replaceChildren(el("span", { class: "nothing" }, "No request yet"));
    return;
  }
  const places = cells.map(([ms, number]) => [Math.round(column(ms)), number]);
  const first = Math.min(...places.map(([at]) => at)) - 2;
  const last = Math.max(...places.map(([at]) => at)) + 2;
  const counts = new Map(places);
  const most = Math.max(...counts.values());
  const columns = [];
  for (let at = first + 1; at <= last; at += 1) columns.push(counts.get(at) || 0);
  const place = (ms) => (column(ms) - first) / (last - first) * 100;
  let bars = [...box.querySelectorAll(".column")];
  if (bars.length !== columns.length) {
    bars = columns.map(() => el("span", { class: "column" }));
  }
  bars.forEach((bar, at) => { bar.style.height = `${(columns[at] / most * 100).toFixed(1)}%`; });
  const lines = [];
  let free = -100;
  for (const [name, ms] of marks) {
    const at = Math.max(0, Math.min(100, place(ms)));
    // Labels that would lie on each other are left out; the numbers stand above.
    const label = at - free > 8 ? el("span", {}, name) : null;
    if (label) free = at;
    const line = el("i", { class: "mark" }, label);
    line.style.left = `${at.toFixed(2)}%`;
    lines.push(line);
  }
  for (const ms of TICKS.filter((ms) => place(ms) > 2 && place(ms) < 98)) {
    const tick = el("i", { class: "tick" }, ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`);
    tick.style.left = `${place(ms).toFixed(2)}%`;
    lines.push(tick);
  }
  box.replaceChildren(...bars, ...lines);
  box.setAttribute("aria-label", `Distribution of latencies: ${marks.map(([name, ms]) => `${name} ${time(ms)}`).join(", ")}`);
}

// ---------------------------------------------------------------- charts

const charts = {};
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faded = (value, part) => `color-mix(in srgb, ${value} ${part}%, transparent)`;

const CHARTS = {
  requests: {
    series: () => [bars("Requests", color("accent"), count), bars("Failed", color("bad"), count)],
    columns: (s) => [s.requests, s.errors],
    axis: count,
    words: (s) => `Requests over time: ${s.total_requests}, of which ${s.error_count} failed`,
  },
  tokens: {
    series: () => [area("Input", color("reasoning"), count), area("Cached", color("fast"), count), area("Output", color("oracle"), count)],
    columns: (s) => [s.prompt_tokens, s.cached_tokens, s.completion_tokens],
    axis: count,
    words: (s) => `Tokens over time: ${s.prompt_tokens} input, ${s.completion_tokens} output`,
  },
  spend: {
    series: () => [bars("Spend", color("accent"), usd)],
    columns: (s) => [s.cost_usd],
    axis: usd,
    words: (s) => `Spend over time: ${usd(s.cost_usd)}`,
  },
};

/** The value under the pointer, or else the sum of the whole curve. */
function legend(format) {
  return (chart, value, at) => format(value ?? chart.data[at].reduce((sum, one) => sum + one, 0));
}

function bars(label, stroke, format) {
  return { label, stroke, fill: stroke, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.75, 24], radius: 0.15 }), value: legend(format) };
}

function area(label, stroke, format) {
  return { label, stroke, fill: faded(stroke, 12), width: 1.75, points: { show: false }, value: legend(format) };
}

function clock(seconds, step) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (step >= 3600 * 6) return `${two(at.getDate())}.${two(at.getMonth() + 1)}.`;
  const minutes = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return step < 60 ? `${minutes}:${two(at.getSeconds())}` : minutes;
}

function makeChart(name, box, columns) {
  const axis = { stroke: color("dim"), font: "11px system-ui, sans-serif", grid: { stroke: color("line"), width: 1 }, ticks: { show: false } };
  const options = {
    width: box.clientWidth, height: CHART_HEIGHT, padding: [8, 24, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    legend: { live: true },
    scales: { x: { time: true, range: (u, low, high) => { const half = (state.stats.series.step_s || 1) / 2; return [low - half, high + half]; } }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    series: [{ label: "Time", value: (_, value) => value === null ? "" : clock(value, 1) }, ...CHARTS[name].series()],
    axes: [
      { ...axis, grid: { show: false }, space: 64, size: 30, values: (_, ticks, __, ___, step) => ticks.map((tick) => clock(tick, step)) },
      { ...axis, size: (_, values) => Math.max(34, ...(values || []).map((value) => value.length * 6.3 + 14)), space: 34, values: (_, ticks) => ticks.map((tick) => Number.isInteger(tick) || name === "spend" ? CHARTS[name].axis(tick) : "") },
    ],
  };
  return new uPlot(options, columns, box);
}

function renderCharts(stats) {
  const { series } = stats;
  for (const name of Object.keys(CHARTS)) {
    const box = $(`chart-${name}`);
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", CHARTS[name].words(stats));
    if (!series.t.length) {
      if (charts[name]) charts[name].destroy();
      delete charts[name];
      if (!box.querySelector(".nothing")) box.replaceChildren(el("span", { class: "nothing" }, "No request yet"));
      continue;
    }
    const columns = [series.t, ...CHARTS[name].columns(series)];
    if (charts[name]) {
      charts[name].setData(columns);
    } else {
      box.replaceChildren();
      charts[name] = makeChart(name, box, columns);
    }
  }
}

function redrawCharts() {
  for (const name of Object.keys(charts)) {
    charts[name].destroy();
    delete charts[name];
  }
  if (state.stats) renderCharts(state.stats);
}

// ---------------------------------------------------------------- budgets

/** The accounts as a tree, parents first; whoever names no parent that is known is a root. */
function tree(accounts) {
  const names = Object.keys(accounts);
  const children = new Map();
  for (const name of names) {
    const parent = accounts[name].parent;
    const under = parent && accounts[parent] && parent !== name ? parent : "";
    children.set(under, [...(children.get(under) || []), name]);
  }
  const rank = (name) => (name === "fleet" ? 0 : name.startsWith("team:") ? 1 : 2);
  const out = [];
  const walk = (parent, depth) => {
    const own = (children.get(parent) || []).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    for (const name of own) {
      if (out.length < names.length) out.push({ name, depth, account: accounts[name] });
      walk(name, depth + 1);
    }
  };
  walk("", 0);
  return out;
}

function renderBudgets(accounts) {
  const all = tree(accounts);
  keyed($("budgets"), all, ({ name }) => name, makeBudget, fillBudget, "No agent is configured.");
  const frozen = all.filter(({ account }) => account.frozen).length;
  put($("budget-note"), frozen ? `${frozen} frozen` : "");
}

function makeBudget({ name }) {
  const button = el("button", { type: "button", class: "freeze" }, "Freeze");
  const item = el("li", { "data-account": name },
    el("div", { class: "what" },
      el("div", { class: "title" }, el("span", { class: "name" }, name), el("span", { class: "tag period" }), el("span", { class: "tag frozen", "data-tone": "bad" }, "frozen")),
      el("div", { class: "bar", "aria-hidden": "true" }, el("i"), el("i", { "data-part": "held" })),
      el("div", { class: "amounts" }), el("div", { class: "forecast" })),
    button);
  button.addEventListener("click", () => confirmFreeze(name, !item.frozen));
  return item;
}

function fillBudget(node, { name, depth, account }) {
  const limit = account.budget_total;
  const find = (selector) => node.querySelector(selector);
  node.frozen = account.frozen;
  node.style.setProperty("--depth", String(Math.min(depth, 3)));
  put(find(".period"), limit === null ? "no limit" : `${account.period}${account.hard_cap ? ", hard" : ""}`);
  find(".frozen").hidden = !account.frozen;
  const bar = find(".bar");
  const used = limit > 0 ? account.budget_spent / limit : limit === 0 ? 1 : 0;
  bar.hidden = limit === null;
  bar.dataset.tone = used >= 0.95 ? "bad" : used >= 0.75 ? "warn" : "";
  width(bar.children[0], used);
  width(bar.children[1], limit > 0 ? account.budget_held / limit : 0);
  const facts = limit === null
    ? [["spent", account.budget_spent]]
    : [["spent", account.budget_spent], ["of", limit], ["left", account.budget_remaining]];
  if (account.budget_held > 0) facts.push(["held", account.budget_held]);
  const amounts = find(".amounts");
  keyed(amounts, facts, ([what]) => what, ([what]) => el("span", {}, `${what} `, el("b")), (one, [, value]) => put(one.lastChild, usd(value)));
  const [words, tone] = forecast(account);
  put(find(".forecast"), words);
  find(".forecast").hidden = !words;
  find(".forecast").dataset.tone = tone;
  const button = find(".freeze");
  put(button, account.frozen ? "Thaw" : "Freeze");
  button.setAttribute("aria-label", `${account.frozen ? "Thaw" : "Freeze"} ${name}`);
}

/** What the gateway expects of the period, where it says so. */
function forecast(account) {
  const { exhausted_in_s: seconds, projected_usd: end } = account.forecast || {};
  const words = [];
  if (typeof seconds === "number" && Number.isFinite(seconds)) words.push(seconds > 0 ? `used up in ${duration(seconds)}` : "used up");
  if (typeof end === "number") words.push(`${usd(end)} by the end of the period`);
  return [words.length ? `Forecast: ${words.join(", ")}` : "", typeof seconds === "number" ? "bad" : ""];
}

function confirmFreeze(name, freeze) {
  const box = $("confirm");
  put($("confirm-title"), `${freeze ? "Freeze" : "Thaw"} ${name}?`);
  put($("confirm-text"), freeze
    ? "Its next requests are refused with 402 until somebody thaws it. What runs already ends as usual."
    : "Its requests are admitted again, within its limit.");
  put($("confirm-yes"), freeze ? "Freeze" : "Thaw");
  put($("confirm-error"), "");
  $("confirm-yes").classList.toggle("danger", freeze);
  $("confirm-yes").disabled = false;
  $("confirm-yes").onclick = () => setFrozen(name, freeze);
  box.showModal();
  $("confirm-no").focus();
}

async function setFrozen(name, freeze) {
  $("confirm-yes").disabled = true;
  try {
    const answer = await ask(`api/${freeze ? "freeze" : "thaw"}/${encodeURIComponent(name)}`, { method: "POST" });
    if (!answer.ok) throw new Error(await message(answer));
    await pollSpend();
    $("confirm").close();
  } catch (error) {
    put($("confirm-error"), `Not done: ${error.message}`);
    $("confirm-yes").disabled = false;
  }
}

// ---------------------------------------------------------------- health

function renderStatus(status) {
  const checks = status.checks || {};
  const upstreams = (checks.upstreams && checks.upstreams.providers) || {};
  state.providers = upstreams;
  renderProviders();
  const config = checks.config || { ok: true };
  const facts = [
    ["Version in force", String(status.config_version)],
    ["Last reload", config.ok ? "ok" : "refused"],
    ["Agents", count(status.agents)], ["Models", count(status.models)],
    ["Weir", status.version], ["Up for", duration(status.uptime_seconds)],
  ];
  const parts = Object.entries(checks).filter(([name, check]) => !check.ok && name !== "upstreams" && name !== "config");
  for (const [name, check] of parts) facts.push([`Trouble: ${name}`, check.error || "not well"]);
  const rows = facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  $("config").replaceChildren(...rows);
  put($("config-error"), config.ok ? "" : config.error || "the last reload failed");
}

function renderProviders() {
  const traffic = (state.stats && state.stats.providers) || {};
  const names = [...new Set([...Object.keys(state.providers), ...Object.keys(traffic)])].sort();
  keyed($("providers"), names, (name) => name,
    () => el("li", {}, el("span", { class: "dot", "aria-hidden": "true" }), el("span", { class: "name" }), el("span", { class: "value" }), el("span", { class: "more" })),
    (node, name) => {
      const check = state.providers[name];
      const share = traffic[name];
      put(node.children[1], name);
      put(node.children[2], share ? `${count(share.requests)} attempts \u00b7 ${time(share.avg_ms)}` : "no traffic");
      const failed = share && share.errors ? `${count(share.errors)} of ${count(share.requests)} failed (${percent(share.errors / share.requests)})` : "";
      const words = check && !check.ok ? check.error || "not usable now" : check ? failed || "ok" : failed || "no longer configured";
      put(node.children[3], words);
      node.dataset.tone = check && !check.ok ? "bad" : "";
    }, "No provider is configured.");
}

// ---------------------------------------------------------------- recent requests

function addRows(rows, slides) {
  if (!rows.length) {
    $("recent-empty").hidden = $("recent").children.length > 0 || state.held.length > 0;
    return;
  }
  if (state.paused) {
    state.held = [...state.held, ...rows].slice(-ROWS_MAX);
    showPause();
    return;
  }
  const body = $("recent");
  const focused = document.activeElement;
  for (const row of rows) {
    const made = makeRow(row, slides);
    body.prepend(made);
    // Or it would slide again whenever a cell is hidden and shown, as on a narrower page.
    setTimeout(() => made.classList.remove("new"), 2000);
  }
  while (body.children.length > ROWS_MAX) {
    const last = body.lastElementChild;
    if (last === focused) (last.previousElementSibling || body).focus();
    last.remove();
  }
  // One row at a time is in the tab order; the arrows go on from there.
  const current = body.contains(document.activeElement) ? document.activeElement : body.firstElementChild;
  for (const row of body.children) row.tabIndex = row === current ? 0 : -1;
  $("recent-empty").hidden = true;
}

function makeRow(row, slides) {
  const model = row.final_model || row.requested_model || "\u2013";
  const tried = row.models_tried.slice(0, -1);
  const chain = row.attempts.map((one) => `${one.model} at ${one.provider}: ${one.outcome.replaceAll("_", " ")}${one.status ? ` (${one.status})` : ""}, ${time(one.ms)}`);
  const name = [`asked for ${row.requested_model || "no model"}`, ...chain].join("\n");
  const sure = row.confidence === null ? "" : ` \u00b7 ${percent(row.confidence)} sure`;
  const why = `${row.decision_reason || row.router || ""}${sure}`;
  const guard = row.guard_action ? `guard: ${row.guard_action} (${row.guard_rules.join(", ")})` : "";
  const reason = [
    `chosen by ${row.router || "name"}: ${row.decision_reason || "\u2013"}${sure}`,
    row.difficulty ? `${row.task_type}, ${row.difficulty}` : "", row.pin_state ? `pin: ${row.pin_state}` : "",
    row.error_type ? `error: ${row.error_type.replaceAll("_", " ")}` : "", guard,
  ].filter(Boolean).join("\n");
  const cell = (kind, text, more) => el("td", { class: kind, ...more }, text);
  const path = tried.length ? [el("s", {}, tried.join(" \u2192 ")), ` \u2192 ${model}`] : [model];
  const status = row.ok ? String(row.status) : `${row.status || "left"}`;
  return el("tr", { class: slides ? "new" : "", tabindex: "-1", "data-seq": row.seq, "data-tip": `${name}\n${reason}\nrequest ${row.request_id}` },
    cell("time dim", new Date(row.ended).toLocaleTimeString("en-GB")),
    cell("agent", row.agent || "\u2013"),
    cell("task dim", row.task_type || "\u2013"),
    el("td", { class: "model-cell", "data-tip": name }, el("span", { class: "model", "data-tier": tierOf(row.final_model) || "" }, ...path)),
    cell("tokens n dim", row.prompt_tokens + row.completion_tokens ? `${count(row.prompt_tokens)} / ${count(row.completion_tokens)}` : "\u2013"),
    cell("cost n", usd(row.cost_usd)),
    cell("latency n", time(row.latency_ms)),
    cell(`status ${row.ok ? "ok" : "bad"}`, status),
    el("td", { class: "why dim", "data-tip": reason }, row.ok ? why : (row.error_type || why).replaceAll("_", " ")));
}

function showPause() {
  const fresh = state.held.length === ROWS_MAX ? `${ROWS_MAX}+` : state.held.length;
  put($("pause"), state.paused ? (state.held.length ? `Resume (${fresh} new)` : "Resume") : "Pause");
  $("pause").setAttribute("aria-pressed", String(state.paused));
}

function togglePause() {
  state.paused = !state.paused;
  if (!state.paused) {
    const rows = state.held;
    state.held = [];
    addRows(rows, true);
  }
  showPause();
}

function moveRow(event) {
  const row = event.target.closest("tr");
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!row || !step || !row[step]) return;
  event.preventDefault();
  row.tabIndex = -1;
  row[step].tabIndex = 0;
  row[step].focus();
}

// ---------------------------------------------------------------- tooltips

function showTip(node) {
  const tip = $("tip");
  put(tip, node.dataset.tip);
  tip.hidden = false;
  node.setAttribute("aria-describedby", "tip");
  const around = node.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  const above = around.bottom + own.height + 12 > innerHeight && around.top > own.height + 12;
  tip.style.top = `${above ? around.top - own.height - 6 : around.bottom + 6}px`;
  const left = around.width > 500 ? around.left + 40 : around.left;
  tip.style.left = `${Math.max(12, Math.min(left, innerWidth - own.width - 12))}px`;
}

function hideTip() {
  $("tip").hidden = true;
  for (const node of document.querySelectorAll('[aria-describedby="tip"]')) node.removeAttribute("aria-describedby");
}

/** Focus scrolls what it lands on into view: its words go along. Others would stand in the wrong place. */
function moveTip() {
  const node = document.activeElement;
  if (!$("tip").hidden && node && node.matches("[data-tip]:focus-visible")) showTip(node);
  else hideTip();
}

function hover(event) {
  const node = event.target.closest("[data-tip]");
  hideTip();
  // A row as a whole explains itself on focus; under the mouse its cells do.
  if (node && node.tagName !== "TR") showTip(node);
}

// ---------------------------------------------------------------- everything

function render(stats) {
  renderCards(stats);
  renderCharts(stats);
  renderModels(stats);
  renderLatency(stats);
  renderTasks(stats);
  renderFlow(stats);
  renderGuards(stats);
  renderProviders();
}

function choose(event) {
  const button = event.target.closest("button[data-range]");
  if (!button || button.dataset.range === state.range) return;
  state.range = button.dataset.range;
  for (const one of $("ranges").children) one.setAttribute("aria-pressed", String(one === button));
  follow();
}

function start() {
  $("key-form").addEventListener("submit", enter);
  $("leave").addEventListener("click", () => forget(""));
  $("ranges").addEventListener("click", choose);
  $("pause").addEventListener("click", togglePause);
  $("recent").addEventListener("keydown", moveRow);
  $("confirm-no").addEventListener("click", () => $("confirm").close());
  document.addEventListener("mouseover", hover);
  document.addEventListener("focusin", (event) => {
    hideTip();
    if (event.target.matches("[data-tip]") && event.target.matches(":focus-visible")) showTip(event.target);
  });
  document.addEventListener("focusout", hideTip);
  document.addEventListener("scroll", moveTip, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawCharts);
  const sizes = new ResizeObserver((all) => {
    for (const { target } of all) {
      const chart = charts[target.id.replace("chart-", "")];
      if (chart && target.clientWidth !== chart.width) chart.setSize({ width: target.clientWidth, height: CHART_HEIGHT });
    }
  });
  for (const name of Object.keys(CHARTS)) sizes.observe($(`chart-${name}`));
  if (state.key) open();
  else showGate("");
}

start();
