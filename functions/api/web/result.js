/** A result beside its source: to compare, to choose among its tries, to take away. */
import { call, unique } from "./api.js";
import { address, outline, playable } from "./audio.js";
import { useHeir } from "./focus.js";
import { icon } from "./icons.js";
import { idle } from "./make.js";
import { persist } from "./persist.js";
import { useSignal, useTitle } from "./signal.js";
import { cancel, choose, complain, failure, generate, generations, leaving, notify, readGeneration, readTrack, remove, stem, tell, undoOf, unfinished } from "./store.js";
import { S } from "./strings.js";
import { Timeline, Transport } from "./timeline.js";
import { Gone, leaveFor, Meter, useDeck, useFile, useRecord, useTrack, useTrackLane } from "./track.js";
import { html, useEffect, useMemo, useState } from "./vendor.js";

/**
 * @typedef {import("./api.js").Generation} Generation
 * @typedef {import("./api.js").Candidate} Candidate
 * @typedef {import("./api.js").Track} Track
 * @typedef {import("./audio.js").Deck} Deck
 * @typedef {import("./timeline.js").Lane} Lane
 * @typedef {import("./timeline.js").Segment} Segment
 */

const [SOURCE, MADE] = [0, 1];
const FORMATS = ["wav", "flac", "mp3", "ogg"];
const OPUS_RATE = 48_000;

/** Whether the tries are kept still: to be chosen, and to be encoded anew. @param {Generation} generation */
const keeps = ({ candidates_expire_at: end }) => end != null && Date.parse(end) > Date.now();

/** @param {{id: string}} props */
export function ResultView({ id }) {
  const known = useSignal(generations).get(id);
  // Lists have no links to play: read it once more when it is finished, or another try is chosen.
  const { record, problem } = useRecord(readGeneration, id, `${known?.status} ${known?.chosen}`);
  if (useSignal(leaving).has(id)) return html`<${Gone} text=${S.undo.gone} undo=${undoOf(id)} />`;
  if (!record) return problem ? html`<${Gone} text=${problem} />` : html`<p class="empty" aria-busy="true">${S.loading}</p>`;
  const generation = { ...record, ...(unfinished(record.status) ? known : {}) };
  return html`<${Result} generation=${generation} />`;
}

