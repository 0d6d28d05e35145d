// Asks the network, apart from the page: of all samples that come it hears the newest whole window, and leaves out what
// it has no time for. Window k holds the samples from k hops on, as a Stream of audiotag's has them.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { trim } from "./trim.js";

const LONGEST_S = 120; // of a file: the graph holds all of its spectrogram

let about, session;
let held = new Float32Array(0); // samples from `begin` on
let begin = 0;
let next = 0; // the window to hear next
let asking = false;

async function load() {
  ort.env.wasm.numThreads = 1; // more need headers that only a server of one's own sends
  ort.env.wasm.wasmPaths = { wasm: new URL("./ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };
  const files = await Promise.all(["about.json", "model.onnx"].map((name) => fetch(new URL(name, import.meta.url))));
  for (const file of files) if (!file.ok) throw new Error(`${file.url}: ${file.status} ${file.statusText}`);
  about = await files[0].json();
  session = await ort.InferenceSession.create(new Uint8Array(await files[1].arrayBuffer()), { executionProviders: ["wasm"] });
  postMessage({ about });
}

/** Return posteriors of a wave, its spectrogram as it lies in time, and whether it is silent. */
async function ask(wave) {
  const begun = performance.now();
  const { wave: kept, silent } = about.trim ? trim(wave, about.sample_rate_hz) : { wave, silent: wave.every((x) => x === 0) };
  const found = await run(kept, kept === wave ? ["posteriors", "spectrogram"] : ["posteriors"]);
  // What is drawn is neither trimmed nor scaled: one picture follows another.
  const { spectrogram } = kept === wave ? found : await run(wave, ["spectrogram"]);
  const [, bands, frames] = spectrogram.dims;
  const took_ms = performance.now() - begun;
  return { posteriors: found.posteriors.data, silent, spectrogram: { bands, frames, values: spectrogram.data }, took_ms };
}

function run(wave, outputs) {
  return session.run({ wave: new ort.Tensor("float32", wave, [1, wave.length]) }, outputs);
}

function take(block) {
  const joined = new Float32Array(held.length + block.length);
  joined.set(held);
  joined.set(block, held.length);
  held = joined;
}

async function hear() {
  if (asking) return;
  asking = true;
  const { window_samples: length, every_samples: hop } = about;
  const newest = Math.floor((begin + held.length - length) / hop);
  if (newest >= next) {
    const left_out = newest - next;
    next = newest + 1;
    const from = newest * hop;
    const wave = held.slice(from - begin, from - begin + length);
    held = held.slice(from - begin);
    begin = from;
    try {
      postMessage({ prediction: { begin: from, end: from + length, left_out, ...(await ask(wave)) } });
    } catch (error) {
      postMessage({ problem: String(error.message ?? error) });
    }
    setTimeout(hear); // after the blocks that have come meanwhile
  }
  asking = false;
}

async function file(wave) {
  if (wave.length > LONGEST_S * about.sample_rate_hz) throw new Error(`the file lasts more than ${LONGEST_S} s: audiotag predict takes files of any length`);
  postMessage({ prediction: { begin: 0, end: wave.length, left_out: 0, file: true, ...(await ask(wave)) } });
}

onmessage = async ({ data }) => {
  try {
    if (data.block) {
      take(data.block);
      await hear();
    } else if (data.file) await file(data.file);
    else if (data.reset) {
      held = new Float32Array(0);
      begin = next = 0;
    } else await load();
  } catch (error) {
    postMessage({ problem: String(error.message ?? error) });
  }
};
