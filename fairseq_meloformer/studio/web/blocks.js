// The timeline editor: sections as blocks with a text each, as wide as they are long; they are the sentence.

import { word } from "./words.js";
import { element } from "./understood.js";

export class Blocks {
  #sections = [];

  constructor(box, changed) {
    this.box = box;
    this.changed = changed;
  }

  // Sections of the sentence, or two to begin with.
  open(sections, text) {
    this.#sections = sections.length
      ? sections.map(({ first, last, text: said }) => ({ bars: last - first + 1, text: said }))
      : [{ bars: 4, text: text.trim() }, { bars: 4, text: "" }];
    this.#draw();
  }

  get text() {
    let first = 1;
    return this.#sections
      .map(({ bars, text }) => {
        const said = `${first}-${first + bars - 1}: ${text.replaceAll(/[|｜¦\r\n]+/g, " ").trim() || "…"}`;
        first += bars;
        return said;
      })
      .join(" | ");
  }

  #draw() {
    const add = element("button", {
      type: "button", className: "quiet", textContent: word("addSection"),
      onclick: () => this.#change(() => this.#sections.push({ bars: 4, text: "" })),
    });
    this.box.replaceChildren(...this.#sections.map((section, index) => this.#block(section, index)), add);
  }

  #block(section, index) {
    const text = element("textarea", {
      value: section.text, rows: 2, maxLength: 300,
      oninput: () => {
        section.text = text.value;
        this.changed(this.text);
      },
    });
    text.setAttribute("aria-label", word("sentence"));
    const button = (label, change) => element("button", { type: "button", textContent: label, onclick: () => this.#change(change) });
    const bars = element("span", { textContent: word("length", section.bars) });
    const block = element(
      "div",
      { className: "block" },
      text,
      element(
        "div",
        { className: "row" },
        button("−", () => (section.bars = Math.max(1, section.bars - 1))),
        bars,
        button("+", () => (section.bars = Math.min(64, section.bars + 1))),
        button("×", () => this.#sections.length > 1 && this.#sections.splice(index, 1)),
      ),
    );
    block.style.flexGrow = section.bars;
    return block;
  }

  #change(change) {
    change();
    this.#draw();
    this.changed(this.text);
  }
}
