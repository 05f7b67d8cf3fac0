/**
 * The API, as the page uses it: requests that ask for a key when one is needed, and try again what passes.
 *
 * @typedef {import("./schema.js").components["schemas"]} Schemas
 * @typedef {Schemas["AudioAnswer"]} Track
 * @typedef {Schemas["GenerationAnswer"]} Generation
 * @typedef {Schemas["Candidate"]} Candidate
 * @typedef {Schemas["Embedding"]} Embedding
 * @typedef {Schemas["Similar"]} Similar
 * @typedef {Schemas["MapPoint"]} MapPoint
 * @typedef {Schemas["DirectUpload"]} DirectUpload
 */
import { Signal } from "./signal.js";
import { S } from "./strings.js";

/** What precedes `api/`: scripts are at `{prefix}/assets/{version}/`. */
export const ROOT = new URL("../../", import.meta.url);
/** Where the page's own parts are. */
export const ASSETS = new URL("./", import.meta.url);
const KEY = "music-key";
const PASSING = new Set([429, 502, 503, 504]);
const PATIENCE = 4;

/** Whether the API is out of reach at the moment. */
export const offline = new Signal(false);
/** Says why a key is asked for; null while none is. @type {Signal<string | null>} */
export const keyWanted = new Signal(/** @type {string | null} */ (null));
/** Whether a key was entered in this tab. */
export const keyKnown = new Signal(sessionStorage.getItem(KEY) !== null);

/** What an error answer says (RFC 9457), in words for a person. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, detail?: string, field?: string | null}} document
   */
  constructor(status, document) {
    const code = document.code ?? "unknown";
    super(S.problems[code] ?? document.detail ?? S.problems.unknown);
    this.status = status;
    this.code = code;
    this.detail = document.detail ?? "";
    this.field = document.field ?? null;
  }

  /** Whether the same request may be answered later. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** @type {((entered: void) => void)[]} */
let waiting = [];

/**
 * Take the key that the page was waiting for, and let the requests that need it go on.
 *
 * @param {string} key
 */
export function enterKey(key) {
  sessionStorage.setItem(KEY, key.trim());
  keyKnown.set(true);
  keyWanted.set(null);
  for (const goOn of waiting) goOn();
  waiting = [];
}

/** Forget the key of this tab. */
export function forgetKey() {
  sessionStorage.removeItem(KEY);
  keyKnown.set(false);
  keyWanted.set(S.key.forgotten);
}

/** @param {string} why */
function askForKey(why) {
  keyWanted.set(why);
  return new Promise((/** @type {(entered: void) => void} */ goOn) => waiting.push(goOn));
}

/** @param {number} seconds */
export function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

/** Return a text that nobody else has: an `Idempotency-Key`. */
export function unique() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Send a request, and return the JSON of its answer (null without a body).
 *
 * @param {string} method
 * @param {string} path Relative, such as `api/audio`, or a link of an answer.
 * @param {{body?: unknown, idempotencyKey?: string, keepalive?: boolean}} [options]
 * @returns {Promise<any>}
 * @throws {Problem}
 */
export async function call(method, path, { body, idempotencyKey, keepalive } = {}) {
  const repeatable = method !== "POST" || idempotencyKey !== undefined;
  for (let attempt = 1; ; attempt++) {
    const key = sessionStorage.getItem(KEY);
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
    let response;
    try {
      response = await fetch(new URL(path, ROOT), {
        method,
        headers,
        keepalive,
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      offline.set(true);
      if (!repeatable || attempt >= PATIENCE) throw new Problem(0, { code: "offline" });
      await pause(attempt);
      continue;
    }
    offline.set(false);
    if (response.ok) return response.status === 204 ? null : response.json();
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    if (response.status === 401 || problem.code === "forbidden") {
      // Another request may have got a new key meanwhile.
      if (key === sessionStorage.getItem(KEY)) await askForKey(key ? S.key.refused : S.key.needed);
      attempt = 0;
    } else if (PASSING.has(response.status) && repeatable && attempt < PATIENCE) {
      await pause(Math.min(Number(response.headers.get("Retry-After")) || attempt, 5));
    } else {
      throw problem;
    }
  }
}

/**
 * Read every page of a list.
 *
 * @template T
 * @param {string} path
 * @param {(items: T[]) => void} take Called with each page.
 */
export async function pages(path, take) {
  for (let cursor = ""; ; ) {
    const query = `${path.includes("?") ? "&" : "?"}limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = await call("GET", path + query);
    take(page.items);
    if (!page.cursor) return;
    cursor = page.cursor;
  }
}

/**
 * Send a file to where an answer says: a presigned POST of the bucket.
 *
 * @param {DirectUpload} upload
 * @param {Blob} file
 * @param {(sent: number) => void} progress Called with the share that was sent, 0 to 1.
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 * @throws {Problem}
 */
export function send(upload, file, progress, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(upload.fields)) form.append(name, value);
  form.append("file", file);
  const request = new XMLHttpRequest(); // fetch does not tell how far an upload is
  return new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status < 300) return resolve();
      const code = /<Code>(\w+)<\/Code>/.exec(request.responseText)?.[1] ?? "unknown";
      reject(new Problem(request.status, { code }));
    };
    request.onerror = () => reject(new Problem(0, { code: "offline" }));
    request.onabort = () => reject(new Problem(0, { code: "aborted" }));
    if (signal.aborted) return reject(new Problem(0, { code: "aborted" }));
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", upload.url);
    request.send(form);
  });
}
