/**
 * What the page knows: tracks, results, uploads. It asks again while something is unfinished, and tells the
 * other tabs what changed.
 *
 * @typedef {import("./api.js").Track} Track
 * @typedef {import("./api.js").Generation} Generation
 * @typedef {{id: string, file: File, sent: number, state: "waiting" | "sending" | "failed", audioId: string | null,
 *   problem: string | null, abort: AbortController}} Upload
 * @typedef {{id: number, text: string, undo: (() => void) | null, problem: boolean,
 *   about: string}} Notice `about` is the id of what an undo brings back.
 */
import { call, offline, pages, pause, Problem, send, unique } from "./api.js";
import { profile, readProfile } from "./profile.js";
import { Signal } from "./signal.js";
import { S } from "./strings.js";

const UNFINISHED_TRACK = new Set(["awaiting_upload", "uploaded", "embedding"]);
const UNFINISHED_GENERATION = new Set(["waiting", "queued", "running"]);
const AT_ONCE = 3;
const POLL_SECONDS = 1.2;
const SINGLY = 4; // of more unfinished records the lists are asked
const UNDO_SECONDS = 8;

/** Tracks by id, newest first; null until the first page is there. @type {Signal<Map<string, Track> | null>} */
export const tracks = new Signal(/** @type {Map<string, Track> | null} */ (null));
/** What became known of tracks before the list was there. @type {Map<string, Track>} */
const early = new Map();
/** Generations by id, newest first. @type {Signal<Map<string, Generation>>} */
export const generations = new Signal(new Map());
/** @type {Signal<Upload[]>} */
export const uploads = new Signal(/** @type {Upload[]} */ ([]));
/** @type {Signal<Notice[]>} */
export const notices = new Signal(/** @type {Notice[]} */ ([]));
/** What a screen reader is told. */
export const spoken = new Signal("");

const LEAVING = "leaving";
/**
 * Paths of what is to be deleted, by id, "" once that is done; what is undone or refused is taken out. The tab keeps
 * them over a reload: the page that is left sends what is due, and the next one may ask before that is carried out.
 * @type {Signal<Map<string, string>>}
 */
export const leaving = new Signal(new Map(JSON.parse(sessionStorage.getItem(LEAVING) ?? "[]")));
/** What deletes each of them as soon as nobody can undo it any more, and what undoes it.
 * @type {Map<string, {end: () => void, undo: () => void}>} */
const due = new Map();
const tabs = new BroadcastChannel("music");
/** Let the other tabs read anew what this one changed. */
export const tell = () => tabs.postMessage("changed");

/** @param {string} status */
export const unfinished = (status) => UNFINISHED_TRACK.has(status) || UNFINISHED_GENERATION.has(status);

/** @param {Track} track */
function keep(track) {
  const before = trackOf(track.audio_id);
  if (leaving.value.has(track.audio_id)) return;
  if (tracks.value) tracks.set(newestFirst(new Map(tracks.value).set(track.audio_id, track)));
  else early.set(track.audio_id, track);
  if (before && before.status !== track.status) {
    if (track.status === "ready") spoken.set(S.ready(track.filename));
    if (track.status === "failed") spoken.set(`${track.filename}: ${failure(track)}`);
  }
}

/** @param {Generation} generation */
function keepGeneration(generation) {
  const before = generations.value.get(generation.generation_id);
  if (leaving.value.has(generation.generation_id)) return;
  generations.set(newestFirst(new Map(generations.value).set(generation.generation_id, generation)));
  if (before && before.status !== generation.status && generation.status === "succeeded") {
    spoken.set(S.made(nameOf(generation.audio_id)));
  }
}

/** Identifiers sort by time. @template T @param {Map<string, T>} records */
function newestFirst(records) {
  return new Map([...records].sort(([a], [b]) => (a < b ? 1 : -1)));
}

/** @param {string} audioId */
const trackOf = (audioId) => (tracks.value ?? early).get(audioId);

/** @param {string} audioId */
export const nameOf = (audioId) => stem(trackOf(audioId)?.filename ?? "");

/** A file's name without its extension. @param {string} filename */
export const stem = (filename) => filename.replace(/(.)\.[A-Za-z0-9]{1,5}$/s, "$1");

/** Why a record failed, in words. @param {{error?: {code: string, detail: string} | null}} record */
export function failure({ error }) {
  return error ? (S.problems[error.code] ?? error.detail) : S.problems.unknown;
}

/** Read one track anew. @param {string} id @returns {Promise<Track>} */
export async function readTrack(id) {
  const track = await call("GET", `api/audio/${id}`);
  keep(track);
  return track;
}

/** Read one generation anew. @param {string} id @returns {Promise<Generation>} */
export async function readGeneration(id) {
  const generation = await call("GET", `api/generation/${id}`);
  keepGeneration(generation);
  return generation;
}

