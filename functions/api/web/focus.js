/** Where the focus goes when what has it goes: it would fall to the page, and the next Tab to its beginning. */
import { useLayoutEffect, useRef } from "./vendor.js";

const REACHED = "a[href], button:not(:disabled), input, select, summary, [tabindex='0']";

/** What has the focus, or had it when it went. @type {Element | null} */
let last = null;
/** Whether the focus fell to the page with what had it. */
const fallen = () => document.activeElement === document.body && last !== null && !last.isConnected;

/** Keep the focus beside what is taken away with it: in what follows, in what precedes, else around it. */
export function keepFocus() {
  addEventListener("focusin", ({ target }) => (last = /** @type {Element} */ (target)));
  // A click beside everything gives it to the page.
  addEventListener("focusout", () => queueMicrotask(() => last?.isConnected && document.activeElement === document.body && (last = null)));
  new MutationObserver((records) => {
    if (!fallen()) return;
    const gone = records.find(({ removedNodes }) => [...removedNodes].some((node) => node.contains(last)));
    if (!gone) return;
    const main = document.getElementById("main");
    const near = [gone.nextSibling, gone.previousSibling];
    for (let around = gone.target; around !== main && main?.contains(around); around = /** @type {Node} */ (around.parentNode)) near.push(around);
    for (const place of near) {
      if (!(place instanceof Element) || !place.isConnected) continue;
      const found = place.matches(REACHED) ? place : place.querySelector(REACHED);
      if (found) return /** @type {HTMLElement} */ (found).focus();
    }
    return main?.focus();
  }).observe(document.body, { childList: true, subtree: true });
}

/**
 * Give the focus that fell to the page to what takes the place of something, once that is over.
 *
 * @param {boolean} on Whether it is there still.
 * @returns {{current: HTMLButtonElement | null}} The button that takes its place.
 */
export function useHeir(on) {
  const heir = /** @type {{current: HTMLButtonElement | null}} */ (useRef(null));
  const before = useRef(on);
  useLayoutEffect(() => {
    if (before.current && !on && fallen()) heir.current?.focus();
    before.current = on;
  }, [on]);
  return heir;
}
