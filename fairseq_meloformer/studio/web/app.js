// The page: what is asked for, what comes of it, and its versions.

import { Blocks } from "./blocks.js";
import { InsecureError, Player } from "./player.js";
import { Roll } from "./roll.js";
import * as server from "./server.js";
import { chips, element, refusals, sliders } from "./understood.js";
import { EXAMPLES, language, speak, word } from "./words.js";

const $ = (id) => document.getElementById(id);
const MANNER = ["temperature", "top_k", "top_p", "tilt", "guidance_scale", "strength"]; // of all bars, also new ones
const ADVANCED = ["best_of", "transpose", ...MANNER];
const DEFAULT_BARS = 8;

const player = new Player();
const roll = new Roll($("roll"), (index) => player.hears(index));
const blocks = new Blocks($("blocks"), (text) => {
  $("text").value = text;
  share(null);
  read();
});

let names = []; // of the programs
let found = null; // what the sentence is taken to ask for
let axes = {}; // sliders that were moved
let plan = null; // a piece whose plan is followed
let shared = null; // steps that a link or a file brought
let running = null; // what cancels the composing
let asks = 0; // so many so far
let reading = null; // what cancels the reading of the sentence
let settled = null; // when it has been read
let tracks = new Set(); // roles that are to be written anew; none for all

// Versions of the session: each has pieces side by side, of which one is chosen.
let versions = [];
let at = -1;

const version = () => versions[at];
const current = () => version()?.pieces[version().chosen];
const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const random = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;

function fail(error) {
  if (error.name === "AbortError") return;
  $("error").textContent = error.message;
  $("error").hidden = false;
}

// --- the sentence -----------------------------------------------------------------------------------------------

function read(changes = {}) {
  reading?.abort();
  reading = new AbortController();
  if (Object.keys(changes).length) share(null);
  settled = understand(changes, reading.signal);
  return settled;
}

async function understand(changes, signal) {
  try {
    if (!Object.keys(changes).length) await new Promise((done) => setTimeout(done, 250));
    if (signal.aborted) return;
    const text = $("text").value.trim() || $("text").placeholder;
    const next = await server.understand({ text, ...changes }, signal);
    if (Object.keys(changes).length) $("text").value = next.text;
    found = next;
    $("error").hidden = true;
    show();
    if (!$("blocks").hidden && blocks.text !== $("text").value) blocks.open(found.sections, $("text").value);
    $("bars").placeholder = found.bars ?? (found.seconds ? "–" : DEFAULT_BARS);
    $("bars").disabled = found.sections.length > 0;
  } catch (error) {
    fail(error);
  }
}

function show() {
  chips($("understood"), found, names, read);
  sliders($("axes"), found, axes);
}

function examples() {
  for (const box of document.querySelectorAll(".examples")) {
    box.replaceChildren(
      ...EXAMPLES[language].map((text) =>
        element("button", { type: "button", className: "chip", textContent: text, onclick: () => take(text) }),
      ),
    );
  }
}

function take(text) {
  share(null);
  $("text").value = text;
  axes = {};
  $("more").open = false;
  if (!$("blocks").hidden) toggleBlocks();
  read();
}

async function toggleBlocks() {
  const open = $("blocks").hidden;
  if (open) await settled;
  $("blocks").hidden = !open;
  $("blocks-toggle").setAttribute("aria-expanded", open);
  if (!open) return;
  blocks.open(found?.sections ?? [], $("text").value);
  $("text").value = blocks.text;
  share(null);
  read();
}

// --- composing --------------------------------------------------------------------------------------------------

// What the form says of how bars are written; a field that is empty says nothing.
function manner(names) {
  const said = Object.fromEntries(names.filter((name) => $(name).value).map((name) => [name, Number($(name).value)]));
  return Object.keys(axes).length ? { ...said, axes } : said;
}

