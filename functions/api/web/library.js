/** The start, and the list of tracks. */
import { ASSETS, call } from "./api.js";
import { player } from "./audio.js";
import { useHeir } from "./focus.js";
import { icon } from "./icons.js";
import { Atlas } from "./map.js";
import { canSearch } from "./profile.js";
import { Signal, useSignal, useTitle } from "./signal.js";
import { add, complain, dismiss, failure, generations, notify, readTrack, remove, retry, stem, tell, tracks, unfinished, uploads } from "./store.js";
import { S } from "./strings.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor.js";

/** @typedef {import("./api.js").Track} Track */

const ENDINGS =
  "aac aif aifc aiff bwf flac m4a m4b m4r m4v mka mkv mov mp1 mp2 mp3 mp4 oga ogg opus rf64 w64 wav wave weba webm".split(" ");
const AUDIO = new RegExp(`\\.(${ENDINGS.join("|")})$`, "i");
const ACCEPTED = ["audio/*", ...ENDINGS.map((ending) => `.${ending}`)].join(",");
const FILLED = "music-library-filled";
const NO_FILTER = { text: "", tempo: "", key: "", tag: "" };
const filter = new Signal(NO_FILTER);

/**
 * Return what an address shows: the library where it names no track or result.
 *
 * @param {string} hash
 */
