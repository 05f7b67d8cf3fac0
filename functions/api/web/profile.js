/** What this deployment can do: `GET /api/profile`. */
import { call } from "./api.js";
import { Signal } from "./signal.js";

/**
 * @typedef {import("./api.js").Schemas["Profile"]} Profile
 * @typedef {import("./api.js").Schemas["RequestField"]} Field
 */

/** @type {Signal<Profile | null>} */
export const profile = new Signal(/** @type {Profile | null} */ (null));
/** Whether tracks are found by a description. */
export const canSearch = new Signal(false);

export async function readProfile() {
  const known = await call("GET", "api/profile");
  profile.set(known);
  canSearch.set(known.text_search);
}
