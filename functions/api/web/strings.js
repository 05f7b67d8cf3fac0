/** Every word that the page shows. */

/** @param {number} value @param {number} [digits] */
const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
/** @param {number} count @param {string} one @param {string} [many] */
const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** @param {number} seconds @returns {string} Such as `3:05`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/**
 * A part from one second to another: with tenths where it is short.
 *
 * @param {number} start
 * @param {number} end
 * @param {string} joint
 */
function part(start, end, joint) {
  const tenths = (/** @type {number} */ seconds) => {
    const whole = Math.round(seconds * 10);
    return `${clock(whole / 10)}.${whole % 10}`;
  };
  const time = end - start < 10 ? tenths : clock;
  return `${time(start)}${joint}${time(end)}`;
}

/** @param {number} seconds @returns {string} Such as `about 2 minutes`. */
function about(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} seconds`;
  if (seconds < 90) return "about a minute";
  if (seconds < 3300) return `about ${Math.round(seconds / 60)} minutes`;
  return seconds < 5400 ? "about an hour" : `about ${number(seconds / 3600, 1)} hours`;
}

/** @param {number} bytes */
const size = (bytes) => (bytes < 1e6 ? `${number(bytes / 1e3)} kB` : `${number(bytes / 1e6, bytes < 1e7 ? 1 : 0)} MB`);

/** @param {number} share */
const percent = (share) => `${Math.round(share * 100)} %`;

/** @type {Record<string, string>} */
const MAJOR = { "C#": "D♭", "D#": "E♭", "F#": "F♯", "G#": "A♭", "A#": "B♭" };
/** @type {Record<string, string>} */
const MINOR = { "C#": "C♯", "D#": "E♭", "F#": "F♯", "G#": "G♯", "A#": "B♭" };

export const S = {
  name: "Music like yours",
  titled: (/** @type {string} */ title) => (title ? `${title} · ${S.name}` : S.name),
  clock,
  size,
  percent,
  number,
  seconds: (/** @type {number} */ duration) => `${number(duration, 1)} s`,
  nav: { api: "The API", licenses: "Licences", skip: "Skip to the content" },
  /** The API names keys in sharps; musicians write those with fewer accidentals. */
  keyOf: (/** @type {{key?: string | null, mode?: string | null}} */ { key, mode }) =>
    key ? `${(mode === "minor" ? MINOR : MAJOR)[key] ?? key} ${mode ?? ""}`.trim() : "No key",
  tempoOf: (/** @type {number} */ tempo) => (tempo > 0 ? `${number(tempo)} BPM` : "No beat"),

  start: {
    title: "More music like yours.",
    lead: "Drop a track. See what it is made of, and make new music that sounds like it.",
    drop: "Drop tracks or a folder here",
    release: "Let go to add them",
    files: "Choose files",
    folder: "Choose a folder",
    sample: "Try it with our sample",
    formats: "wav, flac, mp3, ogg, opus, m4a, webm, aiff · up to 200 MB and 15 minutes each",
    sampleName: "Twelve Bars for a Test.mp3",
    noAudio: "There is no music in there that we can read.",
    added: (/** @type {number} */ count) => `${counted(count, "file")} ${count === 1 ? "is" : "are"} being added to your tracks.`,
    skipped: (/** @type {number} */ count) =>
      `${counted(count, "file")} ${count === 1 ? "is" : "are"} no music, and ${count === 1 ? "was" : "were"} left out.`,
  },

  library: {
    title: "Your tracks",
    count: (/** @type {number} */ shown, /** @type {number} */ all) =>
      shown === all ? number(all) : `${number(shown)} of ${number(all)}`,
    list: "List",
    map: "Map",
    search: "Search by name",
    describe: "Search by name, or describe the sound",
    described: (/** @type {string} */ text) => `Sounds like “${text}”`,
    describing: "Listening for that…",
    /** A cosine of text and sound, which is far below one of sounds. @param {number} score */
    fits: (score) => (score < 0.005 ? "does not fit" : `fits by ${percent(score)}`),
    anyTempo: "Any tempo",
    anyKey: "Any key",
    anyTag: "Any tag",
    tempo: "Tempo",
    key: "Key",
    tag: "Tag",
    tempos: /** @type {[string, number, number][]} */ ([
      ["Below 90 BPM", 0, 90],
      ["90 to 120 BPM", 90, 120],
      ["120 to 150 BPM", 120, 150],
      ["Above 150 BPM", 150, Infinity],
    ]),
    none: "No track fits.",
    clear: "Show all",
    play: (/** @type {string} */ name) => `Play ${name}`,
    pause: (/** @type {string} */ name) => `Pause ${name}`,
    rename: (/** @type {string} */ name) => `Rename ${name}`,
    remove: (/** @type {string} */ name) => `Delete ${name}`,
    newName: "New name",
    cancel: (/** @type {string} */ name) => `Cancel the upload of ${name}`,
    again: "Try again",
    dismiss: "Dismiss",
  },

  status: {
    waiting: "Next in line",
    sending: (/** @type {number} */ share) => `Uploading, ${percent(share)}`,
    awaiting_upload: "Its file is on the way",
    uploaded: "Waiting to be heard",
    embedding: "Listening to it",
    failed: "Could not be read",
    ready: "Ready",
  },
  ready: (/** @type {string} */ name) => `${name} is ready.`,
  made: (/** @type {string} */ name) => `New music like ${name} is ready.`,

  track: {
    back: "Library",
    tempo: "Tempo",
    key: "Key",
    loudness: "Loudness",
    length: "Length",
    lufs: (/** @type {number} */ loudness) => `${number(loudness, 1).replace("-", "−")} LUFS`,
    silent: "Silent",
    sure: (/** @type {number} */ share) => `${percent(Math.min(share, 0.99))} sure`,
    tags: "Sounds like",
    similar: "Nearest of your tracks",
    alone: "Nothing to compare it with yet. Add more tracks, and the nearest show here.",
    /** A cosine: what is unlike has one around zero or below. @param {number} score */
    similarity: (score) => (score < 0.005 ? "unlike" : `${percent(score)} alike`),
    results: "Made from this track",
    noResults: "What you make from it will be here.",
    stale: "This track was heard by another model than the one in use now.",
    embedAgain: "Listen again",
    madeFrom: "Made here from",
    duplicate: "You have the same recording already:",
  },

  timeline: {
    wave: "Waveform",
    spectrogram: "Spectrogram",
    chroma: "Harmony",
    zoom: "Zoom",
    play: "Play",
    pause: "Pause",
    position: "Position",
    at: (/** @type {number} */ now, /** @type {number} */ all) => `${clock(now)} of ${clock(all)}`,
    loop: "Loop",
    loopOf: (/** @type {number} */ start, /** @type {number} */ end) => `Loop ${part(start, end, " to ")}`,
    /** A loop that the other of two does not reach. @param {number} start @param {number} end @param {string} letter */
    loopOnly: (start, end, letter) => `Loop ${part(start, end, " to ")}, in ${letter} only`,
    loopHint: "Drag over a waveform to loop a part of it.",
    unplayable: "This browser cannot play the file.",
    tooLong: "Too long to draw its spectrogram here.",
    drawing: "Drawing…",
    pitches: ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"],
  },

  make: {
    title: "Make new music",
    button: "Make music",
    takes: (/** @type {number} */ seconds) => `Takes ${about(seconds)}.`,
    unknown: "How long it takes shows after the first one.",
    waits: "Starts as soon as the track is ready.",
    more: "All settings",
    presets: "Start from",
    preset: /** @type {Record<string, string>} */ ({
      balanced: "Balanced",
      close: "Close to it",
      free: "Freer",
      sketch: "Quick sketch",
    }),
    section: "Only the looped part",
    region: "The looped part is made anew",
    tooShort: "The looped part has to last a second or more.",
    noNumber: "This is no number.",
    noBars: "Say how many bars the loop has.",
    auto: "Automatic",
    random: "Random",
    yes: "Yes",
    no: "No",
    /** Label, what it does, and unit of each field. A field without an entry shows the API's own words. */
    fields: /** @type {Record<string, [string, string, string?]>} */ ({
      duration: ["Length", "How long the new music is.", "s"],
      candidates: ["Tries", "Makes so many and keeps the one most like the track."],
      temperature: ["Freedom", "Low stays close to what is likely, high surprises."],
      prompt: ["In words", "What it should sound like, beside the track."],
      negative_prompt: ["But not", "What it should not sound like."],
      mode: ["Takes from the track", "What the new music has of it."],
      format: ["File", "The format of the file."],
      seed: ["Seed", "The same number makes the same music again."],
      top_k: ["Top k", "Chooses among so many of the likeliest sounds. 0 is all."],
      top_p: ["Top p", "Chooses among sounds that have this share together. 0 is off."],
      guidance_scale: ["Guidance", "How much the track and the words weigh."],
      bars: ["Bars", "How long the loop is."],
      tempo: ["Tempo", "Beats per minute of the new music.", "BPM"],
      key: ["Key", "The key of the new music."],
      loop: ["Make a loop", "Whole bars, whose end meets their beginning."],
      ending: ["Ending", "How it ends."],
      before: ["In front of it", "The new music leads to the track instead of following it."],
      section: ["Section", "Which part of the track it takes."],
      region: ["Made anew", "Which part of the track is made anew."],
      sample_rate: ["Sample rate", "Samples per second of the file.", "Hz"],
      bit_depth: ["Bit depth", "Bits of each sample.", "bit"],
    }),
    values: /** @type {Record<string, Record<string, string>>} */ ({
      mode: {
        similar: "Its sound",
        continue: "Its end, played on",
        melody: "Its melody",
        extend: "All of it, and goes on",
        repaint: "All but a part, made anew",
      },
      ending: { natural: "With a last sound", fade: "Faded out", cut: "Cut off" },
      sample_rate: { source: "The track's own" },
    }),
    /** A field's value, in words. @param {string} name @param {unknown} value @returns {string} */
    valueOf: (name, value) => {
      if (value === null || value === undefined) return S.make.auto;
      if (name === "seed") return String(value);
      if (typeof value === "boolean") return value ? S.make.yes : S.make.no;
      if (typeof value === "number") return `${value.toLocaleString("en")} ${S.make.fields[name]?.[2] ?? ""}`.trim();
      if (typeof value === "string") return S.make.values[name]?.[value] ?? value.replaceAll("_", " ");
      const { start, end } = /** @type {{start?: number, end?: number}} */ (value);
      return start === undefined || end === undefined ? JSON.stringify(value) : part(start, end, " – ");
    },
  },

  /** What a worker is at. @type {Record<string, string>} */
  stages: {
    reading: "Fetching the track",
    decoding: "Reading the track",
    measuring: "Finding beat and key",
    embedding: "Listening to it",
    making: "Composing",
    encoding: "Writing the file",
    storing: "Storing it",
  },

  making: {
    title: "Making music",
    waiting: "Waiting for the track",
    queued: "Next in line",
    running: "At work",
    left: (/** @type {number} */ seconds) => `${about(seconds)} left`,
    cancel: "Cancel",
    leave: "You can close this page. It goes on, and waits here for you.",
    many: (/** @type {number} */ count, /** @type {number} */ share) =>
      `${count === 1 ? "Making" : `Making ${number(count)}`} · ${percent(share)}`,
  },

  result: {
    title: (/** @type {string} */ name) => `Like ${name}`,
    alike: "alike",
    source: "Your track",
    made: "New music",
    switch: "Switch A/B",
    hearing: (/** @type {string} */ what) => `Hearing ${what}`,
    shortcuts: "Space plays, X switches between A and B, arrows seek, L loops.",
    equal: "Both at equal loudness",
    scores: "How alike",
    score: /** @type {Record<string, string>} */ ({ embedding: "Sound", chroma: "Harmony", tempo: "Tempo" }),
    candidates: "The tries",
    candidate: (/** @type {number} */ number) => `Try ${number}`,
    chosen: "Chosen",
    choose: "Choose",
    hear: (/** @type {number} */ number) => `Hear try ${number}`,
    chooseIt: (/** @type {number} */ number) => `Choose try ${number}`,
    faulty: "Has audible faults",
    failed: "Came to nothing",
    gone: "The other tries are kept for a few days, and are gone.",
    download: "Download",
    format: "Format",
    asMade: (/** @type {string} */ format) => `${format} (as made)`,
    again: "Again, another seed",
    use: "Use as a track",
    used: "It is among your tracks now.",
    share: "Share",
    shared: (/** @type {number} */ seconds) =>
      `The link is copied. Whoever has it can fetch this file, without a key, for ${counted(Math.round(seconds / 60), "minute")}.`,
    notCopied: "The browser did not let the page copy a link.",
    remove: "Delete",
    origins: "Where each part comes from",
    noOrigins: "This model composes from scratch: no part is taken from one place.",
    details: "How it was made",
    asked: "What was asked for",
    added: "Length of the new part",
    sound: (/** @type {number} */ rate, /** @type {number} */ channels) =>
      `${number(rate)} Hz, ${channels === 1 ? "mono" : "stereo"}`,
    license: (/** @type {string} */ license) =>
      license.includes("NC") ? `${license}: not for commercial use` : license,
    detail: /** @type {Record<string, string>} */ ({
      engine: "Engine",
      model: "Model",
      precision: "Precision",
      license: "Licence",
      seed: "Seed",
      asked: "Seed of the first try",
      duration: "Length",
      sample_rate: "Sample rate",
      loudness: "Loudness",
      seconds: "Time taken",
    }),
    stopped: "It was cancelled.",
    failedTitle: "It came to nothing",
    retry: "Try again",
  },

  map: {
    lead: "Tracks that sound alike lie close together. Rest on one to hear it, click to open it.",
    few: "The map needs at least three tracks that are ready.",
    label: "Map of your tracks. Arrow keys move between them, Enter opens one, Space plays it.",
  },

  key: {
    title: "Your API key",
    needed: "This server asks for a key. Whoever runs it can give you one.",
    refused: "The server does not take that key, or not any more. Enter another one.",
    forgotten: "The key of this tab is forgotten. Enter one to go on.",
    label: "Key",
    kept: "It is kept in this tab only, until you close it.",
    enter: "Go on",
    forget: "Forget the key",
  },

  undo: {
    deleted: (/** @type {string} */ name, /** @type {number} */ results) =>
      results ? `${name} and ${counted(results, "result")} are deleted.` : `${name} is deleted.`,
    gone: "It is deleted.",
    deletedResult: "The result is deleted.",
    undo: "Undo",
    keys: "Ctrl Z",
  },
  offline: "No connection. Trying again…",
  loading: "Loading…",
  save: "Save",
  cancel: "Cancel",

  /** What to do about an error, by its code. One that is not here shows in the server's own words. */
  problems: /** @type {Record<string, string>} */ ({
    offline: "The server cannot be reached. Check the connection, then try again.",
    aborted: "Cancelled.",
    unknown: "Something went wrong. Try again.",
    internal_error: "Something went wrong on the server. Try again in a moment.",
    throttled: "Too much at once. Wait a moment, then try again.",
    too_large: "The file is too large: 200 MB is the most. Cut it, or save it as flac or mp3.",
    EntityTooLarge: "The file is larger than was announced. Choose it again.",
    EntityTooSmall: "The file is smaller than was announced. Choose it again.",
    AccessDenied: "The upload took too long to begin. Try again.",
    unsupported_media_type: "This is no audio file. Choose a wav, flac, mp3, ogg, m4a, webm or aiff.",
    expired: "It was kept for as long as the server keeps things, and is gone.",
    not_found: "It is not there. It may have been deleted in another tab.",
    stale_embedding: "The track was heard by another model than the one in use now. Let it be heard again.",
  }),
};
