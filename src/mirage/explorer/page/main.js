// The explorer's page: what the server says becomes pictures, what hands do becomes messages.

import { Cloud, frustum } from "./cloud.js";
import { Controls } from "./controls.js";
import { Minimap } from "./map.js";
import { Socket } from "./socket.js";
import { Timeline } from "./timeline.js";
import { Compare, View } from "./view.js";

const $ = (id) => document.getElementById(id);
const STAGES = { read: "#5d7fa8", condition: "#6f6fa8", draft: "#c79a6a", denoise: "#f2b880", depth: "#84c99a", static: "#5f9a8a", write: "#7fb4e6", decode: "#c8849a" };

const view = new View($("view")), cloud = new Cloud($("cloud")), map = new Minimap($("map")), compare = new Compare($("compare"));
const timeline = new Timeline($("timeline"), { go: (moment) => go(moment), compare: (moment) => compareWith(moment) });
const state = { lens: [0.8, 1, 0.5, 0.5], fps: 16, frames: new Map(), waiting: new Map(), pressed: new Map(), latencies: [], tip: null, key: 0, previews: 0, stops: 0, limit: Infinity };
const socket = new Socket({ onMessage: (header, payload) => receive[header.kind]?.(header, payload), onState: connection });
const send = (message) => socket.send(message);
const controls = new Controls({ stage: $("stage"), send, act: (name) => actions[name]?.(), onKey: (number) => { state.pressed.set(number, performance.now()); state.key = number; } });
window.mirage = { state, view, timeline, cloud, map, socket, controls, compare }; // for a console, and for tests

const receive = {
  hello(header) {
    sessionStorage.setItem("mirage", header.session);
    Object.assign(state, { lens: header.lens, fps: header.fps, limit: header.upload, tip: null });
    if (!header.back) state.frames.clear();
    timeline.clear();
    badge("made", "ready");
    state.ready = true;
  },

  first(header, payload) { view.still(payload); badge("made", "opening"); },

  async preview(header, payload) {
    state.tip = header.pose;
    meter(header.known);
    if (!view.playing || header.key > view.startKey) {
      view.skip();
      await view.preview(header, payload);
      if (!working()) badge("memory", "from memory");
    }
    send({ ack: header.n });
    state.previews++;
    answered(header.key);
    trace();
  },

  making(header) {
    timeline.making = header.moment; timeline.draw();
    state.live = [];
    progress(0.02); badge("making", "planning");
    $("stop").classList.add("on");
  },

  progress({ stage, step, steps }) {
    const share = (step / steps) * (stage === "draft" ? 0.25 : 0.35) + (stage === "draft" ? 0 : 0.25);
    progress(share);
    badge("making", step < steps ? `${stage === "draft" ? "sketching" : "drawing"} ${step} of ${steps}` : "remembering");
  },

  frames(header, payload) {
    let at = 0;
    const frames = header.sizes.map((size) => payload.slice(at, (at += size)));
    if (!header.live) {
      state.frames.set(header.moment, frames);
      state.waiting.get(header.moment)?.forEach((go) => go(frames));
      state.waiting.delete(header.moment);
      return;
    }
    state.live.push(...frames);
    badge("making", "showing");
    progress(0.6 + 0.4 * Math.min(1, state.live.length / 32));
    if (!compare.open) view.play(frames, state.fps, { live: true, key: state.key });
  },

  moment(header, payload) {
    timeline.making = null;
    timeline.add({ ...header, url: URL.createObjectURL(new Blob([payload], { type: "image/jpeg" })), thumb: payload });
    if (state.live?.length && header.moment > 0) { state.frames.set(header.moment, state.live); state.live = []; }
    numbers(header.report);
  },

  at({ moment, prompt }) {
    idle();
    const moved = timeline.current !== moment && timeline.moments.get(moment)?.parent !== timeline.current;
    timeline.at(moment);
    if (!$("prompt").matches(":focus")) $("prompt").value = prompt;
    $("prompt").classList.remove("waits");
    $("undo").disabled = (timeline.moments.get(moment)?.parent ?? null) === null;
    const there = timeline.moments.get(moment);
    if (moved || !view.playing) { if (moved || !controls.held.size) view.still(there.thumb); }
    if (!controls.held.size) state.tip = null;
    badge("made", moment === 0 ? "ready" : `chunk ${moment}`);
    trace();
  },

  cloud({ count, all }, payload) {
    const places = new Float32Array(payload, 0, 3 * count), colours = new Uint8Array(payload, 12 * count);
    cloud.set(places, colours); map.set(places, colours);
    $("points").textContent = `${all.toLocaleString("en")} points`;
  },

  stopped() {
    idle();
    timeline.making = null; timeline.draw();
    view.skip(); state.live = []; state.tip = null;
    const here = timeline.moments.get(timeline.current);
    if (here) view.still(here.thumb);
    badge("made", "stopped");
    state.stops++;
    trace();
  },

  file({ url, name }) {
    Object.assign(document.createElement("a"), { href: url, download: name }).click();
    toast(`${name} is being downloaded`);
  },

  error({ words }) { idle(); timeline.making = null; timeline.draw(); toast(words, true); },
  full({ words }) { state.full = true; badge("lost", "full"); toast(words, true, 60000); },
};

