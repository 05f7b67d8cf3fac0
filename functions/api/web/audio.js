/** Sound: a player for what lists show, decks that switch between two pieces, and what is drawn of a file. */
import { call, Problem } from "./api.js";
import { Signal } from "./signal.js";
import { S } from "./strings.js";
import { notify } from "./store.js";

/** Enough for a spectrogram that shows what is heard: up to 11 kHz. */
export const DRAWN_RATE = 22050;
const PEAKS = 2000;
const FADE_SECONDS = 0.012;
const RENEW_MS = 60_000; // an address that ends sooner was no use

/** @typedef {{start: number, end: number}} Region In seconds. */

let silence = () => {};

/** Let one thing play at a time: end what played before. @param {() => void} stop Ends what plays now. */
function alone(stop) {
  if (silence !== stop) silence();
  silence = stop;
}

/** Where a track plays, in every browser if it has a preview. @param {{links: Record<string, string>}} track */
export const playable = ({ links }) => links.play_preview ?? links.play;

/** Get the address of a track anew. @param {string} audioId @returns {Promise<string>} */
export const address = async (audioId) => playable(await call("GET", `api/audio/${audioId}`));

/** Plays tracks of a list, one at a time. */
class Player {
  constructor() {
    this.media = new Audio();
    this.media.preload = "none";
    /** The track that is heard, or about to be. @type {Signal<string | null>} */
    this.playing = new Signal(/** @type {string | null} */ (null));
    this.media.onended = () => this.playing.set(null);
    this.media.onerror = () => {
      if (this.playing.value) notify(S.timeline.unplayable, { problem: true });
      this.playing.set(null);
    };
    this.stop = this.stop.bind(this);
  }

  /** @param {string} audioId */
  async play(audioId) {
    alone(this.stop);
    this.playing.set(audioId);
    this.media.pause();
    try {
      const source = await address(audioId);
      if (this.playing.value !== audioId) return; // another one meanwhile
      this.media.src = source;
      await this.media.play();
    } catch {
      // Refused before the first click on the page, or ended by the next one.
      if (this.playing.value === audioId) this.playing.set(null);
    }
  }

  stop() {
    this.playing.set(null);
    this.media.pause();
  }

  /** @param {string} audioId */
  toggle(audioId) {
    return this.playing.value === audioId ? this.stop() : this.play(audioId);
  }
}

export const player = new Player();

/**
 * Several pieces on one time axis, of which one is heard: switching goes on at the same second.
 *
 * They are brought to the loudness of the softest.
 */
export class Deck {
  constructor() {
    /** @type {{media: HTMLAudioElement, loudness: number | null, gain: GainNode | null, failed: boolean, renewed: number,
     *   renew: () => Promise<string>}[]} */
    this.sides = [];
    /** @type {AudioContext | null} */
    this.context = null;
    this.active = new Signal(0);
    this.playing = new Signal(false);
    this.time = new Signal(0);
    this.failed = new Signal(false);
    /** @type {Signal<Region | null>} */
    this.loop = new Signal(/** @type {Region | null} */ (null));
    this.pause = this.pause.bind(this);
    this.follow = this.follow.bind(this);
    this.frame = 0;
    /** Whether it is to play, once it can. */
    this.wanted = false;
  }

  /**
   * Put a piece on a side.
   *
   * @param {number} index
   * @param {string} source
   * @param {number | null} loudness In LUFS.
   * @param {() => Promise<string>} renew Gets an address anew: each is good for minutes.
   */
  load(index, source, loudness, renew) {
    const side = this.sides[index];
    if (side) {
      Object.assign(side, { loudness, renew });
      this.change(index, source);
    } else {
      const media = new Audio();
      media.crossOrigin = "anonymous"; // or the gain would make silence of it
      media.preload = "auto";
      media.src = source;
      media.onended = () => this.ended(index);
      media.onerror = () => this.broken(index);
      media.ontimeupdate = () => media === this.media && this.follow(); // in a hidden tab, where no frames are drawn
      media.onpause = () => media === this.media && !media.ended && this.pause(); // a headset may do it, too
      this.sides[index] = { media, loudness, gain: null, failed: false, renewed: -Infinity, renew };
    }
    this.level(0);
  }

  /** Say anew how loud a side is. @param {number} index @param {number | null} loudness In LUFS. */
  measured(index, loudness) {
    if (this.sides[index]) this.sides[index].loudness = loudness;
    this.level(0);
  }

  /** Read a side from another address, from the same second on. @param {number} index @param {string} source */
  change(index, source) {
    const { media } = this.sides[index];
    const { currentTime } = media;
    media.src = source;
    media.currentTime = currentTime;
    if (index === this.active.value && this.wanted) this.begin();
  }

  /** Try a new address once; then the piece cannot be played. @param {number} index */
  async broken(index) {
    const side = this.sides[index];
    const now = performance.now();
    if (now - side.renewed > RENEW_MS) {
      side.renewed = now;
      const source = await side.renew().catch(() => null);
      if (source) return this.change(index, source);
    }
    side.failed = true;
    if (this.active.value === index) {
      this.failed.set(true);
      this.pause();
    }
    return undefined;
  }

  get media() {
    return this.sides[this.active.value]?.media;
  }

