// What the sentence is taken to ask for, as chips and sliders that can be changed.

import { INSTRUMENTS, language, unkept, word } from "./words.js";

const TONICS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
const METRES = ["4/4", "3/4", "6/8", "2/4"];

export const element = (name, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
};

const choice = (label, value, options, change) => {
  const select = element("select", { onchange: () => change(select.value) });
  select.append(...options.map(([name, text]) => new Option(text, name)));
  if (![...select.options].some((option) => option.value === value)) select.append(new Option(value, value));
  select.value = value;
  return element("label", { className: value ? "chip said" : "chip" }, element("span", { textContent: label }), select);
};

// Fills the box with chips; `rephrase(changes)` asks for another sentence.
export function chips(box, found, names, rephrase) {
  const tempo = element("input", {
    type: "number", min: 16, max: 256, value: found.tempo ? Math.round(found.tempo) : "", placeholder: "–",
    onchange: () => rephrase({ tempo: tempo.value || 0 }),
  });
  const keys = TONICS.flatMap((tonic) =>
    ["major", "minor"].map((mode) => [`${tonic} ${mode}`, `${tonic} ${word(mode)}`]),
  );
  const more = element("select", { className: "chip add", onchange: () => rephrase({ instrument: more.value }) });
  more.append(new Option(word("addInstrument"), ""));
  more.append(...INSTRUMENTS.map((both) => both[language === "zh" ? 1 : 0]).map((name) => new Option(name, name)));
  const all = element(
    "div",
    { className: "chips" },
    element("label", { className: found.tempo ? "chip said" : "chip" }, element("span", { textContent: word("tempo") }), tempo),
    choice(word("key"), found.key ?? "", [["", "–"], ...keys], (key) => rephrase({ key })),
    choice(word("metre"), found.metre ?? "", [["", "–"], ...METRES.map((one) => [one, one])], (metre) => rephrase({ metre })),
    ...found.instruments.map((one) => instrument(one, names, rephrase)),
    more,
  );
  if (found.bars) all.append(element("span", { className: "chip said", textContent: word("length", found.bars) }));
  else if (found.seconds) all.append(element("span", { className: "chip said", textContent: word("seconds", found.seconds) }));
  box.replaceChildren(all, ...refusals(found));
}

// A line for each thing that is not kept.
export function refusals({ not_honoured: phrases = [] }) {
  return phrases.map((phrase) => element("p", { className: "warn", textContent: unkept(phrase) }));
}

function instrument({ name, program, wanted }, names, rephrase) {
  const own = names[program]?.[language] ?? name;
  const label = wanted ? own : word("no", own);
  const gone = element("button", { type: "button", textContent: "×", title: word("remove"), onclick: () => rephrase({ without: program }) });
  gone.setAttribute("aria-label", `${word("remove")}: ${label}`);
  return element("span", { className: "chip said" }, element("span", { textContent: label }), gone);
}

// Fills the box with eight sliders; a moved one, which `axes` holds, is no longer what the sentence says, and a double
// click takes that back.
export function sliders(box, found, axes) {
  const rows = Object.entries(word("axes")).map(([axis, [low, high]]) => {
    const slider = element("input", { type: "range", min: -1, max: 1, step: 0.1, value: axes[axis] ?? found.axes[axis] });
    slider.dataset.axis = axis;
    slider.setAttribute("aria-label", `${low} – ${high}`);
    const row = element("div", { className: "axis" }, element("span", { textContent: low }), slider, element("span", { textContent: high }));
    const mark = () => {
      row.classList.toggle("moved", axis in axes);
      row.classList.toggle("said", Math.abs(Number(slider.value)) >= 0.1);
    };
    slider.oninput = () => {
      axes[axis] = Number(slider.value);
      mark();
    };
    row.ondblclick = () => {
      delete axes[axis];
      slider.value = found.axes[axis];
      mark();
      row.dispatchEvent(new Event("input", { bubbles: true })); // something else is asked for
    };
    mark();
    return row;
  });
  box.replaceChildren(...rows);
}