export function placeOf(hash) {
  const [, where, id] = /^#\/(track|result)\/([0-9A-Z]+)$/.exec(hash) ?? [];
  return { where: where ?? (/^#\/map\/?$/.test(hash) ? "map" : "list"), id };
}

/** Take in what is music of some files. @param {File[]} files */
function take(files) {
  const music = files.filter(({ name, type }) => type.startsWith("audio/") || AUDIO.test(name));
  // One file that was chosen on purpose is for the server to judge: it says what is wrong with it.
  const chosen = files.length === 1 ? files : music;
  if (chosen.length === 0) return notify(S.start.noAudio, { problem: true });
  if (chosen.length < files.length) notify(S.start.skipped(files.length - chosen.length));
  return add(chosen);
}

/** Read every file that was dropped, those in folders too. @param {DataTransfer} dropped @returns {Promise<File[]>} */
async function filesOf(dropped) {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files = /** @type {File[]} */ ([]);
  const walk = async (/** @type {FileSystemEntry} */ entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
      if (!file.name.startsWith(".")) files.push(file);
      return;
    }
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    for (;;) {
      /** @type {FileSystemEntry[]} */
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const one of some) await walk(one);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}

/** Whether files are held over the window. */
export const dragged = new Signal(false);

/** Take in what is dropped on the window, whatever it shows. @returns {() => void} Ends that. */
export function takeDrops() {
  let depth = 0;
  const holds = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  const on = {
    dragenter: (/** @type {DragEvent} */ event) => holds(event) && (depth++, dragged.set(true)),
    dragleave: (/** @type {DragEvent} */ event) => holds(event) && --depth === 0 && dragged.set(false),
    dragover: (/** @type {DragEvent} */ event) => holds(event) && event.preventDefault(),
    drop: async (/** @type {DragEvent} */ event) => {
      if (!event.dataTransfer || !holds(event)) return;
      event.preventDefault();
      depth = 0;
      dragged.set(false);
      const files = await filesOf(event.dataTransfer);
      const before = uploads.value.length;
      take(files);
      const added = uploads.value.length - before;
      // The library shows them itself.
      if (added > 0 && placeOf(location.hash).id) notify(S.start.added(added));
    },
  };
  const all = Object.entries(on);
  for (const [name, listener] of all) addEventListener(name, /** @type {any} */ (listener));
  return () => all.forEach(([name, listener]) => removeEventListener(name, /** @type {any} */ (listener)));
}

/** Where tracks come in. @param {{small: boolean}} props */
export function Start({ small }) {
  const over = useSignal(dragged);
  const [fetching, setFetching] = useState(false);
  const files = /** @type {{current: HTMLInputElement | null}} */ (useRef(null));
  const folder = /** @type {{current: HTMLInputElement | null}} */ (useRef(null));
  const chosen = (/** @type {any} */ event) => {
    take([...event.currentTarget.files].filter(({ name }) => !name.startsWith(".")));
    event.currentTarget.value = "";
  };
  const sample = async () => {
    setFetching(true);
    try {
      const answer = await fetch(new URL("sample.mp3", ASSETS));
      if (!answer.ok) throw new Error();
      add([new File([await answer.blob()], S.start.sampleName, { type: "audio/mpeg" })]);
    } catch {
      notify(S.problems.offline, { problem: true });
    }
    setFetching(false);
  };
  return html`
    <section class=${`start ${small ? "compact" : ""}`}>
      <h1>${S.start.title}</h1>
      ${!small && html`<p class="lead">${S.start.lead}</p>`}
      <div class=${`drop ${over ? "over" : ""}`}>
        <p class="drop-title">${over ? S.start.release : S.start.drop}</p>
        <div class="drop-actions">
          <button type="button" class="button primary" onClick=${() => files.current?.click()}>${S.start.files}</button>
          <button type="button" class="button folder" onClick=${() => folder.current?.click()}>${S.start.folder}</button>
          <button type="button" class="button quiet" onClick=${sample} disabled=${fetching}>${S.start.sample}</button>
        </div>
        <p class="small">${S.start.formats}</p>
        <input type="file" multiple accept=${ACCEPTED} hidden ref=${files} onChange=${chosen} aria-label=${S.start.files} />
        <input type="file" webkitdirectory hidden ref=${folder} onChange=${chosen} aria-label=${S.start.folder} />
      </div>
    </section>
  `;
}

/** @param {{view: "list" | "map"}} props */
export function Library({ view }) {
  useTitle(view === "map" ? S.library.map : "");
  const all = useSignal(tracks);
  const sending = useSignal(uploads);
  const wanted = useSignal(filter);
  const { found: described, asking } = useDescription(wanted.text);
  // What is being sent has a row already.
  const list = useMemo(() => [...(all?.values() ?? [])].filter((track) => !sending.some(({ audioId }) => audioId === track.audio_id)), [all, sending]);
  const shown = useMemo(() => (described ? described : list).filter((track) => fits(track, wanted, described !== null)), [list, wanted, described]);
  const empty = list.length + sending.length === 0;
  // As it was when the library was last seen: nothing jumps once the list is there.
  const [filled] = useState(() => localStorage.getItem(FILLED) !== null);
  useEffect(() => {
    if (all && empty) localStorage.removeItem(FILLED);
    else if (all) localStorage.setItem(FILLED, "");
  }, [all, empty]);
  return html`
    <${Start} small=${filled} />
    ${all &&
    !empty &&
    html`
      <section class="library" aria-labelledby="library-title">
        <div class="section-head">
          <h2 id="library-title">${S.library.title} <span class="count">${S.library.count(shown.length, list.length)}</span></h2>
          <nav class="segments" aria-label=${S.library.title}>
            <a href="#/" aria-current=${view === "list" ? "page" : undefined}>${S.library.list}</a>
            <a href="#/map" aria-current=${view === "map" ? "page" : undefined}>${S.library.map}</a>
          </nav>
        </div>
        <${Filters} list=${list} />
        ${(asking || described) &&
        html`<p class="small described" role="status">${asking ? S.library.describing : S.library.described(wanted.text.trim())}</p>`}
        ${sending.length > 0 && html`<ul class="rows">${sending.map((upload) => html`<${Sending} key=${upload.id} upload=${upload} />`)}</ul>`}
        ${view === "map"
          ? html`<${Atlas} shown=${shown} />`
          : html`<ul class="rows" data-rows>${shown.map((track) => html`<${Row} key=${track.audio_id} track=${track} />`)}</ul>`}
        ${list.length > 0 &&
        shown.length === 0 &&
        !asking &&
        html`<p class="empty">${S.library.none} <button type="button" class="link" onClick=${() => filter.set(NO_FILTER)}>${S.library.clear}</button></p>`}
      </section>
    `}
  `;
}

/**
 * Return the tracks that sound like a description, best first; null while none is asked for.
 *
 * @param {string} text
 * @returns {{found: (Track & {score?: number})[] | null, asking: boolean}}
 */
function useDescription(text) {
  const [found, setFound] = useState(/** @type {(Track & {score: number})[] | null} */ (null));
  const [asking, setAsking] = useState(false);
  const able = useSignal(canSearch);
  useEffect(() => {
    setFound(null);
    const named = [...(tracks.value?.values() ?? [])].some((track) => named_(track, text));
    const wanted = able && text.trim().length >= 3 && !named;
    setAsking(wanted);
    if (!wanted) return undefined;
    let current = true; // until something else is typed
    const timer = setTimeout(async () => {
      try {
        const { results } = await call("POST", "api/search", { body: { text: text.trim(), k: 50 }, idempotencyKey: undefined });
        const known = tracks.value ?? new Map();
        const there = results.flatMap((/** @type {any} */ { audio_id, score }) => (known.has(audio_id) ? [{ ...known.get(audio_id), score }] : []));
        if (current) setFound(there);
      } catch (problem) {
        complain(problem);
      }
      if (current) setAsking(false);
    }, 400);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [text, able]);
  return { found, asking };
}

/** @param {Track} track @param {string} text */
const named_ = (track, text) => track.filename.toLowerCase().includes(text.trim().toLowerCase());

/** @param {Track} track @param {typeof NO_FILTER} wanted @param {boolean} described */
function fits(track, { text, tempo, key, tag }, described) {
  if (text && !described && !named_(track, text)) return false;
  if (tempo) {
    const [, low, high] = S.library.tempos[Number(tempo)];
    const own = track.features?.tempo ?? 0;
    if (!(own > 0 && own >= low && own < high)) return false;
  }
  if (key && (!track.features?.key || S.keyOf(track.features) !== key)) return false;
  return !tag || (track.tags ?? []).includes(tag);
}

/** @param {{list: Track[]}} props */
function Filters({ list }) {
  const wanted = useSignal(filter);
  const able = useSignal(canSearch);
  const [keys, tags] = useMemo(() => {
    const keys = new Set(list.flatMap(({ features }) => (features?.key ? [S.keyOf(features)] : [])));
    /** @type {Map<string, number>} */
    const tags = new Map();
    for (const tag of list.flatMap((track) => track.tags ?? [])) tags.set(tag, (tags.get(tag) ?? 0) + 1);
    return [[...keys].sort(), [...tags.keys()].sort()];
  }, [list]);
  const set = (/** @type {keyof typeof NO_FILTER} */ name) => (/** @type {any} */ event) =>
    filter.set({ ...filter.value, [name]: event.currentTarget.value });
  const select = (/** @type {keyof typeof NO_FILTER} */ name, /** @type {string} */ label, /** @type {string} */ any, /** @type {[string, string][]} */ options) => html`
    <select aria-label=${label} value=${wanted[name]} onChange=${set(name)} class=${wanted[name] ? "set" : ""}>
      <option value="">${any}</option>
      ${options.map(([value, text]) => html`<option value=${value} selected=${value === wanted[name]}>${text}</option>`)}
    </select>
  `;
  return html`
    <div class="filters" role="search">
      <label class="search">
        ${icon("search")}
        <input
          type="search"
          placeholder=${able ? S.library.describe : S.library.search}
          aria-label=${able ? S.library.describe : S.library.search}
          value=${wanted.text}
          onInput=${set("text")}
        />
      </label>
      ${select("tempo", S.library.tempo, S.library.anyTempo, S.library.tempos.map(([text], index) => [String(index), text]))}
      ${select("key", S.library.key, S.library.anyKey, keys.map((key) => [key, key]))}
      ${select("tag", S.library.tag, S.library.anyTag, tags.map((tag) => [tag, tag]))}
    </div>
  `;
}

/** @param {{upload: import("./store.js").Upload}} props */
function Sending({ upload }) {
  const { file, state, sent, problem } = upload;
  return html`
    <li class="row sending">
      <span class="play placeholder">${icon("add")}</span>
      <div class="row-name"><span class="name">${stem(file.name)}</span>
        ${state === "failed"
          ? html`<span class="problem" role="alert">${problem}</span>`
          : html`<span class="small">${state === "waiting" ? S.status.waiting : S.status.sending(sent)} · ${S.size(file.size)}</span>
              <progress max="1" value=${sent} aria-label=${S.status.sending(sent)}></progress>`}
      </div>
      <div class="row-actions shown">
        ${state === "failed" && html`<button type="button" class="button small-button" onClick=${() => retry(upload.id)}>${S.library.again}</button>`}
        <button type="button" class="icon-button" onClick=${() => dismiss(upload.id)}
          aria-label=${state === "failed" ? S.library.dismiss : S.library.cancel(file.name)}>${icon("close")}</button>
      </div>
    </li>
  `;
}

/** @param {{id: string, name: string, disabled?: boolean}} props */
export function PlayButton({ id, name, disabled = false }) {
  const playing = useSignal(player.playing) === id;
  return html`
    <button type="button" class=${`play ${playing ? "on" : ""}`} disabled=${disabled} onClick=${() => player.toggle(id)}
      aria-label=${playing ? S.library.pause(name) : S.library.play(name)}>
      ${icon(playing ? "pause" : "play")}
    </button>
  `;
}

/** A name that can be changed in its place. @param {{track: Track, done: () => void}} props */
export function Rename({ track, done }) {
  const field = /** @type {{current: HTMLInputElement | null}} */ (useRef(null));
  // Before the next key: what is typed at once is part of the name. And once, so that it outlives another drawing.
  useLayoutEffect(() => {
    if (!field.current) return;
    field.current.value = stem(track.filename);
    field.current.focus();
    field.current.select();
  }, []);
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const name = field.current?.value.trim();
    done();
    const extension = track.filename.slice(stem(track.filename).length);
    if (!name || name === stem(track.filename)) return;
    try {
      await call("PATCH", `api/audio/${track.audio_id}`, { body: { filename: name + extension } });
      await readTrack(track.audio_id);
      tell();
    } catch (problem) {
      complain(problem);
    }
  };
  const leave = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") done();
  };
  return html`
    <form class="rename" onSubmit=${save}>
      <input ref=${field} aria-label=${S.library.newName} maxlength="200" onKeyDown=${leave} />
      <button class="button small-button">${S.save}</button>
      <button type="button" class="button quiet small-button" onClick=${done}>${S.cancel}</button>
    </form>
  `;
}

/** @param {Track} track */
export function removeTrack(track) {
  const made = [...generations.value.values()].filter(({ audio_id }) => audio_id === track.audio_id);
  remove(`api/audio/${track.audio_id}`, track.audio_id, S.undo.deleted(stem(track.filename), made.length));
}

/** @param {{track: Track & {score?: number}}} props */
function Row({ track }) {
  const [renaming, setRenaming] = useState(false);
  const rename = useHeir(renaming);
  const name = stem(track.filename);
  const { features } = track;
  const ready = track.status === "ready";
  if (renaming) return html`<li class="row"><${Rename} track=${track} done=${() => setRenaming(false)} /></li>`;
  return html`
    <li class="row" data-status=${track.status}>
      <${PlayButton} id=${track.audio_id} name=${name} disabled=${!ready} />
      <div class="row-name">
        <a class="name" href=${`#/track/${track.audio_id}`}>${name}</a>
        ${ready
          ? html`<span class="small">${(track.tags ?? []).slice(0, 4).join(" · ")}</span>`
          : html`<${Status} track=${track} />`}
      </div>
      ${ready &&
      features &&
      html`
        <span class="fact">${track.score === undefined ? S.tempoOf(features.tempo) : S.library.fits(track.score)}</span>
        <span class="fact">${S.keyOf(features)}</span>
        <span class="fact length">${S.clock(features.duration)}</span>
      `}
      <div class="row-actions">
        ${ready &&
        html`<button type="button" class="icon-button" ref=${rename} aria-label=${S.library.rename(name)} onClick=${() => setRenaming(true)}>${icon("rename")}</button>`}
        <button type="button" class="icon-button" aria-label=${S.library.remove(name)} onClick=${() => removeTrack(track)}>${icon("remove")}</button>
      </div>
    </li>
  `;
}

/** Where an unfinished or failed track is. @param {{track: Track}} props */
export function Status({ track }) {
  if (track.status === "failed") return html`<span class="problem">${S.status.failed}: ${failure(track)}</span>`;
  const text = S.stages[track.stage ?? ""] ?? S.status[/** @type {"uploaded"} */ (track.status)];
  return html`
    <span class="small">${text}${track.progress > 0 ? `, ${S.percent(track.progress)}` : ""}</span>
    ${unfinished(track.status) && html`<progress max="1" value=${track.progress || undefined} aria-label=${text}></progress>`}
  `;
}