function asked() {
  const text = $("text").value.trim() || $("text").placeholder;
  const ask = { text, seed: Number($("seed").value), count: Number($("count").value), ...manner(ADVANCED) };
  const length = Number($("bars").value);
  if (!found?.sections.length) {
    if (length) ask.bars = length;
    else if (!found?.bars && !found?.seconds && !plan) ask.bars = DEFAULT_BARS;
  }
  if (plan) ask.plan_from = plan.id;
  return ask;
}

// Composes, and shows what is written as a new version while it grows. Gives the pieces.
async function compose(ask) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const before = at;
  const key = `asked ${++asks} `;
  const bars = ask.passage?.bars; // they stay selected, and it is played from there
  const drafts = { pieces: [], chosen: 0, key, held: Boolean(bars), from: (bars && current()?.lines[bars[0] - 1]) ?? 0 };
  let finished = false;
  busy(true);
  progress(0, word("waiting", 0));
  player.open().catch(() => {}); // it says what is wrong when it is asked to play
  try {
    for await (const event of server.compose(ask, signal)) {
      if (event.event === "queued") progress(0, word("waiting", event.place));
      if (event.event === "bar") grow(drafts, ask, event);
      if (event.event === "piece") place(drafts, event.piece, event);
      finished ||= event.event === "done";
    }
    return drafts.pieces;
  } catch (error) {
    fail(error);
    return [];
  } finally {
    if (!finished && versions.includes(drafts)) {
      versions.splice(versions.indexOf(drafts), 1);
      at = Math.min(before, versions.length - 1);
      present({ from: 0 });
    }
    if (running?.signal === signal) busy(false);
    keep();
  }
}

function grow(drafts, ask, event) {
  progress(event.bars / event.total, word("written", event.bars, event.total));
  if (!event.draft || drafts.pieces[event.piece]?.id) return;
  const sections = found?.sections ?? [];
  place(drafts, event.piece, { ...event.draft, text: ask.text, growing: true, total: event.total, sections });
}

function place(drafts, number, piece) {
  const grown = drafts.pieces[number];
  drafts.pieces[number] = { ...piece, key: `${drafts.key}${number}` };
  if (!versions.includes(drafts)) {
    if (number) return; // the first is shown first
    versions = [...versions.slice(0, at + 1), drafts];
    at = versions.length - 1;
    player.pause();
    present({ from: drafts.from, held: drafts.held });
  } else if (version() === drafts) {
    if (number === drafts.chosen) present({ grown: grown !== undefined });
    else tabs();
  }
}

function busy(on) {
  $("cancel").hidden = !on;
  $("progress").hidden = !on;
  document.body.classList.toggle("busy", on);
  for (const id of ["compose", "again", "after", "before"]) $(id).disabled = on;
  if (on) $("error").hidden = true;
}

function progress(share, text) {
  $("progress").firstElementChild.value = share;
  $("progress").lastElementChild.textContent = text;
}

// --- what is shown and heard ------------------------------------------------------------------------------------

function present({ from, grown = false, held = grown } = {}) {
  const piece = current();
  $("piece").hidden = !piece;
  $("welcome").hidden = Boolean(piece);
  if (!piece) {
    player.pause();
    return;
  }
  player.load(piece, { from });
  roll.load(piece, { keep: held });
  roll.follow(player.position);
  $("facts").textContent = [`${piece.tempo} bpm`, piece.metre, keyName(piece)].filter(Boolean).join(" · ");
  $("unkept").replaceChildren(...refusals(piece));
  tabs();
  legend();
  if (!grown || !piece.growing) actions(piece);
}

function keyName({ attributes }) {
  const [tonic, mode] = attributes?.key?.split?.(" ") ?? [];
  return mode ? `${tonic} ${word(mode)}` : "";
}

