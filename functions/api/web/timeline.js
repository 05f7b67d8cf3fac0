/**
 * Pieces on one time scale, one lane above the other: waveforms, beats, spectrogram, harmony, and what joins them.
 *
 * @typedef {import("./audio.js").Deck} Deck
 * @typedef {{id: string, name: string, duration: number, loudness?: number | null, peaks: number[] | null,
 *   beats?: number[], bars?: number[], chroma?: {hop: number, values: number[][]} | null, accent?: boolean, read?: () => Promise<Blob>,
 *   progress?: import("preact").ComponentChildren, side: number}} Lane
 * @typedef {{start: number, end: number, source_start: number}} Segment
 */
import { Problem } from "./api.js";
import { DRAWN_RATE } from "./audio.js";
import { icon } from "./icons.js";
import { persist } from "./persist.js";
import { useSignal } from "./signal.js";
import { S } from "./strings.js";
import { html, Regions, Spectrogram, useEffect, useLayoutEffect, useRef, useState, WaveSurfer } from "./vendor.js";

const HEIGHT = 104;
const LOOP_SECONDS = 4;
/** Seconds of the shortest part of a track that the API takes. */
export const SHORTEST_PART = 1;
const LONGEST_SPECTROGRAM = 900; // seconds; longer ones take too much memory
const MARGIN = 6; // left and right of the axis, for the head of the playhead
const MAX_ZOOM = 16;
const WIDEST = 16000; // pixels of a canvas, in all browsers
const nonce = document.querySelector("script")?.nonce ?? "";
const dark = matchMedia("(prefers-color-scheme: dark)");

/** A colour of the style sheet. @param {string} name */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Count how often light turned to dark or back. */
function useScheme() {
  const [scheme, set] = useState(dark.matches);
  useEffect(() => {
    const change = () => set(dark.matches);
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }, []);
  return scheme;
}

