// The piano roll: notes over bars, a colour for each track, drums in lanes below, sections above, and a play cursor.

const RULER = 34;
const LANE = 9;
const KIT = [[35, 36], [37, 38, 39, 40], [41, 43, 45, 47, 48, 50], [42, 44, 46], [49, 51, 52, 53, 55, 57, 59]];
const BLACK = [1, 3, 6, 8, 10];
const DRAG = 6; // pixels that are no click any more

const lane = (pitch) => {
  const index = KIT.findIndex((pitches) => pitches.includes(pitch));
  return index < 0 ? KIT.length : index;
};

export class Roll extends EventTarget {
  piece = null;
  selection = null; // [first, last] bars from 1
  cursor = 0;
  zoom = 1; // 1 shows all
  #scroll = 0; // seconds at the left edge
  #down = null;

  constructor(canvas, hears) {
    super();
    this.canvas = canvas;
    this.hears = hears;
    this.context = canvas.getContext("2d");
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", () => (this.#down = null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  load(piece, { keep = false } = {}) {
    this.piece = piece;
    if (!keep) this.selection = null;
    const pitched = piece.tracks.filter((track) => !track.drums).flatMap((track) => track.notes.map((note) => note[2]));
    const low = pitched.length ? Math.min(...pitched) : 55;
    const high = pitched.length ? Math.max(...pitched) : 79;
    const spare = Math.max(0, 24 - (high - low)) / 2;
    [this.low, this.high] = [Math.floor(low - 2 - spare), Math.ceil(high + 2 + spare)];
    this.draw();
  }

  // Seconds that the whole width would show at zoom 1: of a growing piece all that it will have.
  get length() {
    const { lines, total } = this.piece;
    const bars = lines.length - 1;
    return total > bars ? (lines.at(-1) * total) / Math.max(1, bars) : lines.at(-1);
  }

