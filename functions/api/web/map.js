/** The map: tracks that sound alike lie close together. */
import { pages } from "./api.js";
import { player } from "./audio.js";
import { persist } from "./persist.js";
import { useSignal } from "./signal.js";
import { complain, leaving, stem, tracks } from "./store.js";
import { S } from "./strings.js";
import { useWidth } from "./timeline.js";
import { html, useEffect, useMemo, useRef, useState } from "./vendor.js";

/**
 * @typedef {import("./api.js").MapPoint} MapPoint
 * @typedef {import("./api.js").Track} Track
 */

const HOVER_MS = 180;
const [LETTER, LINE] = [8, 22]; // how wide and high names are drawn
const [LEAST_HEIGHT, SHAPE, MARGIN] = [320, 0.56, 40];
const LABEL_GAP = 20; // between a point and what is said of it

/** @param {{shown: Track[]}} props */
export function Atlas({ shown }) {
  const [points, setPoints] = useState(/** @type {MapPoint[] | null} */ (null));
  const ready = useSignal(tracks);
  const away = useSignal(leaving);
  const count = [...(ready?.values() ?? [])].filter(({ status }) => status === "ready").length;
  useEffect(() => {
    const read = async () => {
      /** @type {MapPoint[]} */
      const found = [];
      await pages("api/map", (/** @type {MapPoint[]} */ items) => void found.push(...items));
      return found;
    };
    return persist(read, setPoints, complain);
  }, [count]);
  const ids = useMemo(() => new Set(shown.map(({ audio_id }) => audio_id)), [shown]);
  const there = useMemo(() => points?.filter(({ audio_id }) => !away.has(audio_id)), [points, away]);
  if (!there) return html`<div class="atlas" aria-busy="true"></div>`;
  if (there.length < 3) return html`<p class="empty">${S.map.few}</p>`;
  return html`<p class="small map-lead">${S.map.lead}</p><${Plane} points=${there} ids=${ids} />`;
}

/** @param {{points: MapPoint[], ids: Set<string>}} props */
function Plane({ points, ids }) {
  const box = /** @type {{current: HTMLDivElement | null}} */ (useRef(null));
  // One unit of the picture is a pixel: on a phone, too, a point is as large as a finger.
  const width = useWidth(box);
  const height = Math.max(LEAST_HEIGHT, Math.round(width * SHAPE));
  const placed = useMemo(() => place(points, width, height), [points, width]);
  const names = useMemo(() => apart(placed, width), [placed]);
  const [chosen, setCurrent] = useState(0);
  const current = Math.min(chosen, placed.length - 1);
  const [hovered, setHovered] = useState(/** @type {number | null} */ (null));
  const playing = useSignal(player.playing);
  const timer = /** @type {{current: number}} */ (useRef(0));
  const chart = /** @type {{current: SVGSVGElement | null}} */ (useRef(null));
  useEffect(() => () => {
    clearTimeout(timer.current);
    player.stop();
  }, []);
  const enter = (/** @type {number} */ index) => {
    setHovered(index);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => player.play(placed[index].point.audio_id), HOVER_MS);
  };
  const leave = () => {
    setHovered(null);
    clearTimeout(timer.current);
    player.stop();
  };
  const press = (/** @type {KeyboardEvent} */ event) => {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === " ") {
      event.preventDefault();
      player.toggle(placed[current].point.audio_id);
    } else if (direction) {
      event.preventDefault();
      const next = nearest(placed, current, direction);
      setCurrent(next);
      /** @type {SVGElement | null | undefined} */ (chart.current?.querySelectorAll("a")[next])?.focus();
    }
  };
  const labelled = hovered ?? placed.findIndex(({ point }) => point.audio_id === playing);
  return html`
    <div class="atlas" ref=${box}>
      <svg width=${width} height=${height} ref=${chart} role="group" aria-label=${S.map.label} onKeyDown=${press}>
        ${placed.map(
          ({ point, x, y }, index) => html`
            <a
              href=${`#/track/${point.audio_id}`}
              tabindex=${index === current ? 0 : -1}
              aria-label=${stem(point.filename)}
              class=${`${ids.has(point.audio_id) ? "" : "out"} ${point.audio_id === playing ? "on" : ""}`}
              onPointerEnter=${(/** @type {PointerEvent} */ event) => event.pointerType === "mouse" && enter(index)}
              onPointerLeave=${leave}
              onFocus=${() => setCurrent(index)}
            >
              <circle class="target" cx=${x} cy=${y} r="16" />
              <circle class="dot" cx=${x} cy=${y} r="6" />
              ${names.has(index) && html`<text x=${x > width * 0.8 ? x - 14 : x + 14} y=${y + 5} text-anchor=${x > width * 0.8 ? "end" : "start"}>${stem(point.filename)}</text>`}
            </a>
          `,
        )}
      </svg>
      ${placed[labelled] && html`<${Label} spot=${placed[labelled]} width=${width} />`}
    </div>
  `;
}

/** @param {{spot: ReturnType<typeof place>[number], width: number}} props */
function Label({ spot: { point, x, y }, width }) {
  const style = { left: `${x}px`, top: `${y}px`, maxWidth: `${Math.min(260, Math.max(x, width - x) - LABEL_GAP)}px` };
  const features = tracks.value?.get(point.audio_id)?.features;
  return html`
    <div class=${`map-label ${x > width / 2 ? "left" : ""}`} style=${style} aria-hidden="true">
      <b>${stem(point.filename)}</b>
      ${features && html`<span>${S.tempoOf(features.tempo)} · ${S.keyOf(features)}</span>`}
    </div>
  `;
}

/** Fit the points into the picture. @param {MapPoint[]} points @param {number} width @param {number} height */
function place(points, width, height) {
  const range = (/** @type {number[]} */ values) => [Math.min(...values), Math.max(...values)];
  const [left, right] = range(points.map(({ x }) => x));
  const [bottom, top] = range(points.map(({ y }) => y));
  const fit = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high, /** @type {number} */ size) =>
    MARGIN + (high > low ? (value - low) / (high - low) : 0.5) * (size - 2 * MARGIN);
  return points.map((point) => ({
    point,
    x: fit(point.x, left, right, width),
    y: height - fit(point.y, bottom, top, height),
  }));
}

/** The points whose names lie over no other point or name. @param {ReturnType<typeof place>} placed
 * @param {number} width Of the picture. */
function apart(placed, width) {
  const boxes = placed.map(({ point, x, y }) => {
    const long = stem(point.filename).length * LETTER + 24;
    return { left: x > width * 0.8 ? x - long : x - 8, right: x > width * 0.8 ? x + 8 : x + long, y };
  });
  const named = new Set(/** @type {number[]} */ ([]));
  boxes.forEach((box, index) => {
    const free = boxes.every(
      (other, at) => at === index || Math.abs(other.y - box.y) > LINE || other.left > box.right || other.right < box.left,
    );
    if (free) named.add(index);
  });
  return named;
}

/** The nearest point in a direction, sideways distance counting double. @param {ReturnType<typeof place>} placed
 * @param {number} from @param {number[]} direction */
function nearest(placed, from, [dx, dy]) {
  const { x, y } = placed[from];
  let [best, least] = [from, Infinity];
  placed.forEach((other, index) => {
    const ahead = (other.x - x) * dx + (other.y - y) * dy;
    const aside = Math.abs((other.x - x) * dy) + Math.abs((other.y - y) * dx);
    const distance = ahead + 2 * aside;
    if (ahead > 0 && distance < least) [best, least] = [index, distance];
  });
  return best;
}