/** Read everything, and go on reading what is unfinished. */
export async function start() {
  tabs.onmessage = () => load().catch(complain);
  document.addEventListener("visibilitychange", () => document.hidden || wake());
  addEventListener("online", wake);
  addEventListener("pagehide", () => due.forEach(({ end }) => end()));
  addEventListener("beforeunload", (event) => {
    if (uploads.value.some(({ state }) => state !== "failed")) event.preventDefault();
  });
  await complete().catch(complain);
  watch();
  if (leaving.value.size) await finish().catch(complain);
}

/** Whether both lists are as they were when they were read last. */
let listed = false;

/** Read what could not be read yet. Where the API is out of reach, that tells when it is back. */
async function complete() {
  await Promise.all([listed || load(), (profile.value && !offline.value) || readProfile()]);
}

/** Delete what the page before this one sent, but did not get through. */
async function finish() {
  await pause(UNDO_SECONDS);
  const there = await load();
  for (const [id, path] of leaving.value) if (path && !due.has(id) && there.has(id)) await erase(path, id);
}

/**
 * Read both lists.
 *
 * @returns {Promise<Set<string>>} Ids of what they still have, though it is to be deleted.
 * @throws {Problem} They are read again by and by.
 */
async function load() {
  /** @type {Set<string>} */
  const hidden = new Set();
  /** @type {Map<string, Track>} */
  const found = new Map();
  /** @type {Map<string, Generation>} */
  const made = new Map();
  const before = tracks.value;
  const beforeMade = generations.value;
  const show = () => tracks.set(newestFirst(merge(before, tracks.value ?? early, found)));
  await Promise.all([
    pages("api/audio", (/** @type {Track[]} */ items) => {
      for (const item of items) leaving.value.has(item.audio_id) ? hidden.add(item.audio_id) : found.set(item.audio_id, item);
      if (!before) show();
    }),
    pages("api/generation", (/** @type {Generation[]} */ items) => {
      for (const item of items) leaving.value.has(item.generation_id) ? hidden.add(item.generation_id) : made.set(item.generation_id, item);
    }),
  ]).catch((problem) => {
    listed = false;
    throw problem;
  });
  listed = true;
  show();
  generations.set(newestFirst(merge(beforeMade, generations.value, made)));
  wake();
  return hidden;
}

/**
 * Return a list as it was read, with what this tab got to know meanwhile.
 *
 * @template T
 * @param {Map<string, T> | null} before What was known when reading began.
 * @param {Map<string, T> | null} now
 * @param {Map<string, T>} read
 */
function merge(before, now, read) {
  const since = [...(now ?? [])].filter(([id, record]) => before?.get(id) !== record && !(read.has(id) && !before));
  return new Map([...read, ...since]);
}

let wake = () => {};

async function watch() {
  for (;;) {
    await Promise.race([pause(POLL_SECONDS), new Promise((resolve) => (wake = () => resolve(undefined)))]);
    if (document.hidden) {
      await new Promise((resolve) => (wake = () => resolve(undefined)));
    }
    const waiting = [...(tracks.value?.values() ?? [])].filter(({ status }) => UNFINISHED_TRACK.has(status));
    const running = [...generations.value.values()].filter(({ status }) => UNFINISHED_GENERATION.has(status));
    try {
      await complete();
      await Promise.all([
        refresh(waiting.map(({ audio_id }) => audio_id), readTrack, "api/audio", keep),
        refresh(running.map(({ generation_id }) => generation_id), readGeneration, "api/generation", keepGeneration),
      ]);
    } catch {
      await pause(POLL_SECONDS); // the next round asks again; `offline` says so meanwhile
    }
  }
}

/**
 * @template T
 * @param {string[]} ids
 * @param {(id: string) => Promise<T>} read
 * @param {string} list
 * @param {(record: T) => void} take
 */
async function refresh(ids, read, list, take) {
  if (ids.length > SINGLY) {
    const page = await call("GET", `${list}?limit=100`);
    page.items.forEach(take);
    ids = ids.slice(-1); // the oldest, should it not be on that page
  }
  await Promise.all(
    ids.map((id) =>
      read(id).catch((problem) => {
        if (problem.status !== 404 && problem.status !== 410) throw problem;
        forget(id);
      }),
    ),
  );
}

/** @param {string} id */
function forget(id) {
  early.delete(id);
  const left = new Map(tracks.value ?? []);
  if (left.delete(id)) tracks.set(left);
  const made = new Map(generations.value);
  if (made.delete(id)) generations.set(made);
}

/** Say something for a while. @param {string} text @param {{undo?: () => void, problem?: boolean, about?: string}} [options] */
export function notify(text, { undo, problem = false, about = "" } = {}) {
  const notice = { id: performance.now(), text, undo: undo ?? null, problem, about };
  const all = [...notices.value, notice];
  const latest = all.filter(({ undo }) => !undo).slice(-3);
  notices.set(all.filter((one) => one.undo || latest.includes(one)));
  spoken.set(text);
  const end = () => notices.set(notices.value.filter((other) => other !== notice));
  setTimeout(end, UNDO_SECONDS * 1000);
  return end;
}

