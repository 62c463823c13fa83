// Runs the kernels' tests under Node: node kernels.mjs MODULE.wasm SET...
//
// The sets are those that the module must have, best first.
import { readFile } from "node:fs/promises";

const [path, ...expected] = process.argv.slice(2);
let said = "";
const host = {
    print: (text, length) => (said += new TextDecoder().decode(new Uint8Array(memory.buffer, text, length))),
};
const { instance } = await WebAssembly.instantiate(await readFile(path), { host });
const { memory, print_sets, run_tests } = instance.exports;

print_sets();
const sets = said.trim().split("\n");
if (sets.join() !== expected.join()) {
    throw new Error(`${path} runs ${sets.join(", ")}, expected ${expected.join(", ")}`);
}
said = "";
let failed;
try {
    failed = run_tests();
} finally {
    process.stdout.write(said);
}
process.exitCode = failed === 0 ? 0 : 1;
