/** The page's few pictures, drawn in the colour of the text around them. */
import { html } from "./vendor.js";

/** Outlines in a square of 24. @type {Record<string, string>} */
const STROKED = {
  loop: "M17 3l3 3-3 3M4 11V9a3 3 0 0 1 3-3h13M7 21l-3-3 3-3M20 13v2a3 3 0 0 1-3 3H4",
  close: "M6 6l12 12M18 6L6 18",
  rename: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  remove: "M4 7h16M10 11v6M14 11v6M6 7l1 13h10l1-13M9 7V4h6v3",
  back: "M14 6l-6 6 6 6",
  add: "M12 5v14M5 12h14",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  again: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  check: "M5 13l4 4L19 7",
  key: "M14 10a4 4 0 1 0-3 3l2 2h2v2h2v2h3v-3l-6-6z",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4 4",
};
/** @type {Record<string, string>} */
const FILLED = {
  play: "M8 5.5v13a.6.6 0 0 0 .9.5l10.4-6.5a.6.6 0 0 0 0-1L8.900 5a.6.6 0 0 0-.9.5z",
  pause: "M7 5h3.500v14H7zM13.500 5H17v14h-3.500z",
};

/** @param {string} name */
export const icon = (name) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    ${FILLED[name] ? html`<path fill="currentColor" d=${FILLED[name]} />` : html`<path class="stroked" d=${STROKED[name]} />`}
  </svg>
`;
