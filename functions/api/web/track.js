/** One track: what it is made of, what is near it, and what is made from it. */
import { call } from "./api.js";
import { address, Deck, outline, playable, read } from "./audio.js";
import { useHeir } from "./focus.js";
import { icon } from "./icons.js";
import { PlayButton, removeTrack, Rename, Status } from "./library.js";
import { Make } from "./make.js";
import { persist } from "./persist.js";
import { useSignal, useTitle } from "./signal.js";
import { complain, failure, generations, leaving, nameOf, readTrack, stem, tell, tracks, undoOf, unfinished } from "./store.js";
import { S } from "./strings.js";
import { Timeline, Transport } from "./timeline.js";
import { html, useEffect, useMemo, useState } from "./vendor.js";

/**
 * @typedef {import("./api.js").Track} Track
 * @typedef {import("./api.js").Generation} Generation
 * @typedef {import("./api.js").Embedding} Embedding
 * @typedef {import("./timeline.js").Lane} Lane
 */

/** Make a deck that ends with the component. */
export function useDeck() {
  const deck = useMemo(() => new Deck(), []);
  useEffect(() => () => deck.close(), [deck]);
  return deck;
}

/**
 * Read a file at most once, unless that fails.
 *
 * @param {string | undefined} source
 * @param {() => Promise<string>} renew Gets an address anew: each is good for minutes.
 * @returns {() => Promise<Blob>}
 */
export function useFile(source, renew) {
  return useMemo(() => {
    /** @type {Promise<Blob> | undefined} */
    let file;
    const get = async () => {
      try {
        return await read(source ?? "").catch(async () => read(await renew()));
      } catch (problem) {
        file = undefined;
        throw problem;
      }
    };
    return () => (file ??= get());
  }, [source?.split("?")[0]]);
}

/**
 * Return the lane of a track.
 *
 * @param {Track | null} track With its links to play.
 * @param {number} side
 * @param {string} name
 * @returns {Lane | null}
 */
export function useTrackLane(track, side, name) {
  const source = track ? playable(track) : undefined;
  const file = useFile(source, () => address(track?.audio_id ?? ""));
  const [drawn, setDrawn] = useState(/** @type {Partial<Lane> | null} */ (null));
  const id = track?.status === "ready" ? track.audio_id : null;
  useEffect(() => {
    setDrawn(null);
    if (!id) return undefined;
    const { analysis } = track?.links ?? {};
    // What was embedded before there were analyses has none.
    return persist(() => (analysis ? call("GET", analysis) : file().then(outline)), setDrawn, () => setDrawn({}));
  }, [id]);
  const { features } = track ?? {};
  return useMemo(
    () =>
      features
        ? {
            id: "source",
            name,
            side,
            duration: drawn?.duration ?? features.duration,
            loudness: drawn?.loudness ?? features.loudness,
            peaks: drawn?.peaks ?? null,
            beats: drawn?.beats ?? features.beats,
            bars: drawn?.bars,
            chroma: drawn?.chroma ?? null,
            read: file,
          }
        : null,
    [features, drawn, side, name],
  );
}

/**
 * Read a record, as often as it takes: a server that is away for a while comes back.
 *
 * @template T
 * @param {(id: string) => Promise<T>} read
 * @param {string} id
 * @param {string | undefined} status It is read once more when that changes.
 * @returns {{record: T | null, problem: string}}
 */
export function useRecord(read, id, status) {
  const [record, setRecord] = useState(/** @type {T | null} */ (null));
  const [problem, setProblem] = useState("");
  const show = (/** @type {T | null} */ found, /** @type {string} */ why) => {
    setRecord(() => found);
    setProblem(why);
  };
  useEffect(
    () => persist(() => read(id), (found) => show(found, ""), ({ message }) => show(null, message), ({ message }) => setProblem(message)),
    [id, status],
  );
  return { record, problem };
}

/** Read a track with what only its own address tells. @param {string} id */
export function useTrack(id) {
  const known = useSignal(tracks)?.get(id);
  const { record, problem } = useRecord(readTrack, id, known?.status);
  return { track: record && { ...record, ...(known && { filename: known.filename }) }, problem };
}

