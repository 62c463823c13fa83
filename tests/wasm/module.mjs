// Tests the module that boards/wasm/build.sh has put into a folder: node module.mjs FOLDER SET ROWS FOREIGN
//
// SET is the kernel set that it must have. ROWS and FOREIGN are the folder's model, its rows apart and packed for AVX2.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, kernels, ...others] = process.argv.slice(2);
const { Pipsqueak } = await import(pathToFileURL(resolve(folder, "pipsqueak.mjs")));
const [wasm, model] = await Promise.all(
    ["pipsqueak.wasm", "model.pips"].map((name) => readFile(resolve(folder, name))),
);

const [rows, foreign] = await Promise.all(others.map((path) => readFile(path)));
const greedy = (n) => ({ n, temperature: 0 });
const told = (pipsqueak, prompt, settings) => [...pipsqueak.tell(prompt, settings)].join("");
/** Whether it is refused, in words that fit `pattern`. A trap is no refusal. */
async function refused(what, pattern) {
    await assert.rejects(what, (error) => {
        assert(!(error instanceof WebAssembly.RuntimeError), error);
        assert.match(error.message, pattern);
        return true;
    });
}

const tests = {
    "nothing is imported, a panic handler least of all"() {
        assert.deepEqual(WebAssembly.Module.imports(new WebAssembly.Module(wasm)), []);
    },

    async "the kernel set is the one that was asked for"() {
        assert.equal((await Pipsqueak.open(wasm, model)).kernels, kernels);
    },

    async "a text interrupted leaves nothing behind"() {
        const pipsqueak = await Pipsqueak.open(wasm, model);
        const first = told(pipsqueak, "Once upon a time", greedy(20));
        assert(first.length > 20, first);
        for (const text of pipsqueak.tell("Lily and Tom went to the park", greedy(20))) if (text !== "") break;
        pipsqueak.tell("A dog").next();
        assert.equal(told(pipsqueak, "Once upon a time", greedy(20)), first);
        const other = await Pipsqueak.open(wasm, new Uint8Array(model).buffer, { context: 40 });
        assert.equal(told(other, "Once upon a time", greedy(20)), first);
    },

    async "any budget gives the same text"() {
        const { exports } = (await WebAssembly.instantiate(wasm)).instance;
        const view = (start, length) => new Uint8Array(exports.memory.buffer, start, length);
        view(exports.room(model.length), model.length).set(model);
        assert.equal(exports.open(64), 1);
        const prompt = new TextEncoder().encode("The cat");
        const texts = [1, 5000, 0xffffffff].map((budget) => {
            view(exports.text(), prompt.length).set(prompt);
            assert.equal(exports.begin(prompt.length, 12, 0, 0, 1, 0, 1, 0), 0);
            let text = "";
            let status;
            let steps = 0;
            do {
                status = exports.step(budget);
                steps += 1;
                text += new TextDecoder().decode(view(exports.text(), exports.text_len()));
            } while (status === 0);
            assert.equal(status, 1);
            assert(budget > 1 || steps > 1000, `${steps} steps`);
            return text;
        });
        assert(texts[0].length > 12);
        assert.deepEqual(texts, Array(3).fill(texts[0]));
    },

    async "the end of a text"() {
        const pipsqueak = await Pipsqueak.open(wasm, model, { context: 8 });
        assert.equal(told(pipsqueak, "Once", greedy(0)), "");
        // The context ends it; a prompt that is longer than the context cannot begin.
        const long = told(pipsqueak, "Once", greedy(100));
        assert(long.length > 4 && long.length < 60, long);
        await refused(async () => told(pipsqueak, "word ".repeat(20)), /do not fit the context of 8/);
        assert.equal(told(pipsqueak, "Once", greedy(100)), long);
        // An empty prompt begins with the model's first token.
        assert(told(pipsqueak, "", greedy(5)).length > 4);
    },

    async "a prompt as long as there is room for, and one byte more"() {
        const pipsqueak = await Pipsqueak.open(wasm, model);
        await refused(async () => told(pipsqueak, "é".repeat(1024)), /\d+ tokens do not fit|context/);
        await refused(async () => told(pipsqueak, "é".repeat(1024) + "x"), /has 2049 bytes, at most 2048/);
    },

    async "damaged models"() {
        for (const length of [0, 1, 63, 64, 200, 4096, model.length - 64, model.length - 1]) {
            await refused(Pipsqueak.open(wasm, model.subarray(0, length)), /./);
        }
        let state = 1;
        let count = 0;
        const intact = told(await Pipsqueak.open(wasm, model), "Once", greedy(3));
        for (let i = 0; i < 150; i++) {
            // A part of them in the header and the directory.
            state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
            const at = state % (i % 3 === 0 ? 4096 : model.length);
            const damaged = Uint8Array.from(model);
            damaged[at] ^= 1 << (state >>> 29);
            try {
                // Between tensors there are bytes that mean nothing.
                assert.equal(told(await Pipsqueak.open(wasm, damaged), "Once", greedy(3)), intact);
            } catch (error) {
                assert(!(error instanceof WebAssembly.RuntimeError) && error.name === "Error", `byte ${at}: ${error}`);
                count += 1;
            }
        }
        assert(count > 120, `${count} of 150 were refused`);
    },

    async "calls out of order, and numbers out of range"() {
        const { exports } = (await WebAssembly.instantiate(wasm)).instance;
        const { memory, text, text_len } = exports;
        const said = () => new TextDecoder().decode(new Uint8Array(memory.buffer, text(), text_len()));
        const fails = (status, pattern) => {
            assert.equal(status, 2);
            assert.match(said(), pattern);
        };
        fails(exports.step(1), /no model is open/);
        fails(exports.begin(1, 1, 0, 0, 1, 0, 1, 0), /no model is open/);
        fails(exports.open(8), /room, then open/);
        assert.equal(exports.room(0xfffffff0), 0);
        assert.match(said(), /no memory for 42949672\d\d more bytes/);
        const room = exports.room(model.length);
        new Uint8Array(memory.buffer).set(model, room);
        assert.equal(exports.room(1), 0);
        assert.match(said(), /room, then open/);
        assert.equal(exports.open(8), 1);
        fails(exports.open(8), /room, then open/);
        assert.equal(exports.room(1), 0);
        fails(exports.begin(0xffffffff, 1, 0, 0, 1, 0, 1, 0), /has 4294967295 bytes, at most 2048/);
        new Uint8Array(memory.buffer)[text()] = 0xff;
        fails(exports.begin(1, 1, 0, 0, 1, 0, 1, 0), /not UTF-8/);
        for (const odd of [NaN, Infinity, -1, 1e-45]) {
            new Uint8Array(memory.buffer)[text()] = 0x41;
            assert.equal(exports.begin(1, 3, odd, 3, odd, odd, odd, 5), 0);
            let status;
            while ((status = exports.step(1e6)) === 0);
            assert.equal(status, 1);
        }
    },

    async "models for other machines"() {
        const [ours, theirs] = [await Pipsqueak.open(wasm, model), await Pipsqueak.open(wasm, rows)];
        assert.equal(told(theirs, "A dog", greedy(30)), told(ours, "A dog", greedy(30)));
        assert.notDeepEqual(rows, model);
        await refused(Pipsqueak.open(wasm, foreign), /leaves out the feature panel-r8/);
    },

    async "a context of nothing"() {
        await refused(Pipsqueak.open(wasm, model, { context: 0 }), /zero of something/);
    },
};

for (const [name, test] of Object.entries(tests)) {
    try {
        await test();
    } catch (error) {
        console.error(`failed: ${name}`);
        throw error;
    }
}
console.log(`${Object.keys(tests).length} tests passed`);