function tabs() {
  const { pieces, chosen } = version();
  const shown = pieces.flatMap((piece, index) => {
    const label = `${word("candidate", index + 1)}${piece.growing ? ` · ${word("draft")}` : ""}`;
    const tab = element("button", {
      type: "button", textContent: label,
      onclick: () => {
        version().chosen = index;
        present({ from: 0 });
        keep();
      },
    });
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", index === chosen);
    return tab;
  });
  const settled = pieces.length > 1 && pieces.every((piece) => !piece.growing);
  const one = element("button", {
    type: "button", className: "quiet", textContent: word("keep"),
    onclick: () => {
      versions[at] = { ...version(), pieces: [current()], chosen: 0 };
      present();
      keep();
    },
  });
  const title = element("span", { className: "title", textContent: current().text });
  $("tabs").replaceChildren(title, ...(pieces.length > 1 ? shown : []), ...(settled ? [one] : []));
}

function legend() {
  const button = (label, title, set, index) => {
    const node = element("button", {
      type: "button", textContent: label, title: word(title),
      onclick: () => {
        player.toggle(set, index);
        legend();
        roll.draw();
      },
    });
    node.setAttribute("aria-pressed", player.has(set, index));
    node.setAttribute("aria-label", `${word(title)}: ${current().tracks[index].name}`);
    return node;
  };
  $("tracks").replaceChildren(
    ...current().tracks.map((track, index) => {
      const dot = element("i");
      dot.style.background = track.drums ? "var(--drums)" : track.colour;
      const name = element("span", { textContent: language === "zh" ? track.zh : track.name });
      const row = element("li", {}, dot, name, button("M", "mute", player.muted, index), button("S", "solo", player.solo, index));
      row.classList.toggle("silent", !player.hears(index));
      return row;
    }),
  );
}

function actions(piece) {
  const whole = piece.lines.length - 1;
  const ready = Boolean(piece.id);
  $("change").hidden = !ready || !piece.changes;
  $("take").hidden = !ready;
  $("first").max = $("last").max = whole;
  if (!roll.selection) [$("first").value, $("last").value] = [1, whole];
  $("undo").disabled = at <= 0;
  $("redo").disabled = at >= versions.length - 1;
  $("versions").replaceChildren(
    ...(versions.length > 1 ? versions : []).map((_, index) => {
      const chip = element("button", { type: "button", className: "chip", textContent: word("version", index + 1), onclick: () => go(index) });
      chip.setAttribute("aria-pressed", index === at);
      return chip;
    }),
  );
  roles(piece);
  const link = (kind, text) => element("a", { href: `/pieces/${piece.id}.${kind}`, className: "button", textContent: text, download: "" });
  $("take").replaceChildren(
    link("mid", "MIDI"), link("wav", "WAV"), link("musicxml", "MusicXML"), link("png", "PNG"), link("html", word("page")), link("json", "JSON"), link("zip", word("zip")),
    ...(repeatable(piece) ? [copyLink(piece)] : []),
  );
}

// The names of what plays one of the six.
function called(piece, role) {
  const own = piece.tracks.filter((track) => track.role === role);
  return own.map((track) => (language === "zh" ? track.zh : track.name)).join(" + ");
}

function roles(piece) {
  const there = [...new Set(piece.tracks.map((track) => track.role).filter(Boolean))];
  tracks = new Set([...tracks].filter((role) => there.includes(role)));
  $("roles").replaceChildren(
    ...there.map((role) => {
      const chip = element("button", {
        type: "button", className: "chip", textContent: called(piece, role),
        onclick: () => {
          if (!tracks.delete(role)) tracks.add(role);
          chip.setAttribute("aria-pressed", tracks.has(role));
        },
      });
      chip.setAttribute("aria-pressed", tracks.has(role));
      return chip;
    }),
  );
}

function go(index) {
  if (index < 0 || index >= versions.length) return;
  at = index;
  present({ from: Math.min(player.position, current().lines.at(-1)) });
  keep();
}

async function change(passage) {
  const piece = current();
  const text = $("again-text").value.trim();
  const ask = { text, seed: random(), ...manner(MANNER), passage: { piece: piece.id, ...passage } };
  if (tracks.size) ask.passage.tracks = [...tracks];
  await compose(ask);
}

