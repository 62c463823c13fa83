// Runs the script of the page that boards/wasm/build.sh has put into a folder, under Node, with stand-ins for the few
// things of a browser that it uses, and prints the text that it shows: node page.mjs FOLDER PROMPT
import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, prompt] = process.argv.slice(2);
const page = await readFile(resolve(folder, "index.html"), "utf8");
const [, script] = page.match(/<script type="module">(.*)<\/script>/s);

let submit;
const elements = {
    form: { addEventListener: (event, listener) => event === "submit" && (submit = listener) },
    input: { value: "" },
    p: { textContent: "" },
    small: { textContent: "" },
};
globalThis.document = {
    querySelector: (name) => {
        // Such an element is on the page.
        if (!page.includes(`<${name}`) || !elements[name]) throw new Error(`no element ${name}`);
        return elements[name];
    },
};
globalThis.fetch = async (name) => new Response(await readFile(resolve(folder, name)));
let frames = 0;
globalThis.requestAnimationFrame = (callback) => {
    frames += 1;
    setImmediate(callback);
};

const module = resolve(folder, "page-script.mjs");
await writeFile(module, script);
await import(pathToFileURL(module));
if (!submit) throw new Error(`the page is not ready: ${elements.small.textContent}`);
const event = { preventDefault() {} };
// A second story ends the first.
elements.input.value = "Tom";
const first = submit(event);
elements.input.value = prompt;
await Promise.all([first, submit(event)]);
if (frames < 20) throw new Error(`only ${frames} frames while it told`);
console.log(elements.p.textContent);
console.error(elements.small.textContent);