/** @param {{id: string}} props */
export function TrackView({ id }) {
  const { track, problem } = useTrack(id);
  const [renaming, setRenaming] = useState(false);
  const rename = useHeir(renaming);
  const gone = useSignal(leaving).has(id);
  useTitle(track && !gone ? stem(track.filename) : "");
  if (gone) return html`<${Gone} text=${S.undo.gone} undo=${undoOf(id)} />`;
  if (!track) return problem ? html`<${Gone} text=${problem} />` : html`<p class="empty" aria-busy="true">${S.loading}</p>`;
  const name = stem(track.filename);
  return html`
    <article class="track">
      <a class="crumb" href="#/">${icon("back")}${S.track.back}</a>
      <header class="title">
        ${renaming
          ? html`<${Rename} track=${track} done=${() => setRenaming(false)} />`
          : html`<h1>${name}</h1>
              <div class="title-actions">
                <button type="button" class="icon-button" ref=${rename} aria-label=${S.library.rename(name)} onClick=${() => setRenaming(true)}>${icon("rename")}</button>
                <button type="button" class="icon-button" aria-label=${S.library.remove(name)}
                  onClick=${() => leaveFor("#/", () => removeTrack(track))}>${icon("remove")}</button>
              </div>`}
      </header>
      <${Whole} track=${track} />
    </article>
  `;
}

/** Go elsewhere, and do something once this view is left. @param {string} hash @param {() => void} then */
export function leaveFor(hash, then) {
  addEventListener("hashchange", then, { once: true });
  location.hash = hash;
}

/** @param {{text: string, undo?: (() => void) | null}} props */
export function Gone({ text, undo = null }) {
  return html`
    <div class="empty">
      <p role="alert">${text} ${undo && html`<button type="button" class="link" onClick=${undo}>${S.undo.undo}</button>`}</p>
      <a class="button" href="#/">${S.track.back}</a>
    </div>
  `;
}

/** All of a track, as far as it is known: what is chosen for new music stays when it turns ready. @param {{track: Track}} props */
function Whole({ track }) {
  const deck = useDeck();
  const lane = useTrackLane(track, 0, "");
  const ready = track.status === "ready";
  const features = ready ? track.features : null;
  useEffect(() => {
    if (ready) deck.load(0, playable(track), null, () => address(track.audio_id));
    else deck.pause();
  }, [track.audio_id, ready]);
  const [embedding, setEmbedding] = useState(/** @type {Embedding | null} */ (null));
  const [stale, setStale] = useState(false);
  const section = useSignal(deck.loop);
  useEffect(() => {
    setEmbedding(null);
    setStale(false);
    if (!ready) return undefined;
    return persist(() => call("GET", `api/embedding/${track.audio_id}?wait=0`), setEmbedding, (problem) => {
      if (problem.code === "stale_embedding") setStale(true);
      else complain(problem);
    });
  }, [track.audio_id, ready]);
  const original = track.duplicate_of ? nameOf(track.duplicate_of) : "";
  const results = useSignal(generations);
  const away = useSignal(leaving);
  const from = track.made_from ? results.get(track.made_from.generation_id) : undefined;
  const told = features &&
    html`
      <${Results} audioId=${track.audio_id} />
      <${Tags} tags=${track.tags ?? []} scores=${embedding?.tag_scores ?? {}} />
      ${!stale && html`<${Neighbours} audioId=${track.audio_id} />`}
      ${original && html`<p class="small">${S.track.duplicate} <a href=${`#/track/${track.duplicate_of}`}>${original}</a></p>`}
      ${track.made_from &&
      html`<p class="small">${S.track.madeFrom} ${from && !away.has(from.audio_id)
        ? html`<a href=${`#/result/${from.generation_id}`}>${S.result.made}</a>`
        : S.result.made}</p>`}
    `;
  return html`
    ${features
      ? html`
          <${Facts} features=${features} />
          ${stale && html`<${Stale} track=${track} />`}
          <section class="panel">
            ${lane && html`<${Timeline} lanes=${[lane]} deck=${deck} label=${S.timeline.wave} />`}
            <${Transport} deck=${deck} duration=${features.duration} />
          </section>
        `
      : html`<div class="pending"><${Status} track=${track} /></div>`}
    ${(features || unfinished(track.status)) &&
    html`
      <div class="columns" key="columns">
        <div>${told}</div>
        <${Make} audioId=${track.audio_id} waits=${!features} tempo=${features?.tempo} section=${section} />
      </div>
    `}
  `;
}