// --- taking and bringing ----------------------------------------------------------------------------------------

const repeatable = (piece) => piece.made?.length && !piece.made[0].passage && !piece.made.some((step) => step.plan_from);

function copyLink(piece) {
  const bytes = new TextEncoder().encode(JSON.stringify(piece.made));
  const href = `${location.origin}/#${btoa(String.fromCharCode(...bytes))}`;
  const button = element("a", {
    className: "button", href, textContent: word("copy"),
    onclick: async (event) => {
      event.preventDefault();
      await navigator.clipboard?.writeText(href).catch(() => {});
      history.replaceState(null, "", href);
      button.textContent = word("copied");
    },
  });
  return button;
}

// What the button composes: steps that were shared, until anything else is asked for.
function share(made) {
  shared = made;
  $("compose").dataset.word = made ? "shared" : "compose";
  $("compose").textContent = word($("compose").dataset.word);
}

// Steps that made a piece, offered to be taken again; `files` are the ids here of pieces that they need, by their old ids.
function offer(made, files = {}) {
  if (!Array.isArray(made) || !made.length) throw new Error(word("noRecipe"));
  share(
    made.map((step) => ({
      ...step,
      ...(step.plan_from && { plan_from: files[step.plan_from] ?? step.plan_from }),
      ...(step.passage && { passage: { ...step.passage, piece: files[step.passage.piece] } }),
    })),
  );
  const [first] = made;
  $("text").value = String(first.text ?? "");
  $("bars").value = first.bars ?? "";
  $("seed").value = first.seed ?? 0;
  $("count").value = 1;
  axes = { ...first.axes };
  for (const name of ADVANCED) if (first[name] !== undefined) $(name).value = first[name];
  read();
}

async function repeat(made) {
  let last = null;
  for (const step of made) {
    const passage = step.passage ? { passage: { ...step.passage, piece: step.passage.piece ?? last.id } } : {};
    [last] = await compose({ ...step, ...passage });
    if (!last) return;
  }
}