const actions = {
  stop: () => send({ stop: true }),
  undo: () => { const parent = timeline.moments.get(timeline.current)?.parent ?? null; if (parent !== null) go(parent); },
  prompt: () => $("prompt").select(),
  side: () => document.body.classList.toggle("narrow"),
  help: () => $("keys").showModal(),
  close: () => compare.open && compare.close(),
};

function go(moment) { controls.letGo(); view.skip(); send({ go: moment }); }

// The frames of a chunk, asked for once.
function framesOf(moment) {
  if (state.frames.has(moment)) return Promise.resolve(state.frames.get(moment));
  send({ frames: moment });
  return new Promise((done) => state.waiting.set(moment, [...(state.waiting.get(moment) ?? []), done]));
}

// Two moments, from where their walks part.
async function compareWith(moment) {
  const lines = [moment, timeline.current].map((number) => timeline.line(number));
  let shared = 0;
  while (lines[0][shared] !== undefined && lines[0][shared] === lines[1][shared]) shared++;
  const walks = await Promise.all(lines.map(async (line, i) => ({
    name: `${i ? "here" : "chunk"} ${line.at(-1)}${timeline.moments.get(line.at(-1)).report.prompt ? ` · ${timeline.moments.get(line.at(-1)).report.prompt.slice(0, 40)}` : ""}`,
    frames: (await Promise.all(line.slice(Math.max(0, shared - 1)).map(framesOf))).flat(),
  })));
  compare.show(walks);
}

async function upload(file) {
  if (!file) return;
  if (file.size > state.limit) return toast(`${file.name} has ${(file.size / 2 ** 20).toFixed(0)} MiB; at most ${(state.limit / 2 ** 20).toFixed(0)} are taken`, true);
  toast(`opening ${file.name}`);
  const answer = await fetch("/files", { method: "POST", body: file }).catch(() => null);
  if (!answer?.ok) return toast(answer ? await answer.text() : "the server does not answer", true);
  send({ open: (await answer.json()).ticket });
}

function connection(what, code, reason) {
  if (what === "open") return state.lost && ((state.lost = false), toast("connected again"));
  state.lost = true;
  idle();
  if (!state.full) badge("lost", code === 1008 || code === 4000 ? reason : "connection lost, trying again");
}

function answered(key) {
  const pressed = state.pressed.get(key);
  if (pressed === undefined) return;
  const took = performance.now() - pressed;
  for (const number of [...state.pressed.keys()]) if (number <= key) state.pressed.delete(number);
  state.latencies.push(took);
  const recent = state.latencies.slice(-20).sort((a, b) => a - b);
  $("latency").textContent = `${recent[recent.length >> 1].toFixed(0)} ms`;
}

