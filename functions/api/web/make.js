/** How new music is to be made: the fields that this deployment's profile takes. */
import { profile } from "./profile.js";
import { useSignal } from "./signal.js";
import { complain, generate } from "./store.js";
import { S } from "./strings.js";
import { SHORTEST_PART } from "./timeline.js";
import { html, useEffect, useState } from "./vendor.js";

/** @typedef {import("./profile.js").Field} Field */

/** Fields that are shown at once; all others are behind `All settings`. */
const FIRST = ["duration", "bars", "temperature", "candidates", "mode", "prompt", "loop"];
/** How long a loop is at first. */
const LOOP_BARS = 8;
/** Fields that say nothing beside other ones, and may not stand there. @param {Record<string, unknown>} asked */
export function idle({ mode, loop, before }) {
  const names = [loop ? "duration" : "bars", mode === "extend" ? "" : "before"];
  if (loop || (mode === "extend" && before)) names.push("ending");
  if (mode === "extend" || mode === "repaint") names.push("loop", "bars", "tempo", "key");
  if (mode === "repaint") names.push("duration", "ending", "sample_rate");
  return names;
}
const BEATS_PER_BAR = 4;
/** What each preset changes of the defaults, where the profile has the field. @type {Record<string, Record<string, number>>} */
const PRESETS = {
  balanced: {},
  close: { temperature: 0.6, candidates: 4, guidance_scale: 4 },
  free: { temperature: 1.4, candidates: 4, guidance_scale: 2 },
  sketch: { duration: 10 },
};
/** Fields whose defaults are what is balanced. */
const BALANCED = Object.keys(PRESETS.free);

/**
 * @param {{audioId: string, waits?: boolean, tempo?: number, section?: import("./audio.js").Region | null}} props
 *   `section` is the part of the track that is looped.
 */
export function Make({ audioId, waits = false, tempo = 0, section = null }) {
  const known = useSignal(profile);
  const [values, setValues] = useState(/** @type {Record<string, unknown>} */ ({}));
  const [preset, setPreset] = useState("balanced");
  const [partly, setPartly] = useState(false);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState(/** @type {{field: string | null, text: string} | null} */ (null));
  useEffect(() => {
    const control = wrong?.field ? document.getElementById(`make-${wrong.field}`) : null;
    const details = control?.closest("details");
    if (details) details.open = true;
    control?.focus();
  }, [wrong]);
  useEffect(() => setWrong(null), [section]);
  if (!known) return html`<section class="make panel" aria-busy="true"></section>`;
  const { fields } = known;
  const [extends_, repaints] = ["extend", "repaint"].map((mode) => values.mode === mode);
  const loop = values.loop === true && !extends_ && !repaints;
  /** @type {Record<string, unknown>} */
  const asked = { ...(loop && { bars: LOOP_BARS }), ...values, loop };
  const silent = idle(asked);
  const offered = Object.keys(fields).filter((name) => !fixed(fields[name]) && !silent.includes(name));
  const raw = (/** @type {string} */ name) => asked[name] ?? fields[name]?.default ?? null;
  /** @param {string} name @returns {unknown} */
  const value = (name) => (numeric(fields[name]) && typeof raw(name) === "string" ? parsed(String(raw(name))) : raw(name));
  const set = (/** @type {string} */ name, /** @type {unknown} */ given) => {
    setWrong(null);
    setValues({ ...values, [name]: given });
  };
  const choose = (/** @type {string} */ name) => {
    setPreset(name);
    setWrong(null);
    const own = name === "balanced" ? BALANCED : Object.keys(PRESETS[name]);
    // What the preset before set goes with it, and what was set by hand stays.
    const kept = Object.entries(values).filter(([field, value]) => !own.includes(field) && value !== PRESETS[preset][field]);
    setValues(Object.fromEntries([...kept, ...Object.entries(PRESETS[name]).filter(([field]) => field in fields)]));
  };
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const given = Object.entries(asked).filter(([name, given]) => offered.includes(name) && (given || name !== "loop"));
    const body = Object.fromEntries(given.map(([name]) => [name, value(name)]));
    const garbled = given.find(([name]) => Number.isNaN(body[name]));
    if (garbled) return setWrong({ field: garbled[0], text: S.make.noNumber });
    if (loop && value("bars") === null) return setWrong({ field: "bars", text: S.make.noBars });
    setBusy(true);
    try {
      const part = repaints ? { region: section } : partly && section ? { section } : {};
      const { generation_id } = await generate(audioId, { ...body, ...part });
      location.hash = `#/result/${generation_id}`;
    } catch (problem) {
      const { field = null, message } = /** @type {import("./api.js").Problem} */ (problem);
      setWrong({ field: field && field.split(".")[0], text: message });
      if (!field) complain(problem);
    }
    return setBusy(false);
  };
  const speed = known.speed.music_seconds_per_second;
  const region = section ? section.end - section.start : 0;
  // Why it cannot be made yet, if so.
  const lacks = repaints && !section ? S.timeline.loopHint : (repaints || partly) && section && region < SHORTEST_PART ? S.make.tooShort : "";
  const length = repaints ? region : loop ? (Number(value("bars")) * BEATS_PER_BAR * 60) / (tempo || 120) : Number(value("duration"));
  const seconds = length * Number(value("candidates"));
  const shown = FIRST.filter((name) => offered.includes(name));
  const others = offered.filter((name) => !FIRST.includes(name));
  const field = (/** @type {string} */ name) => html`
    <${Setting} key=${name} name=${name} field=${fields[name]} value=${raw(name)} set=${(/** @type {unknown} */ given) => set(name, given)}
      wrong=${wrong?.field === name ? wrong.text : ""} />
  `;
  return html`
    <section class="make panel" aria-labelledby="make-title">
      <form onSubmit=${submit} novalidate>
        <h2 id="make-title">${S.make.title}</h2>
        <div class="presets" role="group" aria-label=${S.make.presets}>
          ${Object.keys(PRESETS).map((name) => html`
            <button type="button" class="toggle" aria-pressed=${preset === name} onClick=${() => choose(name)}>${S.make.preset[name]}</button>
          `)}
        </div>
        ${shown.map(field)}
        ${fields.section &&
        !waits &&
        html`
          <div class="setting switch">
            <label for="make-section">${repaints ? S.make.region : S.make.section}</label>
            <input type="checkbox" role="switch" id="make-section" aria-describedby="make-section-hint" disabled=${!section || repaints}
              checked=${(partly || repaints) && section !== null} onChange=${(/** @type {any} */ event) => setPartly(event.currentTarget.checked)} />
            <p class="small" id="make-section-hint">${section ? S.timeline.loopOf(section.start, section.end) : S.timeline.loopHint}</p>
          </div>
        `}
        ${others.length > 0 && html`<details><summary>${S.make.more}</summary>${others.map(field)}</details>`}
        <div class="make-foot">
          <button class="button primary wide" disabled=${busy || lacks} aria-describedby="make-estimate">${S.make.button}</button>
          <p class="small estimate" id="make-estimate">${lacks ? lacks : waits ? S.make.waits : !speed ? S.make.unknown : seconds ? S.make.takes(seconds / speed) : ""}</p>
          ${wrong && !offered.includes(wrong.field ?? "") && html`<p class="problem" role="alert">${wrong.text}</p>`}
        </div>
      </form>
    </section>
  `;
}

