/** Values that the page shows and that change: who shows one is drawn again when it does. */
import { S } from "./strings.js";
import { useEffect, useState } from "./vendor.js";

/** @template T */
export class Signal {
  /** @param {T} value */
  constructor(value) {
    this.value = value;
    /** @type {Set<(value: T) => void>} */
    this.listeners = new Set();
  }

  /** @param {T} value */
  set(value) {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const listener of [...this.listeners]) listener(value);
  }

  /**
   * @param {(value: T) => void} listener
   * @returns {() => void} Ends it.
   */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

/**
 * Return a signal's value, and draw the component again when it changes.
 *
 * @template T
 * @param {Signal<T>} signal
 * @returns {T}
 */
export function useSignal(signal) {
  const [, show] = useState(signal.value);
  useEffect(() => {
    show(() => signal.value); // it may have changed since it was drawn
    return signal.subscribe((value) => show(() => value));
  }, [signal]);
  return signal.value;
}

/** Title the window while a component is shown. @param {string} title */
export function useTitle(title) {
  useEffect(() => {
    document.title = S.titled(title);
  }, [title]);
}