function fromLink() {
  if (location.hash.length < 2) return;
  try {
    const bytes = Uint8Array.from(atob(location.hash.slice(1)), (character) => character.charCodeAt(0));
    offer(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (error) {
    fail(error);
  }
}

function add(piece) {
  versions = [...versions.slice(0, at + 1), { pieces: [{ ...piece, key: piece.id }], chosen: 0 }];
  at = versions.length - 1;
  $("error").hidden = true;
  player.pause();
  present({ from: 0 });
  keep();
}

async function bring(file) {
  try {
    if (file.name.endsWith(".json")) {
      const { text, made, files, names: titles } = JSON.parse(await file.text());
      const brought = {};
      for (const [id, data] of Object.entries(files ?? {})) {
        const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
        brought[id] = (await server.bring(new File([bytes], titles?.[id] ?? text ?? ""))).id;
      }
      if (made?.length || !Object.keys(brought).length) offer(made, brought);
      else add(await server.piece(Object.values(brought)[0]));
      return;
    }
    add(await server.bring(file));
  } catch (error) {
    fail(error);
  }
}

// The session outlives a reload of the page.
function keep() {
  const kept = versions
    .filter(({ pieces }) => pieces.length && pieces.every((piece) => piece?.id))
    .map(({ pieces, chosen }) => ({ pieces: pieces.map((piece) => piece.id), chosen }));
  sessionStorage.setItem("versions", JSON.stringify({ kept, at }));
}

async function restore() {
  const { kept, at: was } = JSON.parse(sessionStorage.getItem("versions") ?? '{"kept": []}');
  const load = async ({ pieces, chosen }) => ({
    chosen,
    pieces: await Promise.all(pieces.map(async (id) => ({ ...(await server.piece(id)), key: id }))),
  });
  versions = (await Promise.allSettled(kept.map(load))).flatMap(({ value }) => value ?? []);
  at = Math.min(was ?? -1, versions.length - 1);
  present({ from: 0 });
}

// --- wiring -----------------------------------------------------------------------------------------------------

function setPlan(piece) {
  plan = piece;
  share(null);
  $("plan").hidden = !piece;
  if (!piece) return;
  const gone = element("button", { type: "button", textContent: "×", title: word("remove"), onclick: () => setPlan(null) });
  $("plan").replaceChildren(element("span", { textContent: word("plan", piece.text || word("brought")) }), gone);
}

function translate(chosen) {
  speak(chosen);
  examples();
  if (found) show();
  if (!$("blocks").hidden) blocks.open(found?.sections ?? [], $("text").value);
  if (current()) present();
}

function tick() {
  if (player.playing) roll.follow(player.position);
  $("time").textContent = `${minutes(player.position)} / ${minutes(player.length)}`;
  requestAnimationFrame(tick);
}

const toggle = () => (player.playing ? player.pause() : player.play().catch(mute));
const mute = (error) => fail(new Error(error instanceof InsecureError ? word("insecure") : `${word("silent")} ${error.message}`));

$("text").oninput = () => read();
$("ask").oninput = () => share(null);
$("blocks-toggle").onclick = toggleBlocks;
$("dice").onclick = () => {
  $("seed").value = random();
  share(null);
};
$("ask").onsubmit = async (event) => {
  event.preventDefault();
  const made = shared;
  share(null);
  if (made) return repeat(made);
  await settled; // or it would be as long as the sentence before asks for
  compose(asked());
};
$("cancel").onclick = () => running?.abort();
$("play").onclick = toggle;
$("volume").oninput = () => (player.volume = Number($("volume").value));
$("zoom-in").onclick = () => roll.magnify(1.6);
$("zoom-out").onclick = () => roll.magnify(1 / 1.6);
$("zoom-fit").onclick = () => roll.magnify(0);
$("undo").onclick = () => go(at - 1);
$("redo").onclick = () => go(at + 1);
$("change").onsubmit = (event) => {
  event.preventDefault();
  change({ bars: [Number($("first").value), Number($("last").value)] });
};
$("after").onclick = () => change({ after: Number($("added").value) });
$("before").onclick = () => change({ before: Number($("added").value) });
$("as-plan").onclick = () => setPlan(current());
$("open").onclick = () => $("file").click();
$("file").onchange = () => {
  if ($("file").files.length) bring($("file").files[0]);
  $("file").value = "";
};
$("language").onclick = () => translate(language === "zh" ? "en" : "zh");
for (const id of ["first", "last"]) {
  $(id).onchange = () => roll.select(Number($("first").value), Number($("last").value));
}
roll.addEventListener("select", () => {
  const [first, last] = roll.selection ?? [1, current().lines.length - 1];
  [$("first").value, $("last").value] = [first, last];
});
roll.addEventListener("seek", (event) => {
  player.seek(event.detail);
  roll.follow(player.position);
});
player.addEventListener("change", () => {
  $("play").setAttribute("aria-pressed", player.playing);
});
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input:not([type=range]), textarea, select")) return;
  if (event.key === " " && !event.target.closest("summary")) {
    event.preventDefault();
    if (current()) toggle();
  } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    go(at + (event.shiftKey ? 1 : -1));
  }
});
document.addEventListener("keyup", (event) => {
  if (event.key === " " && event.target.closest("button")) event.preventDefault();
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) bring(event.dataTransfer.files[0]);
});
addEventListener("hashchange", fromLink);

speak();
examples();
$("seed").value = random();
requestAnimationFrame(tick);
names = await fetch("/instruments").then((answer) => answer.json());
await restore();
fromLink();
await read();
Object.assign(window, { studio: { player, roll, current } }); // for the console, and for tests
document.body.dataset.ready = "yes";