/** @param {{generation: Generation}} props */
function Result({ generation }) {
  const { track, problem } = useTrack(generation.audio_id);
  const { status, similarity, audio_id } = generation;
  const name = track ? stem(track.filename) : "";
  useTitle(name && S.result.title(name));
  const done = status === "succeeded";
  const [picked, setHeard] = useState(/** @type {number | null} */ (null));
  const heard = picked ?? generation.chosen ?? 0;
  const deck = useDeck();
  const retry = useHeir(unfinished(status));
  const hear = (/** @type {number} */ index) => {
    const same = index === heard && deck.active.value === MADE;
    setHeard(index);
    deck.switch(MADE);
    return same ? deck.toggle() : deck.play();
  };
  if (!track && !problem) return html`<p class="empty" aria-busy="true">${S.loading}</p>`; // the scale is of both
  return html`
    <article class="result">
      <a class="crumb" href=${`#/track/${audio_id}`}>${icon("back")}${name || S.track.back}</a>
      <header class="title">
        <h1>${S.result.title(name)}</h1>
        ${done && similarity && html`<p class="score"><b>${S.percent(similarity.embedding)}</b> ${S.result.alike}</p>`}
      </header>
      <${Compare} generation=${generation} track=${track} heard=${heard} deck=${deck} />
      ${unfinished(status) && html`<p class="small">${S.making.leave}</p>`}
      ${(status === "failed" || status === "cancelled") && html`<${Ended} generation=${generation} button=${retry} />`}
      ${done &&
      html`
        <${Actions} generation=${generation} heard=${heard} />
        <div class="columns even">
          <${Candidates} generation=${generation} heard=${heard} hear=${hear} deck=${deck} />
          <${Details} generation=${generation} />
        </div>
      `}
    </article>
  `;
}

/** @param {{generation: Generation, track: Track | null, heard: number, deck: Deck}} props */
function Compare({ generation, track, heard, deck }) {
  const { status, parameters, candidates } = generation;
  const done = status === "succeeded";
  const source = useTrackLane(track, SOURCE, `A · ${S.result.source}`);
  const play = done ? addressOf(generation, heard) : undefined;
  const renew = async () => addressOf(await readGeneration(generation.generation_id), heard);
  const file = useFile(play, renew);
  const [drawn, setDrawn] = useState(/** @type {{peaks: number[], duration: number} | null} */ (null));
  const origins = useOrigins(generation, heard);
  const { speed = 1 } = /** @type {{details?: {speed?: number}}} */ (generation).details ?? {};
  const expected = generation.duration ?? lengthOf(parameters, source?.duration ?? 0);
  useEffect(
    () => (play ? persist(() => file().then(outline), setDrawn, () => setDrawn({ peaks: [0], duration: expected })) : undefined),
    [file],
  );
  const loudness = generation.loudness?.integrated ?? null;
  useEffect(() => {
    if (track?.status !== "ready") return;
    deck.load(SOURCE, playable(track), source?.loudness ?? null, () => address(track.audio_id));
  }, [track?.audio_id, track?.status]);
  useEffect(() => deck.measured(SOURCE, source?.loudness ?? null), [source?.loudness]);
  useEffect(() => {
    if (!play) return;
    const first = !deck.sides[MADE];
    deck.load(MADE, play, loudness, renew);
    if (first && !deck.playing.value) deck.active.set(MADE);
  }, [play?.split("?")[0], loudness]);
  const made = useMemo(
    () =>
      /** @type {Lane} */ ({
        id: "made",
        name: `B · ${S.result.made}${candidates && candidates.length > 1 ? ` · ${S.result.candidate(heard + 1)}` : ""}`,
        side: MADE,
        duration: drawn?.duration ?? expected,
        peaks: drawn?.peaks ?? null,
        accent: true,
        read: done ? file : undefined,
      }),
    [drawn, heard, file, done, expected],
  );
  const lanes = [source ?? empty(), done ? made : { ...made, progress: html`<${Progress} generation=${generation} />` }];
  return html`
    <section class="panel compare">
      <${Timeline} lanes=${lanes} deck=${deck} origins=${origins} speed=${speed} label=${S.timeline.wave} />
      <${Transport} deck=${deck} duration=${Math.max(...lanes.map(({ duration }) => duration))} switchable=${done}>
        ${done && html`<${Switch} deck=${deck} />`}
      <//>
      ${done && !generation.links.origins && html`<p class="small composed">${S.result.noOrigins}</p>`}
      ${done && html`<p class="small shortcuts">${S.result.shortcuts} ${S.result.equal}.</p>`}
    </section>
  `;
}

/**
 * Return how long the file of a result will be, in seconds: it holds the source, too, where that goes on or is made
 * anew in part.
 *
 * @param {Generation["parameters"]} parameters
 * @param {number} source Seconds of the source.
 */
function lengthOf({ mode, duration = 0, section }, source) {
  if (mode === "repaint") return source;
  return mode === "extend" ? duration + (section ? section.end - section.start : source) : duration;
}

/** Where one of the tries plays. @param {Generation} generation @param {number} heard */
function addressOf({ links, candidates, chosen }, heard) {
  return (heard !== (chosen ?? 0) && candidates?.[heard]?.links?.play) || links.play;
}

/** @returns {Lane} What stands for the source until it is read. */
const empty = () => ({ id: "source", name: `A · ${S.result.source}`, side: SOURCE, duration: 0, peaks: null });

/** @param {{deck: Deck}} props */
function Switch({ deck }) {
  const active = useSignal(deck.active);
  const side = (/** @type {number} */ index, /** @type {string} */ letter, /** @type {string} */ name) => html`
    <button type="button" aria-pressed=${active === index} aria-label=${S.result.hearing(name)} onClick=${() => deck.switch(index)}>${letter}</button>
  `;
  return html`<div class="ab" role="group" aria-label=${S.result.switch}>${side(SOURCE, "A", S.result.source)}${side(MADE, "B", S.result.made)}</div>`;
}

/** What fills the lane of the result until it is there. @param {{generation: Generation}} props */
function Progress({ generation }) {
  const { generation_id, status, progress, stage, seconds_left } = generation;
  if (!unfinished(status)) return null;
  const what = status === "running" ? (S.stages[stage ?? ""] ?? S.making.running) : S.making[/** @type {"queued"} */ (status)];
  return html`
    <div class="making" role="status">
      <div class="making-fill" style=${{ transform: `scaleX(${progress})` }}></div>
      <p><b>${what}</b>${status === "running" && html` <span>${S.percent(progress)}</span>`}
        ${seconds_left != null && html`<span class="small">${S.making.left(seconds_left)}</span>`}</p>
      <progress class="visually-hidden" max="1" value=${progress} aria-label=${S.making.title}></progress>
      <button type="button" class="button small-button" onClick=${() => cancel(generation_id)}>${S.making.cancel}</button>
    </div>
  `;
}

/** @param {Generation} generation @param {number} heard @returns {Segment[] | null} */
function useOrigins({ links: { origins } }, heard) {
  const [segments, setSegments] = useState(/** @type {Segment[] | null} */ (null));
  useEffect(() => {
    setSegments(null);
    // What a generator composes from scratch has no origins.
    if (!origins) return undefined;
    return persist(() => call("GET", `${origins}?candidate=${heard}`), (found) => setSegments(found.segments), complain);
  }, [origins, heard]);
  return segments;
}

/** Ask for the same again with another seed, and go there. @param {Generation} generation */
async function again({ audio_id, parameters }) {
  try {
    const { seed, ...wishes } = parameters;
    const asked = Object.fromEntries(Object.entries(wishes).filter(([, value]) => value !== null));
    location.hash = `#/result/${(await generate(audio_id, asked)).generation_id}`;
  } catch (problem) {
    complain(problem);
  }
}