function trace() {
  const here = timeline.moments.get(timeline.current)?.poses.at(-1);
  if (!here) return;
  const on = new Set(timeline.line(timeline.current));
  const walks = [...timeline.moments.values()].filter(({ parent }) => parent !== null).map(({ moment, parent, line }) => ({ line: [timeline.moments.get(parent).line.at(-1), ...line], on: on.has(moment) }));
  const pairs = (line) => line.slice(1).flatMap((point, i) => [...line[i], ...point]);
  const lines = walks.map(({ line, on }) => ({ points: pairs(line), ink: on ? [0.95, 0.72, 0.5, 1] : [0.45, 0.5, 0.58, 1] }));
  for (const { poses, moment } of timeline.moments.values()) lines.push({ points: frustum(poses.at(-1), state.lens, 0.16), ink: on.has(moment) ? [0.95, 0.72, 0.5, 0.8] : [0.4, 0.45, 0.52, 1] });
  lines.push({ points: frustum(here, state.lens, 0.4), ink: [1, 0.8, 0.6, 1] });
  if (state.tip) lines.push({ points: frustum(state.tip, state.lens, 0.4), ink: [0.5, 0.71, 0.9, 1] });
  cloud.trace(lines);
  map.trace(walks, here, state.tip, state.lens);
  const [x, , z] = state.tip ?? here;
  $("place").textContent = `${x.toFixed(1)}, ${z.toFixed(1)} m`;
}

function numbers({ seconds, memory_bytes, points, known }) {
  const spent = Object.entries(seconds ?? {}), total = spent.reduce((sum, [, value]) => sum + value, 0);
  $("bytes").textContent = `${(memory_bytes / 2 ** 20).toFixed(2)} MiB`;
  if (known !== undefined) meter(known);
  if (!total) return;
  $("total").textContent = `${total.toFixed(1)} s`;
  $("bars").replaceChildren(...spent.map(([stage, value]) => Object.assign(document.createElement("i"), { title: `${stage} ${value.toFixed(2)} s`, style: `flex:${value};background:${STAGES[stage] ?? "#888"}` })));
  const list = document.querySelector("#numbers dl");
  list.querySelectorAll(".stage").forEach((old) => old.remove());
  const rows = spent.filter(([, value]) => value >= 0.05).flatMap(([stage, value]) => {
    const term = Object.assign(document.createElement("dt"), { className: "stage", textContent: stage });
    term.prepend(Object.assign(document.createElement("i"), { style: `background:${STAGES[stage] ?? "#888"}` }));
    return [term, Object.assign(document.createElement("dd"), { className: "stage", textContent: `${value.toFixed(2)} s` })];
  });
  list.prepend(...rows);
}

function meter(known) {
  $("meter-value").textContent = `${Math.round(known * 100)}%`;
  $("meter-ring").style.strokeDasharray = `${known * 100} 100`;
}

function badge(kind, words) { $("badge").className = kind; $("badge-words").textContent = words; }
function working() { return $("making").classList.contains("on"); }
function progress(share) { $("making").classList.add("on"); $("making").firstElementChild.style.width = `${share * 100}%`; }
function idle() { $("making").classList.remove("on"); $("making").firstElementChild.style.width = 0; $("stop").classList.remove("on"); }

function toast(words, bad = false, lasts = bad ? 6000 : 2500) {
  $("toast").textContent = words;
  $("toast").className = `on${bad ? " bad" : ""}`;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => ($("toast").className = ""), lasts);
}

$("prompt-form").onsubmit = (event) => {
  event.preventDefault();
  send({ prompt: $("prompt").value });
  $("prompt").classList.add("waits"); $("prompt").blur(); $("stage").focus();
  toast("from the next chunk on");
};
$("prompt").onkeydown = ({ key }) => { if (key === "Escape") $("stage").focus(); };
$("load").onclick = () => $("file").click();
$("file").onchange = () => { upload($("file").files[0]); $("file").value = ""; };
$("save").onclick = () => { send({ save: true }); toast("saving the world"); };
$("record").onclick = () => { send({ record: timeline.current }); toast("making the video"); };
$("shot").onclick = async () => {
  if (!view.what) return;
  const url = URL.createObjectURL(await view.file());
  Object.assign(document.createElement("a"), { href: url, download: "view.png" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
};
for (const [id, name] of [["side", "side"], ["help", "help"], ["stop", "stop"], ["undo", "undo"]]) $(id).onclick = () => { actions[name](); $("stage").focus(); };
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dropping"); upload(event.dataTransfer.files[0]); });
if (innerWidth < 760) document.body.classList.add("narrow");
$("stage").focus();
