// The clients for Node: jobs come as lines of JSON on standard input, what each client showed goes out as lines.
// Each is used as its first page has it, with nothing set but where, who and what. Run with the folder that holds
// node_modules as the only argument: modules are looked for there.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { writeFileSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const require = createRequire(`${folder}/package.json`);
const version = (name) => JSON.parse(readFileSync(`${folder}/node_modules/${name}/package.json`)).version;
const load = async (name) => import(pathToFileURL(require.resolve(name)));

const undici = await load("undici");
const axios = require("axios");
const { default: OpenAI } = await load("openai");
const { GoogleGenAI } = await load("@google/genai");

const url = (job) => `${job.front}/v1/images/generations`;
const headers = (job) => ({ authorization: `Bearer ${job.key}`, "content-type": "application/json" });
const body = (job) => JSON.stringify({ model: job.model, prompt: job.prompt });

const clients = {
  async fetch(job) {
    const response = await fetch(url(job), { method: "POST", headers: headers(job), body: body(job) });
    return { status: response.status, body: await response.text() };
  },
  async undici(job) {
    const response = await undici.request(url(job), { method: "POST", headers: headers(job), body: body(job) });
    return { status: response.statusCode, body: await response.body.text() };
  },
  async axios(job) {
    const asked = { model: job.model, prompt: job.prompt };
    const response = await axios.post(url(job), asked, { headers: { authorization: `Bearer ${job.key}` } });
    return { status: response.status, body: JSON.stringify(response.data) };
  },
  async "openai-node"(job) {
    const client = new OpenAI({ baseURL: `${job.front}/v1`, apiKey: job.key });
    return { body: JSON.stringify(await client.images.generate({ model: job.model, prompt: job.prompt })) };
  },
  async "google-genai-node"(job) {
    const client = new GoogleGenAI({ apiKey: job.key, httpOptions: { baseUrl: job.front } });
    return { body: JSON.stringify(await client.models.generateContent({ model: job.model, contents: job.prompt })) };
  },
};

const told = (error) => ({
  class: error?.constructor?.name ?? "Error",
  message: [error?.message, error?.cause?.message].filter(Boolean).join(": ").slice(0, 2000),
  status: error?.response?.status ?? (typeof error?.status === "number" ? error.status : null),
  code: error?.response?.data?.error?.code ?? (typeof error?.status === "number" ? error.code : null) ?? null,
});

async function answer(job) {
  let shown;
  try {
    shown = await clients[job.client](job);
  } catch (error) {
    shown = { error: told(error) };
  }
  writeFileSync(job.body_file, shown.body ?? "");
  delete shown.body;
  process.stdout.write(`${JSON.stringify({ id: job.id, ...shown })}\n`);
}

const versions = {
  fetch: `${process.version.slice(1)} (undici ${process.versions.undici})`,
  undici: version("undici"),
  axios: version("axios"),
  "openai-node": version("openai"),
  "google-genai-node": version("@google/genai"),
};
process.stdout.write(`${JSON.stringify({ versions })}\n`);
for await (const line of createInterface({ input: process.stdin })) answer(JSON.parse(line));