  get #rate() {
    return (this.canvas.clientWidth / Math.max(0.1, this.length)) * this.zoom;
  }

  x(second) {
    return (second - this.#scroll) * this.#rate;
  }

  second(x) {
    return x / this.#rate + this.#scroll;
  }

  bar(second) {
    const after = this.piece.lines.findIndex((line) => line > second);
    return after < 0 ? this.piece.lines.length - 1 : Math.max(1, after);
  }

  magnify(factor, at = this.canvas.clientWidth / 2) {
    const held = this.second(at);
    this.zoom = factor ? Math.max(1, Math.min(40, this.zoom * factor)) : 1;
    this.#scrollTo(held - at / this.#rate);
  }

  select(first, last) {
    this.selection = first ? [Math.min(first, last), Math.max(first, last)] : null;
    this.draw();
    this.dispatchEvent(new Event("select"));
  }

  // The cursor stays in view while it moves by itself.
  follow(second) {
    this.cursor = second;
    const at = this.x(second);
    if (this.zoom > 1 && (at > this.canvas.clientWidth * 0.9 || at < 0)) this.#scroll = this.#held(second - 20 / this.#rate);
    this.draw();
  }

  #held(second) {
    return Math.max(0, Math.min(second, this.length - this.canvas.clientWidth / this.#rate));
  }

  #scrollTo(second) {
    this.#scroll = this.#held(second);
    this.draw();
  }

  #press(event) {
    if (!this.piece) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#down = { x: event.offsetX, bar: this.bar(this.second(event.offsetX)), dragged: false };
  }

  #move(event) {
    if (!this.#down) return;
    this.#down.dragged ||= Math.abs(event.offsetX - this.#down.x) > DRAG;
    if (this.#down.dragged) this.select(this.#down.bar, this.bar(this.second(event.offsetX)));
  }

  #release(event) {
    if (this.#down && !this.#down.dragged) {
      this.select(0, 0);
      this.dispatchEvent(new CustomEvent("seek", { detail: this.second(event.offsetX) }));
    }
    this.#down = null;
  }

  #wheel(event) {
    if (!this.piece) return;
    if (event.ctrlKey) {
      event.preventDefault();
      this.magnify(Math.exp(-event.deltaY / 200), event.offsetX);
    } else if (this.zoom > 1 && (event.deltaX || event.shiftKey)) {
      event.preventDefault();
      this.#scrollTo(this.#scroll + (event.deltaX || event.deltaY) / this.#rate);
    }
  }

  draw() {
    if (!this.piece) return;
    const { canvas, context } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!height) return; // it is hidden
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const kit = this.piece.tracks.some((track) => track.drums) ? (KIT.length + 1) * LANE + 6 : 0;
    const foot = height - kit;
    const tall = (foot - RULER) / (this.high - this.low + 1);
    const y = (pitch) => foot - (pitch - this.low + 1) * tall;
    context.fillStyle = colour("stripe");
    for (let pitch = this.low; pitch <= this.high; pitch++) {
      if (BLACK.includes(((pitch % 12) + 12) % 12)) context.fillRect(0, y(pitch), width, tall);
    }
    if (kit) context.fillRect(0, foot, width, 1);
    this.#bars(width, height, colour);
    for (const [index, track] of this.piece.tracks.entries()) {
      const heard = this.hears(index);
      context.fillStyle = track.drums ? colour("drums") : track.colour;
      for (const [begin, length, pitch, velocity] of track.notes) {
        const left = this.x(begin);
        const wide = track.drums ? 4 : Math.max(2, length * this.#rate - 1);
        if (left > width || left + wide < 0) continue;
        context.globalAlpha = (heard ? 1 : 0.15) * (0.5 + (0.5 * velocity) / 127);
        if (track.drums) context.fillRect(left, height - 3 - (lane(pitch) + 1) * LANE + 1, wide, LANE - 2);
        else {
          context.beginPath();
          context.roundRect(left, y(pitch) + 0.5, wide, Math.max(2, tall - 1), Math.min(2.5, tall / 3));
          context.fill();
        }
      }
    }
    context.globalAlpha = 1;
    context.fillStyle = colour("cursor");
    context.fillRect(this.x(this.cursor) - 1, RULER - 12, 2, height);
  }

  #bars(width, height, colour) {
    const { context, piece } = this;
    const lines = piece.lines;
    if (piece.written) {
      context.fillStyle = colour("written");
      const [first, last] = piece.written;
      const [left, right] = [this.x(lines[first - 1] ?? 0), this.x(lines[last] ?? lines.at(-1))];
      context.fillRect(left, RULER - 3, right - left, 3);
    }
    if (this.selection) {
      context.fillStyle = colour("selected");
      const [left, right] = [this.x(lines[this.selection[0] - 1]), this.x(lines[this.selection[1]])];
      context.fillRect(left, 0, right - left, height);
    }
    const every = [1, 2, 4, 8, 16].find((step) => (lines.at(-1) / Math.max(1, lines.length - 1)) * step * this.#rate > 26) ?? 32;
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    lines.forEach((line, index) => {
      const left = this.x(line);
      if (left < -40 || left > width + 1) return;
      context.fillStyle = colour("line");
      context.fillRect(Math.round(left), index % every ? RULER : RULER - 12, 1, height);
      context.fillStyle = colour("pale");
      if (index < lines.length - 1 && index % every === 0) context.fillText(String(index + 1), left + 4, RULER - 5);
    });
    for (const section of piece.sections ?? []) {
      if (section.first > lines.length - 1) continue;
      const [left, right] = [this.x(lines[section.first - 1]), this.x(lines[Math.min(section.last, lines.length - 1)])];
      context.save();
      context.beginPath();
      context.rect(left, 0, right - left - 2, 18);
      context.fillStyle = colour("section");
      context.fill();
      context.clip();
      context.fillStyle = colour("ink");
      context.fillText(section.text, Math.max(left, 0) + 6, 13);
      context.restore();
    }
  }
}