/** Say what an action failed of. @param {unknown} problem */
export function complain(problem) {
  if (!(problem instanceof Problem)) throw problem;
  notify(problem.message, { problem: true });
}

/**
 * Hide a record, and delete it once it is too late to undo that.
 *
 * @param {string} path Of the record.
 * @param {string} id
 * @param {string} text
 */
export function remove(path, id, text) {
  const before = { track: trackOf(id), generation: generations.value.get(id) };
  const end = () => {
    clearTimeout(timer);
    due.delete(id);
    leave(id, path); // whoever shows it takes the undo away
    erase(path, id);
  };
  const timer = setTimeout(end, UNDO_SECONDS * 1000);
  const undo = () => {
    clearTimeout(timer);
    due.delete(id);
    leave(id, null);
    if (before.track) keep(before.track);
    if (before.generation) keepGeneration(before.generation);
    dismiss();
  };
  const dismiss = notify(text, { undo, about: id });
  forget(id);
  due.set(id, { end, undo });
  leave(id, path);
}

/** What brings a record back that is to be deleted; null where that is too late. @param {string} id */
export const undoOf = (id) => due.get(id)?.undo ?? null;

/** Note what is to become of a record. @param {string} id @param {string | null} path See `leaving`; null: it stays. */
function leave(id, path) {
  const now = new Map(leaving.value);
  if (path === null) now.delete(id);
  else now.set(id, path);
  leaving.set(now);
  sessionStorage.setItem(LEAVING, JSON.stringify([...leaving.value].filter(([, path]) => path)));
}

/** Delete a record for good, or show it again if that is refused. @param {string} path @param {string} id */
async function erase(path, id) {
  try {
    await call("DELETE", path, { keepalive: true });
    leave(id, "");
  } catch (problem) {
    const gone = problem instanceof Problem && (problem.status === 404 || problem.status === 410);
    leave(id, gone ? "" : null);
    if (!gone) {
      complain(problem);
      await load().catch(complain);
    }
  }
  tell();
}

/** Cancel a generation. @param {string} id */
export async function cancel(id) {
  try {
    keepGeneration(await call("DELETE", `api/generation/${id}`));
    tell();
  } catch (problem) {
    complain(problem);
  }
}

/** Let another try be the result. @param {string} id @param {number} index Of the try. */
export async function choose(id, index) {
  try {
    keepGeneration(await call("PATCH", `api/generation/${id}`, { body: { chosen: index } }));
    tell();
  } catch (problem) {
    complain(problem);
  }
}

/**
 * Ask for new music.
 *
 * @param {string} audioId
 * @param {Record<string, unknown>} body
 * @returns {Promise<Generation>}
 */
export async function generate(audioId, body) {
  const generation = await call("POST", `api/generate/${audioId}`, { body, idempotencyKey: unique() });
  keepGeneration(generation);
  tell();
  wake();
  return generation;
}

/** Take files in. @param {File[]} files */
export function add(files) {
  const added = files.map((file) => ({
    id: unique(),
    file,
    sent: 0,
    state: /** @type {const} */ ("waiting"),
    audioId: null,
    problem: null,
    abort: new AbortController(),
  }));
  uploads.set([...uploads.value, ...added]);
  proceed();
}

/** @param {string} id @param {Partial<Upload>} change */
function changeUpload(id, change) {
  uploads.set(uploads.value.map((upload) => (upload.id === id ? { ...upload, ...change } : upload)));
}

function proceed() {
  const sending = uploads.value.filter(({ state }) => state === "sending").length;
  for (const upload of uploads.value.filter(({ state }) => state === "waiting").slice(0, AT_ONCE - sending)) {
    changeUpload(upload.id, { state: "sending" });
    store(upload)
      .then(
        () => dismiss(upload.id),
        (problem) => changeUpload(upload.id, { state: "failed", problem: problem.message }),
      )
      .finally(proceed);
  }
}

/** @param {Upload} upload */
async function store({ id, file, abort }) {
  const body = { filename: file.name, bytes: file.size, content_type: file.type || "application/octet-stream" };
  const announced = await call("POST", "api/upload", { body, idempotencyKey: id });
  changeUpload(id, { audioId: announced.audio_id });
  try {
    await send(announced.upload, file, (sent) => changeUpload(id, { sent }), abort.signal);
  } catch (problem) {
    await call("DELETE", `api/audio/${announced.audio_id}`).catch(() => {}); // or it would await its file for minutes
    throw problem;
  }
  await readTrack(announced.audio_id);
  tell();
  wake();
}

/** Try a failed upload again. @param {string} id */
export function retry(id) {
  // Another id: the first try's may stand for a record whose time to upload is over.
  changeUpload(id, { id: unique(), state: "waiting", audioId: null, problem: null, sent: 0, abort: new AbortController() });
  proceed();
}

/** Take an upload off the list, and end it if it runs. @param {string} id */
export function dismiss(id) {
  uploads.value.find((upload) => upload.id === id)?.abort.abort();
  uploads.set(uploads.value.filter((upload) => upload.id !== id));
}