/** @param {{current: HTMLElement | null}} ref */
export function useWidth(ref) {
  const [width, set] = useState(0);
  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (ref.current);
    set(element.clientWidth);
    const observer = new ResizeObserver(() => set(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return width;
}

/**
 * @param {{lanes: Lane[], deck: Deck, origins?: Segment[] | null, speed?: number, label: string}} props
 *   `speed` is how fast the lane below plays what it takes from the one above.
 */
export function Timeline({ lanes, deck, origins = null, speed = 1, label }) {
  const frame = /** @type {{current: HTMLDivElement | null}} */ (useRef(null));
  const width = useWidth(frame);
  const [zoom, setZoom] = useState(1);
  const [shown, show] = useState({ spectrogram: false, chroma: false });
  const seconds = Math.max(...lanes.map(({ duration }) => duration), 0.1);
  const scale = (Math.max(0, width - 2 * MARGIN) * zoom) / seconds; // pixels a second
  const harmony = lanes.some(({ chroma }) => chroma);
  return html`
    <div class="timeline">
      <div class="timeline-tools">
        <div class="toggles" role="group" aria-label=${label}>
          <${Toggle} on=${shown.spectrogram} change=${(/** @type {boolean} */ on) => show({ ...shown, spectrogram: on })}>
            ${S.timeline.spectrogram}
          <//>
          ${harmony &&
          html`<${Toggle} on=${shown.chroma} change=${(/** @type {boolean} */ on) => show({ ...shown, chroma: on })}>
            ${S.timeline.chroma}
          <//>`}
        </div>
        <label class="zoom">
          <span>${S.timeline.zoom}</span>
          <input
            type="range"
            min="0"
            max=${Math.log2(MAX_ZOOM)}
            step="0.01"
            value=${Math.log2(zoom)}
            aria-valuetext=${`${S.number(zoom, 1)}×`}
            onInput=${(/** @type {any} */ event) => setZoom(2 ** Number(event.currentTarget.value))}
          />
        </label>
      </div>
      <div class="timeline-frame" ref=${frame}>
        <${Axis} deck=${deck} seconds=${seconds} scale=${scale} frame=${frame}>
          <${Ruler} seconds=${seconds} scale=${scale} />
          ${lanes.map(
            (lane, index) => html`
              ${index > 0 && origins && html`<${Ribbons} segments=${origins} speed=${speed} scale=${scale} seconds=${seconds} deck=${deck} />`}
              <${Strip} key=${lane.id} lane=${lane} scale=${scale} view=${width - 2 * MARGIN} deck=${deck} many=${lanes.length > 1} />
              ${shown.chroma && lane.chroma && html`<${Chroma} lane=${lane} scale=${scale} />`}
              ${shown.spectrogram && lane.read && html`<${Spectrum} key=${`${lane.id}-s`} lane=${lane} scale=${scale} />`}
            `,
          )}
        <//>
      </div>
    </div>
  `;
}

/** @param {{on: boolean, change: (on: boolean) => void, children?: any}} props */
function Toggle({ on, change, children }) {
  return html`<button type="button" class="toggle" aria-pressed=${on} onClick=${() => change(!on)}>${children}</button>`;
}

/**
 * The scrolled part, with the playhead: one slider for the keyboard.
 *
 * @param {{deck: Deck, seconds: number, scale: number, frame: {current: HTMLDivElement | null}, children?: any}} props
 */
function Axis({ deck, seconds, scale, frame, children }) {
  const head = /** @type {{current: HTMLDivElement | null}} */ (useRef(null));
  const [now, setNow] = useState(0);
  useEffect(() => {
    const move = (/** @type {number} */ time) => {
      if (head.current) head.current.style.transform = `translateX(${time * scale}px)`;
      setNow(Math.floor(time));
      const view = frame.current;
      if (view && deck.playing.value && view.scrollWidth > view.clientWidth) {
        const at = time * scale - view.scrollLeft;
        if (at < 0 || at > view.clientWidth * 0.9) view.scrollLeft = time * scale - view.clientWidth * 0.1;
      }
    };
    move(deck.time.value);
    return deck.time.subscribe(move);
  }, [deck, scale]);
  return html`
    <div
      class="axis"
      style=${{ width: `${seconds * scale}px` }}
      role="slider"
      tabindex="0"
      aria-label=${S.timeline.position}
      aria-valuemin="0"
      aria-valuemax=${Math.round(seconds)}
      aria-valuenow=${now}
      aria-valuetext=${S.timeline.at(now, seconds)}
    >
      ${children}
      <div class="playhead" ref=${head}></div>
    </div>
  `;
}

/** @param {{seconds: number, scale: number}} props */
function Ruler({ seconds, scale }) {
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300].find((candidate) => candidate * scale >= 64) ?? 600;
  const whole = 40; // pixels that a mark's time takes
  const marks = Array.from({ length: Math.floor(seconds / step) + 1 }, (_, index) => index * step);
  return html`
    <div class="ruler" aria-hidden="true">
      ${marks.map((mark) => html`<span style=${{ left: `${mark * scale}px` }}>${(seconds - mark) * scale < whole ? "" : S.clock(mark)}</span>`)}
    </div>
  `;
}

/**
 * A waveform, with its beats behind it, or how far it is made, at the width that is in sight.
 *
 * @param {{lane: Lane, scale: number, view: number, deck: Deck, many: boolean}} props
 */
function Strip({ lane, scale, view, deck, many }) {
  const box = /** @type {{current: HTMLDivElement | null}} */ (useRef(null));
  const scheme = useScheme();
  const active = useSignal(deck.active) === lane.side;
  const width = Math.round(lane.duration * scale);
  useEffect(() => {
    if (!box.current || !lane.peaks || width < 2) return undefined;
    const wave = WaveSurfer.create({
      container: box.current,
      height: HEIGHT,
      peaks: [lane.peaks],
      duration: lane.duration,
      waveColor: colour(lane.accent ? "--accent" : "--wave"),
      progressColor: colour(lane.accent ? "--accent" : "--wave"),
      cursorWidth: 0,
      barWidth: 2,
      barGap: 1.5,
      barRadius: 2,
      normalize: true,
      hideScrollbar: true,
      cspNonce: nonce,
    });
    const regions = wave.registerPlugin(Regions.create());
    const tint = colour("--region");
    let own = false; // whether the region changes because of this lane
    const draw = () => {
      if (own) return;
      own = true;
      regions.clearRegions();
      const { value } = deck.loop;
      if (value && value.start < lane.duration) regions.addRegion({ ...value, end: Math.min(value.end, lane.duration), color: tint });
      own = false;
    };
    const take = (/** @type {any} */ region) => {
      if (own) return;
      own = true;
      for (const other of regions.getRegions()) if (other !== region) other.remove();
      const { start, end } = region;
      deck.loop.set({ start, end });
      own = false;
      if (deck.playing.value && (deck.time.value < start || deck.time.value > end)) deck.seek(start);
    };
    const subscriptions = [
      wave.on("interaction", (/** @type {number} */ time) => {
        deck.switch(lane.side);
        deck.seek(time);
      }),
      wave.on("ready", () => {
        regions.enableDragSelection({ color: tint });
        draw();
      }),
      regions.on("region-created", take),
      regions.on("region-updated", take),
      deck.loop.subscribe(draw),
    ];
    return () => {
      for (const end of subscriptions) end();
      wave.destroy();
    };
  }, [lane.peaks, lane.duration, lane.accent, width, scheme]);
  return html`
    <div class=${`lane ${active && many ? "heard" : ""}`} data-lane=${lane.id}>
      <div class="lane-name">${lane.name}</div>
      ${lane.progress
        ? html`<div class="lane-progress" style=${{ width: `${view}px`, height: `${HEIGHT}px` }}>${lane.progress}</div>`
        : html`<div class="lane-body" style=${{ width: `${width}px`, height: `${HEIGHT}px` }}>
            <${Grid} lane=${lane} scale=${scale} width=${width} scheme=${scheme} />
            <div class="wave" ref=${box}></div>
          </div>`}
    </div>
  `;
}

/**
 * A canvas that is drawn in the pixels of the screen.
 *
 * @param {{width: number, height: number, draw: (context: CanvasRenderingContext2D, width: number, height: number) => void,
 *   deps: unknown[], name: string}} props
 */
function Canvas({ width, height, draw, deps, name }) {
  const canvas = /** @type {{current: HTMLCanvasElement | null}} */ (useRef(null));
  useLayoutEffect(() => {
    const element = canvas.current;
    if (!element || width < 1) return;
    const ratio = Math.min(devicePixelRatio, WIDEST / width);
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (element.getContext("2d"));
    context.scale(ratio, ratio);
    draw(context, width, height);
  }, [width, height, ...deps]);
  return html`<canvas class=${name} ref=${canvas} aria-hidden="true" style=${{ width: `${width}px`, height: `${height}px` }}></canvas>`;
}

/** @param {{lane: Lane, scale: number, width: number, scheme: boolean}} props */
function Grid({ lane, scale, width, scheme }) {
  const draw = (/** @type {CanvasRenderingContext2D} */ context, /** @type {number} */ _, /** @type {number} */ height) => {
    const line = (/** @type {number} */ at, /** @type {number} */ alpha, /** @type {number} */ inset) => {
      context.globalAlpha = alpha;
      context.fillRect(Math.round(at * scale), inset, 1, height - 2 * inset);
    };
    context.fillStyle = colour("--ink");
    const beats = lane.beats ?? [];
    if (beats.length * 4 < width) for (const beat of beats) line(beat, 0.16, height * 0.06);
    for (const bar of lane.bars ?? []) line(bar, 0.4, 0);
  };
  return html`<${Canvas} name="grid" width=${width} height=${HEIGHT} draw=${draw} deps=${[lane.beats, lane.bars, scheme]} />`;
}

/** @param {{lane: Lane, scale: number}} props */
function Chroma({ lane, scale }) {
  const scheme = useScheme();
  const { hop, values } = /** @type {NonNullable<Lane["chroma"]>} */ (lane.chroma);
  const draw = (/** @type {CanvasRenderingContext2D} */ context, /** @type {number} */ _, /** @type {number} */ height) => {
    const row = height / 12;
    context.fillStyle = colour("--accent");
    values.forEach((frame, index) => {
      frame.forEach((value, pitch) => {
        context.globalAlpha = value;
        context.fillRect(index * hop * scale, height - (pitch + 1) * row, hop * scale + 0.5, row - 1);
      });
    });
  };
  return html`
    <div class="lane extra" data-lane=${`${lane.id}-chroma`}>
      <div class="lane-body">
        <${Canvas} name="chroma" width=${Math.round(lane.duration * scale)} height=${144} draw=${draw} deps=${[values, scheme]} />
        <div class="pitches" aria-hidden="true">${[...S.timeline.pitches].reverse().map((pitch) => html`<span>${pitch}</span>`)}</div>
      </div>
    </div>
  `;
}

/** 256 colours from the ground to the accent to the ink. */
function colours() {
  const parse = (/** @type {string} */ name) =>
    [1, 3, 5].map((at) => parseInt(colour(name).slice(at, at + 2), 16) / 255);
  const [ground, accent, ink] = ["--raised", "--accent", "--ink"].map(parse);
  return Array.from({ length: 256 }, (_, index) => {
    const level = index / 255;
    const [from, to, share] = level < 0.7 ? [ground, accent, level / 0.7] : [accent, ink, (level - 0.7) / 0.3];
    return [...from.map((value, at) => value + (to[at] - value) * share), 1];
  });
}

/** @param {{lane: Lane, scale: number}} props */
function Spectrum({ lane, scale }) {
  const box = /** @type {{current: HTMLDivElement | null}} */ (useRef(null));
  const scheme = useScheme();
  const width = Math.round(lane.duration * scale);
  const [state, setState] = useState(lane.duration > LONGEST_SPECTROGRAM ? S.timeline.tooLong : S.timeline.drawing);
  useEffect(() => {
    if (lane.duration > LONGEST_SPECTROGRAM || !box.current || width < 2) return undefined;
    setState(S.timeline.drawing);
    // One of its own: that of the waveform knows the peaks alone.
    const wave = WaveSurfer.create({
      container: box.current,
      height: 0,
      sampleRate: DRAWN_RATE,
      interact: false,
      hideScrollbar: true,
      cspNonce: nonce,
    });
    const spectrogram = Spectrogram.create({
      container: box.current,
      height: 144,
      fftSamples: 1024,
      frequencyMax: DRAWN_RATE / 2,
      scale: "mel",
      autoGain: true,
      rangeDB: 70,
      colorMap: colours(),
    });
    wave.registerPlugin(spectrogram);
    spectrogram.on("ready", () => setState(""));
    let shown = true;
    const say = (/** @type {any} */ problem) => shown && setState(problem instanceof Problem ? problem.message : S.timeline.unplayable);
    const end = persist(/** @type {NonNullable<Lane["read"]>} */ (lane.read), (file) => wave.loadBlob(file).catch(say), say, say);
    return () => {
      shown = false;
      end();
      wave.destroy();
    };
  }, [lane.read, lane.duration, width, scheme]);
  return html`
    <div class="lane extra" data-lane=${`${lane.id}-spectrogram`}>
      <div class="lane-body spectrum" style=${{ width: `${width}px` }}>
        <div ref=${box} aria-hidden="true"></div>
        ${state && html`<p class="lane-state">${state}</p>`}
      </div>
    </div>
  `;
}

/** Joins each part of the lane below with where it was taken from in the lane above. @param {{segments: Segment[],
 *   speed: number, scale: number, seconds: number, deck: Deck}} props */
function Ribbons({ segments, speed, scale, seconds, deck }) {
  const [current, setCurrent] = useState(-1);
  useEffect(() => {
    const find = (/** @type {number} */ time) => setCurrent(segments.findIndex(({ start, end }) => time >= start && time < end));
    find(deck.time.value);
    return deck.time.subscribe(find);
  }, [deck, segments]);
  const height = 72;
  const path = (/** @type {Segment} */ { start, end, source_start }) => {
    const [a, b] = [source_start * scale, (source_start + (end - start) * speed) * scale];
    const [c, d] = [end * scale, start * scale];
    const middle = height / 2;
    return `M${a} 0H${b}C${b} ${middle} ${c} ${middle} ${c} ${height}H${d}C${d} ${middle} ${a} ${middle} ${a} 0Z`;
  };
  return html`
    <svg class="ribbons" width=${seconds * scale} height=${height} role="img" aria-label=${S.result.origins}>
      ${segments.map((segment, index) => html`<path d=${path(segment)} class=${index === current ? "current" : ""} />`)}
    </svg>
  `;
}

/**
 * Return a loop within what is heard, which the API takes as a part of it.
 *
 * @param {number} start
 * @param {number} end
 * @param {number} whole Seconds of what is heard.
 * @param {number} [shortest] Where it would be shorter, it begins sooner or ends later.
 */
function within(start, end, whole, shortest = SHORTEST_PART) {
  const from = Math.max(0, Math.min(start, end - shortest, whole - shortest));
  return { start: from, end: Math.min(Math.max(end, from + shortest), whole) };
}

/**
 * Play, time, loop; and the keys for them while the focus is in no field.
 *
 * @param {{deck: Deck, duration: number, switchable?: boolean, children?: any}} props
 */
export function Transport({ deck, duration, switchable = false, children }) {
  const playing = useSignal(deck.playing);
  const loop = useSignal(deck.loop);
  const failed = useSignal(deck.failed);
  const active = useSignal(deck.active);
  // An mp3 lasts a little longer than what it was made of.
  const whole = () => Math.min(deck.duration || duration, duration);
  const toggleLoop = () => {
    const now = deck.time.value;
    deck.loop.set(deck.loop.value ? null : within(now, now + LOOP_SECONDS, whole(), LOOP_SECONDS));
  };
  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      // Keyboards of many languages have brackets on AltGr, which Windows calls Ctrl and Alt, or on Alt.
      const bracket = "[]".includes(event.key) && (event.altKey || event.getModifierState("AltGraph"));
      if (event.metaKey || ((event.ctrlKey || event.altKey) && !bracket)) return;
      if (target.closest("input, textarea, select, dialog")) return;
      if (event.key === " " && target.closest("button, a, summary")) return; // it presses that
      const slider = target.getAttribute("role") === "slider";
      const step = event.shiftKey ? 5 : 1;
      const now = deck.time.value;
      const { start = 0, end = 0 } = deck.loop.value ?? {};
      /** @type {Record<string, () => unknown>} */
      const keys = {
        " ": () => deck.toggle(),
        x: () => switchable && deck.switch(1 - Math.min(deck.active.value, 1)),
        l: toggleLoop,
        "[": () => deck.loop.set(within(now, Math.max(end, now + SHORTEST_PART), whole())),
        "]": () => deck.loop.set(within(start, now, whole())),
        ...(slider && {
          ArrowLeft: () => deck.seek(now - step),
          ArrowRight: () => deck.seek(now + step),
          Home: () => deck.seek(0),
          End: () => deck.seek(duration),
        }),
      };
      const act = keys[event.key?.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [deck, duration, switchable]);
  return html`
    <div class="transport">
      <button
        type="button"
        class="play large"
        onClick=${() => deck.toggle()}
        aria-label=${playing ? S.timeline.pause : S.timeline.play}
        disabled=${failed}
      >
        ${icon(playing ? "pause" : "play")}
      </button>
      <${Clock} deck=${deck} duration=${duration} />
      ${children}
      <button type="button" class="toggle loop" aria-pressed=${loop !== null} onClick=${toggleLoop}>
        ${icon("loop")} ${!loop
          ? S.timeline.loop
          : deck.region()
            ? S.timeline.loopOf(loop.start, loop.end)
            : S.timeline.loopOnly(loop.start, loop.end, "BA"[active])}
      </button>
      ${failed && html`<p class="problem" role="alert">${S.timeline.unplayable}</p>`}
    </div>
  `;
}

/** @param {{deck: Deck, duration: number}} props */
function Clock({ deck, duration }) {
  const [now, setNow] = useState(Math.floor(deck.time.value));
  useEffect(() => deck.time.subscribe((time) => setNow(Math.floor(time))), [deck]);
  return html`<span class="clock"><b>${S.clock(now)}</b> / ${S.clock(duration)}</span>`;
}