/** @param {{features: NonNullable<Track["features"]>}} props */
export function Facts({ features }) {
  const { tempo, tempo_confidence, key_confidence, loudness, duration } = features;
  const fact = (/** @type {string} */ label, /** @type {string} */ value, /** @type {number | null | undefined} */ sure = null) => html`
    <div><dt>${label}</dt><dd>${value}</dd>${sure != null && html`<dd class="small">${S.track.sure(sure)}</dd>`}</div>
  `;
  return html`
    <dl class="facts">
      ${fact(S.track.tempo, S.tempoOf(tempo), tempo > 0 ? tempo_confidence : null)}
      ${fact(S.track.key, S.keyOf(features), features.key ? key_confidence : null)}
      ${fact(S.track.loudness, loudness == null ? S.track.silent : S.track.lufs(loudness))}
      ${fact(S.track.length, S.clock(duration))}
    </dl>
  `;
}

/** @param {{track: Track}} props */
function Stale({ track }) {
  const again = () => call("POST", `api/audio/${track.audio_id}/embed`).then(() => readTrack(track.audio_id)).then(tell, complain);
  return html`<p class="note">${S.track.stale} <button type="button" class="button small-button" onClick=${again}>${S.track.embedAgain}</button></p>`;
}

/** @param {{tags: string[], scores: Record<string, Record<string, number>>}} props */
function Tags({ tags, scores }) {
  const groups = Object.entries(scores);
  if (groups.length === 0 && tags.length === 0) return null;
  return html`
    <section>
      <h2>${S.track.tags}</h2>
      ${groups.length === 0
        ? html`<ul class="tags">${tags.map((tag) => html`<li>${tag}</li>`)}</ul>`
        : html`<div class="tag-groups">
            ${groups.map(
              ([group, shares]) => html`
                <div>
                  <h3>${group}</h3>
                  ${Object.entries(shares).map(([tag, share]) => html`<${Meter} name=${tag} share=${share} />`)}
                </div>
              `,
            )}
          </div>`}
    </section>
  `;
}

/** A share from 0 to 1, as a bar. @param {{name: string, share: number}} props */
export function Meter({ name, share }) {
  return html`
    <div class="meter">
      <span>${name}</span>
      <meter min="0" max="1" value=${share} aria-label=${name}></meter>
      <span class="small">${S.percent(share)}</span>
    </div>
  `;
}

/** @param {{audioId: string}} props */
function Neighbours({ audioId }) {
  const [found, setFound] = useState(/** @type {import("./api.js").Similar["results"] | null} */ (null));
  useEffect(() => {
    setFound(null);
    return persist(() => call("GET", `api/similar/${audioId}?k=8`), ({ results }) => setFound(results), complain);
  }, [audioId]);
  return html`
    <section>
      <h2>${S.track.similar}</h2>
      ${found &&
      (found.length === 0
        ? html`<p class="small">${S.track.alone}</p>`
        : html`<ul class="rows compact">
            ${found.map(
              ({ audio_id, filename, score, tags }) => html`
                <li class="row" key=${audio_id}>
                  <${PlayButton} id=${audio_id} name=${stem(filename)} />
                  <div class="row-name">
                    <a class="name" href=${`#/track/${audio_id}`}>${stem(filename)}</a>
                    <span class="small">${(tags ?? []).slice(0, 3).join(" · ")}</span>
                  </div>
                  <span class="fact">${S.track.similarity(score)}</span>
                </li>
              `,
            )}
          </ul>`)}
    </section>
  `;
}

/** @param {{audioId: string}} props */
function Results({ audioId }) {
  const made = [...useSignal(generations).values()].filter(({ audio_id }) => audio_id === audioId);
  return html`
    <section>
      <h2>${S.track.results}</h2>
      ${made.length === 0
        ? html`<p class="small">${S.track.noResults}</p>`
        : html`<ul class="rows compact">${made.map((generation) => html`<${Made} key=${generation.generation_id} generation=${generation} />`)}</ul>`}
    </section>
  `;
}

/** @param {{generation: Generation}} props */
function Made({ generation }) {
  const { generation_id, status, progress, parameters, similarity, created_at } = generation;
  const when = new Date(created_at).toLocaleString("en", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const running = unfinished(status);
  return html`
    <li class="row" data-status=${status}>
      <div class="row-name">
        <a class="name" href=${`#/result/${generation_id}`}>${S.clock(generation.duration ?? parameters.duration ?? 0)} · ${when}</a>
        ${running
          ? html`<progress max="1" value=${progress} aria-label=${S.making.title}></progress>`
          : html`<span class=${status === "failed" ? "problem" : "small"}>
              ${status === "failed" ? failure(generation) : status === "cancelled" ? S.result.stopped : (parameters.prompt ?? `${S.result.detail.seed} ${generation.seed}`)}
            </span>`}
      </div>
      <span class="fact">${running ? S.percent(progress) : similarity ? S.track.similarity(similarity.embedding) : ""}</span>
    </li>
  `;
}
