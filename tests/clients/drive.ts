// Drive the generated TypeScript client: `node drive.js URL TRACK`. What has no type does not compile.
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [url, track] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url });
const sleep = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

function must<T>(value: T | undefined, problem?: unknown): T {
    if (value === undefined) throw new Error(JSON.stringify(problem));
    return value;
}

const bytes = await readFile(track);
const uploaded = await client.POST("/api/upload", {
    body: { file: "söng.mp3" },
    bodySerializer: () => {
        const form = new FormData();
        form.append("file", new Blob([new Uint8Array(bytes)], { type: "audio/mpeg" }), "söng.mp3");
        return form;
    },
});
const { audio_id } = must(uploaded.data, uploaded.error);

let tempo: number | undefined;
while (tempo === undefined) {
    const { data, error } = await client.GET("/api/embedding/{audio_id}", { params: { path: { audio_id } } });
    const found = must(data, error);
    if (found.status === "ready") tempo = found.features.tempo;
    else await sleep(500);
}

const submitted = await client.POST("/api/generate/{audio_id}", {
    params: { path: { audio_id } },
    body: { duration: 2, candidates: 2, seed: 7 },
});
const { generation_id } = must(submitted.data, submitted.error);
let record: components["schemas"]["GenerationAnswer"];
do {
    const { data, error } = await client.GET("/api/generation/{generation_id}", {
        params: { path: { generation_id }, query: { wait: 20 } },
    });
    record = must(data, error);
} while (record.status === "waiting" || record.status === "queued" || record.status === "running");

const seed: number = record.parameters.seed;
const scores: number[] = (record.candidates ?? []).map((one) => one.similarity?.embedding ?? -1);
const peak: number = record.loudness?.true_peak ?? 0;
if (record.status !== "succeeded" || seed !== 7 || scores.length !== 2 || peak >= 0) {
    throw new Error(JSON.stringify(record));
}
const downloaded = await client.GET("/api/download/{generation_id}", {
    params: { path: { generation_id } },
    parseAs: "arrayBuffer",
});
const music = new Uint8Array(must(downloaded.data, downloaded.error) as ArrayBuffer);
if (String.fromCharCode(...music.slice(0, 4)) !== "RIFF") throw new Error("this is no wav");
const missing = await client.GET("/api/audio/{audio_id}", { params: { path: { audio_id: "0".repeat(26) } } });
const code: string | undefined = missing.error?.code;
if (code !== "not_found") throw new Error(JSON.stringify(missing.error));
console.log("a track went in and music came out");
