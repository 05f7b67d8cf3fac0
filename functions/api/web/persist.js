/** What the page reads as often as it takes. */
import { offline, Problem } from "./api.js";
import { complain, notices } from "./store.js";

const AGAIN_SECONDS = 3;
const LONGEST_SECONDS = 60;
/** So often it fails before a person is told. */
const LASTING = 3;

/**
 * Wait some seconds: less where the browser comes back online or the tab into sight, more while that is out of sight.
 *
 * @param {number} seconds
 * @param {AbortSignal} ended What ends it, too.
 */
function lull(seconds, ended) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const goOn = () => {
      if (document.hidden && !ended.aborted) return;
      clearTimeout(timer);
      over.abort();
      resolve(undefined);
    };
    const timer = setTimeout(goOn, seconds * 1000);
    addEventListener("online", goOn, { signal: over.signal });
    document.addEventListener("visibilitychange", goOn, { signal: over.signal });
    ended.addEventListener("abort", goOn, { signal: over.signal });
  });
}

/** Return what says once that something goes on failing, unless that is said already. */
function sayOnce() {
  let left = LASTING;
  return (/** @type {Problem} */ problem) => {
    if (offline.value || --left !== 0) return;
    if (!notices.value.some(({ text }) => text === problem.message)) complain(problem);
  };
}

/**
 * Get something, as often as it takes: a server that is away for a while comes back.
 *
 * @template T
 * @param {() => Promise<T>} get
 * @param {(found: T) => unknown} take
 * @param {(problem: any) => unknown} fail Told of what does not pass, and ends it.
 * @param {(problem: Problem) => unknown} [wait] Told of what passes, each time. Without it, a person is told once.
 * @returns {() => void} Ends it.
 */
export function persist(get, take, fail, wait = sayOnce()) {
  const end = new AbortController();
  const { signal } = end;
  const go = async () => {
    for (let seconds = AGAIN_SECONDS; !signal.aborted; seconds = Math.min(2 * seconds, LONGEST_SECONDS)) {
      try {
        const found = await get();
        return void (signal.aborted || take(found));
      } catch (problem) {
        if (signal.aborted) return;
        if (!(problem instanceof Problem && problem.passes)) return void fail(problem);
        wait(problem);
      }
      await lull(seconds, signal);
    }
  };
  go();
  return () => end.abort();
}