/** Go back to the track, and delete a generation of it. @param {Generation} generation */
const discard = ({ generation_id, audio_id }) =>
  leaveFor(`#/track/${audio_id}`, () => remove(`api/generation/${generation_id}`, generation_id, S.undo.deletedResult));

/** @param {{generation: Generation, button: {current: HTMLButtonElement | null}}} props */
function Ended({ generation, button }) {
  const failed = generation.status === "failed";
  return html`
    <section class="note">
      <p role="alert"><b>${failed ? S.result.failedTitle : S.result.stopped}</b> ${failed && failure(generation)}</p>
      <div class="note-actions">
        <button type="button" class="button" ref=${button} onClick=${() => again(generation)}>${S.result.retry}</button>
        <button type="button" class="button quiet" onClick=${() => discard(generation)}>${icon("remove")}${S.result.remove}</button>
      </div>
    </section>
    <section><h2>${S.result.asked}</h2><${Pairs} rows=${wishes(generation)} /></section>
  `;
}

/** Fetch a file without leaving the page, which would end uploads. @param {string} url */
function save(url) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.src = url;
  document.body.append(frame);
}

/** @param {{generation: Generation, heard: number}} props */
function Actions({ generation, heard }) {
  const { generation_id, parameters } = generation;
  const own = parameters.format ?? "wav";
  const [format, setFormat] = useState(own);
  const formats = keeps(generation) ? FORMATS : [own];
  const [busy, setBusy] = useState(false);
  /** @param {(file: {url: string, expires_at: string}) => unknown} take */
  const fetchFile = async (take) => {
    setBusy(true);
    try {
      // A link of the page's own would carry no key: the answer to JSON is an address that needs none.
      // It names the try that is heard: another one may be chosen meanwhile. What older releases made has none.
      const number = generation.chosen == null ? "" : `/${heard}`;
      await take(await call("GET", `api/download/${generation_id}${number}?format=${format}`));
    } catch (problem) {
      complain(problem);
    }
    setBusy(false);
  };
  const download = () => fetchFile(({ url }) => save(url));
  const share = () =>
    fetchFile(({ url, expires_at }) =>
      navigator.clipboard.writeText(url).then(
        () => notify(S.result.shared((Date.parse(expires_at) - Date.now()) / 1000)),
        () => notify(S.result.notCopied, { problem: true }),
      ),
    );
  const use = async () => {
    try {
      const { audio_id } = await call("POST", "api/audio", { body: { generation_id, candidate: heard }, idempotencyKey: unique() });
      await readTrack(audio_id);
      tell();
      notify(S.result.used);
      location.hash = `#/track/${audio_id}`;
    } catch (problem) {
      complain(problem);
    }
  };
  return html`
    <div class="actions">
      <div class="joined">
        <button type="button" class="button primary" onClick=${download} disabled=${busy}>${icon("download")}${S.result.download}</button>
        <select aria-label=${S.result.format} value=${format} onChange=${(/** @type {any} */ event) => setFormat(event.currentTarget.value)}>
          ${formats.map((one) => html`<option value=${one} selected=${one === format}>${one === own ? S.result.asMade(one) : one}</option>`)}
        </select>
      </div>
      <button type="button" class="button" onClick=${() => again(generation)}>${icon("again")}${S.result.again}</button>
      <button type="button" class="button" onClick=${use}>${icon("add")}${S.result.use}</button>
      ${/* Browsers have none where the page is not secure. */ navigator.clipboard &&
      html`<button type="button" class="button" onClick=${share} disabled=${busy}>${icon("link")}${S.result.share}</button>`}
      <button type="button" class="button quiet" onClick=${() => discard(generation)}>${icon("remove")}${S.result.remove}</button>
    </div>
  `;
}