  /** The length of what is heard, in seconds. */
  get duration() {
    return this.media?.duration || 0;
  }

  /** The loop, if it lies in what is heard: the other side may be longer. */
  region() {
    const { value } = this.loop;
    return value && value.start < (this.duration || Infinity) ? value : null;
  }

  /** Set every side's gain: the heard one's so that all are equally loud. @param {number} seconds */
  level(seconds) {
    const known = this.sides.map((side) => side?.loudness).filter((loudness) => loudness != null);
    const softest = Math.min(...known);
    this.sides.forEach((side, index) => {
      if (!side?.gain || !this.context) return;
      const equal = side.loudness == null ? 1 : 10 ** ((softest - side.loudness) / 20);
      side.gain.gain.setTargetAtTime(index === this.active.value ? equal : 0, this.context.currentTime, seconds / 3);
    });
  }

  async play() {
    if (!this.media) return; // the track is still read
    alone(this.pause);
    this.wanted = true;
    if (!this.context) {
      this.context = new AudioContext();
    }
    for (const side of this.sides) {
      if (!side || side.gain) continue;
      side.gain = this.context.createGain();
      this.context.createMediaElementSource(side.media).connect(side.gain).connect(this.context.destination);
    }
    this.level(0);
    await this.context.resume();
    const { media } = this;
    const region = this.region();
    if (region && (media.currentTime < region.start || media.currentTime >= region.end)) media.currentTime = region.start;
    this.begin();
  }

  /** Let the active side play, from where it is. */
  async begin() {
    try {
      await this.media.play();
      this.playing.set(true);
      this.follow();
    } catch (error) {
      // Another address or a pause came meanwhile, and says by itself what is next.
      if (/** @type {Error} */ (error).name !== "AbortError") this.pause();
    }
  }

  pause() {
    this.wanted = false;
    for (const side of this.sides) side?.media.pause();
    this.playing.set(false);
    cancelAnimationFrame(this.frame);
    if (this.media) this.time.set(this.media.currentTime);
  }

  toggle() {
    return this.playing.value ? this.pause() : this.play();
  }

  /** @param {number} seconds */
  seek(seconds) {
    if (!this.media) return;
    const time = Math.max(0, Math.min(seconds, this.duration - 0.05 || seconds));
    this.media.currentTime = time;
    this.time.set(time);
  }

  /** Let another side be heard, from the same second on, or from its beginning if it ends sooner. @param {number} index */
  async switch(index) {
    const before = this.media;
    if (index === this.active.value || !this.sides[index]) return;
    const after = this.sides[index].media;
    const looped = this.region();
    this.active.set(index);
    this.failed.set(this.sides[index].failed);
    const beyond = before.currentTime >= after.duration - 0.05;
    // Back where the loop lies, it goes on with that.
    const region = this.region();
    after.currentTime = this.playing.value && region && !looped ? region.start : beyond ? 0 : before.currentTime;
    if (this.playing.value) {
      await after.play().catch(() => {});
      this.level(FADE_SECONDS);
      setTimeout(() => before !== this.media && before.pause(), FADE_SECONDS * 3000);
    } else {
      this.level(0);
    }
    this.time.set(after.currentTime);
  }

  /** @param {number} index */
  ended(index) {
    if (index !== this.active.value) return;
    const region = this.region();
    if (region) {
      this.media.currentTime = region.start;
      this.media.play();
    } else {
      this.wanted = false;
      this.playing.set(false);
      this.seek(0);
    }
  }

  follow() {
    cancelAnimationFrame(this.frame);
    if (!this.playing.value) return;
    const region = this.region();
    if (region && this.media.currentTime >= region.end) this.media.currentTime = region.start;
    this.time.set(this.media.currentTime);
    this.frame = requestAnimationFrame(this.follow);
  }

  close() {
    this.pause();
    for (const side of this.sides) {
      if (!side) continue;
      side.media.onerror = null;
      side.media.removeAttribute("src");
    }
    this.context?.close();
  }
}

/**
 * Read a file of the bucket.
 *
 * @param {string} source
 * @returns {Promise<Blob>}
 * @throws {Problem}
 */
export async function read(source) {
  try {
    const answer = await fetch(source);
    if (answer.ok) return await answer.blob();
    throw new Problem(answer.status, {});
  } catch (problem) {
    throw problem instanceof Problem ? problem : new Problem(0, { code: "offline" });
  }
}

/**
 * Return the peaks of a file, for a waveform: the largest magnitude in each of equal parts, 0 to 1.
 *
 * @param {Blob} file
 * @returns {Promise<{peaks: number[], duration: number}>}
 */
export async function outline(file) {
  const decoded = await new OfflineAudioContext(1, 1, DRAWN_RATE).decodeAudioData(await file.arrayBuffer());
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, index) => decoded.getChannelData(index));
  const step = Math.max(1, Math.ceil(decoded.length / PEAKS));
  const peaks = [];
  for (let start = 0; start < decoded.length; start += step) {
    let peak = 0;
    for (const samples of channels) {
      for (let i = start; i < Math.min(start + step, decoded.length); i++) peak = Math.max(peak, Math.abs(samples[i]));
    }
    peaks.push(Math.min(1, peak));
  }
  return { peaks, duration: decoded.duration };
}
