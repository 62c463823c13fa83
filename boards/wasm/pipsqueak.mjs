// A model in a browser or Node: the class around the functions of pipsqueak.wasm.
//
//     const pipsqueak = await Pipsqueak.open(wasm, model);
//     for (const text of pipsqueak.tell("Once upon a time")) console.log(text);

/** Multiply-adds between two pieces of text, of which most are empty: a few milliseconds, so that a page stays alive. */
const BUDGET = 10_000_000;

export class Pipsqueak {
    /** The name of the kernel set: "simd128" or "scalar". */
    kernels;
    #exports;

    /**
     * Opens a model. `wasm` and `model` (an image that `pipsqueak pack --for simd128` has made) are an ArrayBuffer or a
     * view of one. `context` is the positions that prompt and answer have together, at most those the model was trained
     * for.
     */
    static async open(wasm, model, { context = 512 } = {}) {
        const { instance } = await WebAssembly.instantiate(wasm);
        return new Pipsqueak(instance.exports, model, context);
    }

    /** For `open`. */
    constructor(exports, model, context) {
        this.#exports = exports;
        const bytes = ArrayBuffer.isView(model)
            ? new Uint8Array(model.buffer, model.byteOffset, model.byteLength)
            : new Uint8Array(model);
        const room = exports.room(bytes.length);
        if (room === 0) throw new Error(this.#text());
        // A view for each use: memory that grows is another buffer.
        new Uint8Array(exports.memory.buffer).set(bytes, room);
        this.#call("open", context);
        this.kernels = this.#text();
    }

    /**
     * What follows `prompt`, piece by piece: at most `n` tokens. Between two pieces, which may be empty, is little work.
     * The other settings are those of `pipsqueak run`; with temperature 0 the likeliest token is taken. The text is the same
     * on every machine. Another `tell` ends this one.
     */
    *tell(
        prompt,
        { n = 200, temperature = 0.8, topK = 40, topP = 0.95, minP = 0.05, repeatPenalty = 1, seed = 0 } = {},
    ) {
        const { memory, text, text_max } = this.#exports;
        const bytes = new TextEncoder().encode(prompt);
        if (bytes.length > text_max()) {
            throw new Error(`the prompt has ${bytes.length} bytes, at most ${text_max()} are taken`);
        }
        new Uint8Array(memory.buffer).set(bytes, text());
        this.#call("begin", bytes.length, n, temperature, topK, topP, minP, repeatPenalty, seed);
        let more;
        do {
            more = this.#call("step", BUDGET);
            yield this.#text();
        } while (more);
    }

    /** Calls a function that gives a status; whether there is more to come. */
    #call(name, ...numbers) {
        const status = this.#exports[name](...numbers);
        if (status === 2) throw new Error(this.#text());
        return status === 0;
    }

    #text() {
        const { memory, text, text_len } = this.#exports;
        return new TextDecoder().decode(new Uint8Array(memory.buffer, text(), text_len()));
    }
}