/** @param {{generation: Generation, heard: number, hear: (index: number) => void, deck: Deck}} props */
function Candidates({ generation, heard, hear, deck }) {
  const sounding = [useSignal(deck.playing), useSignal(deck.active) === MADE].every(Boolean);
  const { candidates, similarity, generation_id } = generation;
  const list = candidates ?? [];
  const chosen = generation.chosen ?? 0;
  const bars = (/** @type {import("./api.js").Candidate["similarity"]} */ scores) =>
    Object.entries(S.result.score).map(([name, label]) => {
      const share = scores?.[/** @type {"embedding"} */ (name)];
      return share == null ? null : html`<${Meter} name=${label} share=${share} />`;
    });
  if (list.length < 2) return html`<section><h2>${S.result.scores}</h2>${bars(similarity)}</section>`;
  return html`
    <section>
      <h2>${S.result.candidates}</h2>
      <ul class="candidates">
        ${list.map((candidate, index) => html`
          <li key=${candidate.seed} class=${index === heard ? "on" : ""}>
            <div class="candidate-head">
              <button type="button" class=${`play ${index === heard ? "on" : ""}`} disabled=${!candidate.links?.play && index !== chosen}
                aria-pressed=${index === heard} aria-label=${S.result.hear(index + 1)} onClick=${() => hear(index)}>${icon(sounding && index === heard ? "pause" : "play")}</button>
              <b>${S.result.candidate(index + 1)}</b>
              ${(candidate.faults ?? []).length > 0 && html`<span class="small" title=${(candidate.faults ?? []).join(", ")}>${S.result.faulty}</span>`}
              ${index === chosen
                ? html`<span class="chosen">${icon("check")}${S.result.chosen}</span>`
                : keeps(generation) &&
                  candidate.links &&
                  html`<button type="button" class="button small-button" aria-label=${S.result.chooseIt(index + 1)} onClick=${() => choose(generation_id, index)}>${S.result.choose}</button>`}
            </div>
            ${candidate.similarity ? bars(candidate.similarity) : html`<p class="small">${S.result.failed}</p>`}
          </li>
        `)}
      </ul>
      ${!keeps(generation) && html`<p class="small">${S.result.gone}</p>`}
    </section>
  `;
}

/**
 * What was asked for, in words, as far as it says something.
 *
 * @param {Generation} generation
 * @returns {[string, string][]}
 */
function wishes({ parameters, status }) {
  const { format, mode } = parameters;
  const silent = idle(parameters);
  const done = status === "succeeded";
  // What has no samples of its own has no depth, and what is made anew in part has that of the track.
  if (mode === "repaint" || !["wav", "flac"].includes(format ?? "wav")) silent.push("bit_depth");
  // The result itself tells these. One that goes on from its track is as long as both.
  if (done) silent.push("sample_rate", "seed");
  if (done && mode !== "extend") silent.push("duration");
  const label = (/** @type {string} */ name) =>
    done && name === "duration" ? S.result.added : (S.make.fields[name]?.[0] ?? name.replaceAll("_", " "));
  return Object.entries(parameters)
    .filter(([name, value]) => value !== null && value !== false && !silent.includes(name))
    .map(([name, value]) => [label(name), S.make.valueOf(name, value)]);
}

/** @param {{rows: [string, string][]}} props */
function Pairs({ rows }) {
  return html`<dl class="details">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** @param {{generation: Generation}} props */
function Details({ generation }) {
  const { engine, model, precision, license, seed, duration, sample_rate, channels, loudness, timings, parameters } = generation;
  const known = S.result.detail;
  // Whatever it is made at, Opus is of one rate.
  const rate = parameters.format === "ogg" ? OPUS_RATE : sample_rate;
  /** @type {[string, string][]} */
  const rows = [
    [known.engine, engine ?? ""],
    [known.model, model && model !== engine ? model : ""],
    [known.precision, precision ?? ""],
    [known.license, license ? S.result.license(license) : ""],
    [known.seed, String(seed ?? "")],
    [known.asked, parameters.seed === seed ? "" : String(parameters.seed)],
    [known.duration, duration ? S.seconds(duration) : ""],
    [known.sample_rate, rate ? S.result.sound(rate, channels ?? 1) : ""],
    [known.loudness, loudness?.integrated == null ? "" : S.track.lufs(loudness.integrated)],
    [known.seconds, timings ? S.seconds(Object.values(timings).reduce((a, b) => a + b, 0)) : ""],
    ...wishes(generation),
  ];
  return html`
    <section>
      <h2>${S.result.details}</h2>
      <${Pairs} rows=${rows.filter(([, value]) => value)} />
    </section>
  `;
}
