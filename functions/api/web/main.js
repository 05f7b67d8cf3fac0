/** The page: what is shown where, and what lies over everything. */
import { ASSETS, enterKey, forgetKey, keyKnown, keyWanted, offline, ROOT } from "./api.js";
import { player } from "./audio.js";
import { keepFocus } from "./focus.js";
import { icon } from "./icons.js";
import { dragged, Library, placeOf, takeDrops } from "./library.js";
import { ResultView } from "./result.js";
import { Signal, useSignal } from "./signal.js";
import { generations, notices, spoken, start, unfinished } from "./store.js";
import { S } from "./strings.js";
import { TrackView } from "./track.js";
import { html, render, useEffect, useLayoutEffect, useRef } from "./vendor.js";

const route = new Signal(location.hash);

function App() {
  const hash = useSignal(route);
  const { where, id } = placeOf(hash);
  const main = /** @type {{current: HTMLElement | null}} */ (useRef(null));
  const first = /** @type {{current: boolean}} */ (useRef(true));
  // Before the focus would be kept beside what it leaves.
  useLayoutEffect(() => {
    player.stop();
    if (!first.current) {
      if (where !== "map") scrollTo(0, 0);
      main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [hash]);
  useEffect(takeDrops, []);
  useEffect(keepFocus, []);
  useEffect(takeUndo, []);
  const view =
    where === "track" ? html`<${TrackView} key=${id} id=${id} />`
    : where === "result" ? html`<${ResultView} key=${id} id=${id} />`
    : html`<${Library} view=${where} />`;
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), main.current?.focus())}>${S.nav.skip}</a>
    <header class="bar">
      <a class="brand" href="#/">${S.name}</a>
      <${Activity} />
      <${KeyButton} />
    </header>
    <main id="main" tabindex="-1" ref=${main}>${view}</main>
    <footer>
      <a href=${new URL("licenses.txt", ASSETS)}>${S.nav.licenses}</a>
      <a href=${new URL("api/openapi.json", ROOT)}>${S.nav.api}</a>
    </footer>
    <${Notices} />
    <${KeyDialog} />
  `;
}

/** What is being made, wherever one is on the page. */
function Activity() {
  const running = [...useSignal(generations).values()].filter(({ status }) => unfinished(status));
  if (running.length === 0) return html`<span class="activity"></span>`;
  const share = running.reduce((sum, { progress }) => sum + progress, 0) / running.length;
  return html`<a class="activity on" href=${`#/result/${running[0].generation_id}`}>${S.making.many(running.length, share)}</a>`;
}

function KeyButton() {
  if (!useSignal(keyKnown)) return null;
  return html`<button type="button" class="icon-button" onClick=${forgetKey} aria-label=${S.key.forget} title=${S.key.forget}>${icon("key")}</button>`;
}

function KeyDialog() {
  const why = useSignal(keyWanted);
  const dialog = /** @type {{current: HTMLDialogElement | null}} */ (useRef(null));
  const field = /** @type {{current: HTMLInputElement | null}} */ (useRef(null));
  useEffect(() => {
    if (why) dialog.current?.showModal();
    else dialog.current?.close();
  }, [why]);
  const enter = (/** @type {Event} */ event) => {
    event.preventDefault();
    const key = field.current?.value.trim();
    if (!key || !field.current) return;
    field.current.value = "";
    enterKey(key);
  };
  return html`
    <dialog ref=${dialog} aria-labelledby="key-title" onCancel=${(/** @type {Event} */ event) => event.preventDefault()}>
      <form onSubmit=${enter}>
        <h2 id="key-title">${S.key.title}</h2>
        <p role="alert">${why}</p>
        <label for="key">${S.key.label}</label>
        <input id="key" ref=${field} type="password" autocomplete="off" spellcheck="false" required />
        <p class="small">${S.key.kept}</p>
        <button class="button primary wide">${S.key.enter}</button>
      </form>
    </dialog>
  `;
}

/** Undo a deletion, and go to what is back. @param {import("./store.js").Notice} notice */
function bringBack({ undo, about }) {
  undo?.();
  setTimeout(() => {
    const main = document.getElementById("main");
    /** @type {HTMLElement | null | undefined} */ (main?.querySelector(`a[href$="${about}"]`) ?? main)?.focus();
  });
}

/** Undo the last deletion with the keys for that: its button is far from most places. @returns {() => void} Ends that. */
function takeUndo() {
  const press = (/** @type {KeyboardEvent} */ event) => {
    // What a browser fills in by itself is told of by events without a key.
    if (event.key?.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    if (/** @type {HTMLElement} */ (event.target).closest("input:not([type=range], [type=checkbox]), dialog")) return;
    const notice = notices.value.filter(({ undo }) => undo).at(-1);
    if (!notice) return;
    event.preventDefault();
    bringBack(notice);
  };
  addEventListener("keydown", press);
  return () => removeEventListener("keydown", press);
}

function Notices() {
  const list = useSignal(notices);
  const away = useSignal(offline);
  const said = useSignal(spoken);
  const held = useSignal(dragged) && placeOf(location.hash).id;
  return html`
    <div class="notices">
      ${held && html`<p class="notice">${S.start.release}</p>`}
      ${away && html`<p class="notice">${S.offline}</p>`}
      ${list.map((notice) => html`
        <p key=${notice.id} class=${`notice ${notice.problem ? "bad" : ""}`}>${notice.text}
          ${notice.undo &&
          html`<button type="button" class="link" aria-keyshortcuts="Control+Z Meta+Z" onClick=${() => bringBack(notice)}>${S.undo.undo}</button>
            <kbd class="small" aria-hidden="true">${S.undo.keys}</kbd>`}</p>
      `)}
    </div>
    <div class="visually-hidden" role="status">${said}</div>
  `;
}

addEventListener("hashchange", () => route.set(location.hash));
const root = /** @type {HTMLElement} */ (document.getElementById("app"));
root.replaceChildren();
render(html`<${App} />`, root);
start();
