// Plays the notes of a piece with the soundfont of the server, also while the piece is still growing.

import { WorkletSynthesizer } from "spessasynth_lib";
import { soundfont } from "./server.js";

const DRUMS = 9;
const LATE = 0.1; // seconds between asking for a note and hearing it
const HIDDEN = 1.5; // the same where the browser wakes a hidden page once a second
const VOLUME = 7; // MIDI controller

// Browsers have audio worklets only where nobody on the way could have changed them.
export class InsecureError extends Error {}

export class Player extends EventTarget {
  piece = null;
  playing = false;
  muted = new Set(); // keys of tracks
  solo = new Set();
  #position = 0; // where it stands while it does not play
  #origin = 0; // time of the audio clock at which the piece begins
  #notes = []; // {begin, end, pitch, velocity, channel}, by begin
  #next = 0;
  #keys = []; // of the tracks
  #level = new Float32Array(1024);

  // Seconds from the beginning of the piece.
  get position() {
    return this.playing ? Math.max(0, Math.min(this.context.currentTime - this.#origin, this.length)) : this.#position;
  }

  get length() {
    return this.piece?.lines.at(-1) ?? 0;
  }

  // How loud it is now: root mean square.
  get level() {
    if (!this.context) return 0;
    this.analyser.getFloatTimeDomainData(this.#level);
    return Math.hypot(...this.#level) / Math.sqrt(this.#level.length);
  }

  set volume(value) {
    this.wanted = value;
    if (this.gain) this.gain.gain.value = value;
  }

  // Browsers want a click before the first sound, so that this is called by the first play.
  open() {
    if (this.opened) return this.opened;
    const context = new AudioContext();
    this.opened = this.#open(context).catch((error) => {
      this.opened = null;
      context.close();
      throw error;
    });
    return this.opened;
  }

  async #open(context) {
    if (!context.audioWorklet) throw new InsecureError();
    const [bank] = await Promise.all([
      soundfont(),
      context.audioWorklet.addModule("/web/vendor/spessasynth_lib/spessasynth_processor.min.js"),
    ]);
    this.synth = new WorkletSynthesizer(context);
    this.gain = new GainNode(context, { gain: this.wanted ?? 0.8 });
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.synth.connect(this.gain);
    this.gain.connect(this.analyser).connect(context.destination);
    await this.synth.soundBankManager.addSoundBank(bank, "gm");
    await this.synth.isReady;
    this.context = context; // from here on it can play
    this.#seat();
    setInterval(() => this.#step(), 25);
  }

  // Another piece, or the same one with more bars; where it stands and whether it plays stays as it is.
  load(piece, { from } = {}) {
    const before = this.piece;
    this.piece = piece;
    const free = [...Array(16).keys()].filter((channel) => channel !== DRUMS);
    // A track by its program, and by its place among those of the same: others may enter before it.
    this.#keys = piece.tracks.map(({ program }, index) => {
      const same = piece.tracks.slice(0, index).filter((track) => track.program === program);
      return `${program}/${same.length}`;
    });
    this.channels = piece.tracks.map((track, index) => (track.drums ? DRUMS : free[index % free.length]));
    this.#notes = piece.tracks
      .flatMap((track, index) =>
        track.notes.map(([begin, length, pitch, velocity]) => ({
          begin, end: begin + length, pitch, velocity, channel: this.channels[index],
        })),
      )
      .sort((one, other) => one.begin - other.begin);
    for (const set of [this.muted, this.solo]) {
      for (const key of set) if (before?.key !== piece.key || !this.#keys.includes(key)) set.delete(key);
    }
    if (this.context) this.#seat();
    if (from !== undefined) this.seek(from);
    else if (this.playing) this.#find(this.context.currentTime - this.#origin + this.#ahead());
    else this.#position = Math.min(this.#position, this.length);
  }

  async play() {
    if (!this.piece || this.playing) return;
    await this.open();
    await this.context.resume();
    if (this.#position >= this.length - 0.01 && !this.piece.growing) this.#position = 0;
    this.playing = true;
    this.#from(this.#position);
    this.dispatchEvent(new Event("change"));
  }

  pause() {
    if (!this.playing) return;
    this.#position = this.position;
    this.playing = false;
    this.#hush();
    this.dispatchEvent(new Event("change"));
  }

  seek(position) {
    this.#position = Math.max(0, Math.min(position, this.length));
    if (!this.playing) return;
    this.#hush();
    this.#from(this.#position);
  }

  // Whether a track is among those that are muted, or alone.
  has(set, index) {
    return set.has(this.#keys[index]);
  }

  // Whether a track is to be heard.
  hears(index) {
    return this.solo.size ? this.has(this.solo, index) : !this.has(this.muted, index);
  }

  toggle(set, index) {
    const key = this.#keys[index];
    if (!set.delete(key)) set.add(key);
    if (this.context) this.#mix();
  }

  #ahead() {
    return document.hidden ? HIDDEN : LATE;
  }

  // The instruments of the piece on their channels.
  #seat() {
    if (!this.piece) return;
    this.piece.tracks.forEach((track, index) => {
      if (!track.drums) this.synth.programChange(this.channels[index], track.program);
    });
    this.#mix();
  }

  #mix() {
    const heard = new Map();
    this.piece.tracks.forEach((_, index) => {
      const channel = this.channels[index];
      heard.set(channel, heard.get(channel) || this.hears(index));
    });
    for (const [channel, on] of heard) this.synth.controllerChange(channel, VOLUME, on ? 100 : 0);
  }

  #from(position) {
    this.#origin = this.context.currentTime + 2 * LATE - position;
    this.#find(position);
  }

  #find(position) {
    this.#next = this.#notes.findIndex((note) => note.begin >= position - 0.001);
    if (this.#next < 0) this.#next = this.#notes.length;
  }

  // What was asked for already begins within LATE and has to be silenced then.
  #hush() {
    this.synth.stopAll(true);
    setTimeout(() => this.synth.stopAll(true), 1000 * LATE * 1.5);
  }

  #step() {
    if (!this.playing) return;
    const now = this.context.currentTime;
    const until = now - this.#origin + this.#ahead();
    for (; this.#next < this.#notes.length && this.#notes[this.#next].begin < until; this.#next++) {
      const { begin, end, pitch, velocity, channel } = this.#notes[this.#next];
      this.synth.noteOn(channel, pitch, velocity, { time: Math.max(now, this.#origin + begin) });
      this.synth.noteOff(channel, pitch, { time: this.#origin + Math.max(end, begin + 0.02) });
    }
    if (now - this.#origin < this.length) return;
    if (this.piece.growing) {
      this.#origin = now - this.length; // waits for the next bar
    } else {
      this.playing = false;
      this.#position = this.length;
      this.dispatchEvent(new Event("change"));
    }
  }
}