/** @param {Field | undefined} field */
const numeric = (field) => field?.type === "number" || field?.type === "integer";

/** A number as people write it: with a dot, or with a comma. @param {string} text */
const parsed = (text) => Number(text.trim().replace(/^([-\d]*),(\d*)$/, "$1.$2") || NaN);

/** Whether there is nothing to choose by hand. @param {Field} field */
const fixed = ({ type, enum: choices }) => choices?.length === 1 || type === "object";

/** @param {{name: string, field: Field, value: any, set: (value: unknown) => void, wrong: string}} props */
function Setting({ name, field, value, set, wrong }) {
  const [label, hint, unit = ""] = S.make.fields[name] ?? [name.replaceAll("_", " "), field.description ?? ""];
  const id = `make-${name}`;
  const about = { id, "aria-describedby": `${id}-hint`, "aria-invalid": wrong ? true : undefined };
  const ranged = numeric(field) && field.minimum != null && field.maximum != null && !field.nullable;
  const step = field.type === "integer" || (field.maximum ?? 0) > 20 ? 1 : 0.05;
  const choices = field.enum && [...(field.nullable ? [null] : []), ...field.enum];
  const typed = (/** @type {any} */ event) => {
    const text = event.currentTarget.value;
    // What is typed stays as it is until it is sent: `120.` becomes 120.05.
    set(text === "" ? (field.default ?? null) : ranged ? Number(text) : text);
  };
  const control = choices
    ? html`<select ...${about} onChange=${(/** @type {any} */ event) => set(choices[event.currentTarget.selectedIndex])}>
        ${choices.map((choice) => html`<option selected=${choice === value}>${S.make.valueOf(name, choice)}</option>`)}
      </select>`
    : field.type === "boolean"
      ? html`<input type="checkbox" role="switch" ...${about} checked=${Boolean(value)} onChange=${(/** @type {any} */ event) => set(event.currentTarget.checked)} />`
      : ranged
        ? html`<input type="range" ...${about} min=${field.minimum} max=${field.maximum} step=${step} value=${value} onInput=${typed}
            aria-valuetext=${`${value} ${unit}`} />`
        : html`<input type="text" ...${about} inputmode=${numeric(field) ? "decimal" : undefined} autocomplete="off" maxlength=${field.max_length}
            value=${value ?? ""} placeholder=${name === "seed" ? S.make.random : field.nullable && numeric(field) && name !== "bars" ? S.make.auto : ""} onInput=${typed} />`;
  return html`
    <div class=${`setting ${field.type === "boolean" ? "switch" : ""}`}>
      <label for=${id}>${label}</label>
      ${ranged && html`<output for=${id}>${S.number(value, step < 1 && value % 1 ? 2 : 0)}${unit && ` ${unit}`}</output>`}
      ${control}
      <p class="small" id=${`${id}-hint`}>${wrong ? html`<span class="problem">${wrong}</span>` : hint}</p>
    </div>
  `;
}
