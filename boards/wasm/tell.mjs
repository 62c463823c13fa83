// Continues a text under Node: node tell.mjs [PROMPT [SETTINGS]]
//
// SETTINGS is JSON: what `Pipsqueak.tell` takes, and `context`.
import { readFile } from "node:fs/promises";

import { Pipsqueak } from "./pipsqueak.mjs";

const [prompt = "Once upon a time", settings = "{}"] = process.argv.slice(2);
const beside = (name) => readFile(new URL(name, import.meta.url));
const pipsqueak = await Pipsqueak.open(
    await beside("pipsqueak.wasm"),
    await beside("model.pips"),
    JSON.parse(settings),
);
process.stdout.write(prompt);
for (const text of pipsqueak.tell(prompt, JSON.parse(settings))) process.stdout.write(text);
process.stdout.write("\n");
console.error(`kernels: ${pipsqueak.kernels}`);
