// Paints in a thread of its own: a style file by ONNX Runtime Web, and around it what `limner.style` does.

import { enlarged } from "./enlarge.js";
import { byte, floats, keepColours, picture, reduced, reflected, strength, withTones } from "./samples.js";

const BORDER = 16;
const MOST = 2_000_000; // pixels that the network is shown at once: more are painted smaller, and enlarged

let runtime = null;
const sessions = new Map();

/** ONNX Runtime Web: on the graphics card where the browser lends it, else on the processor. */
async function start() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const [provider, kind] = adapter ? ["webgpu", ".asyncify"] : ["wasm", ""];
  const ort = await import(`./ort/ort.${provider}.bundle.min.mjs`);
  ort.env.wasm.wasmPaths = { wasm: new URL(`./ort/ort-wasm-simd-threaded${kind}.wasm`, import.meta.url).href };
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
  ort.env.logLevel = "error";
  return { ort, provider };
}

async function open({ data, card: { weights_sha256, tier } }) {
  runtime ??= start();
  const { ort, provider } = await runtime;
  const key = `${tier} ${weights_sha256}`;
  if (!sessions.has(key)) sessions.set(key, ort.InferenceSession.create(data, { executionProviders: [provider, "wasm"] }));
  return { ort, session: await sessions.get(key) };
}

/** The network on a photograph of bytes, of any size; floats come out. */
async function stylized(photo, style) {
  const { ort, session } = await open(style);
  const { card } = style;
  const toned = card.sees_whole ? withTones(photo) : photo;
  const [width, height] = [toned.width, toned.height].map((side) => Math.max(Math.ceil((side + 2 * BORDER) / card.multiple_of), Math.ceil(card.min_side / card.multiple_of)) * card.multiple_of);
  const data = new Float32Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const row = reflected(y - BORDER, toned.height) * toned.width;
    for (let x = 0; x < width; x++) {
      const from = 3 * (row + reflected(x - BORDER, toned.width));
      for (let c = 0; c < 3; c++) data[(c * height + y) * width + x] = toned.data[from + c] / 255;
    }
  }
  const { stylized: out } = await session.run({ image: new ort.Tensor("float32", data, [1, 3, height, width]) });
  const found = await out.getData(true);
  const result = picture(photo.width, photo.height, 3);
  for (let y = 0; y < photo.height; y++)
    for (let x = 0; x < photo.width; x++)
      for (let c = 0; c < 3; c++) result.data[3 * (y * photo.width + x) + c] = byte(255 * found[(c * height + y + BORDER) * width + x + BORDER]) / 255;
  return result;
}

/** Paint `photo`, bytes of RGB, in a style; bytes come back. */
async function paint(photo, style, options) {
  const asked = options.working_size ?? style.card.working_size;
  let short = asked === "full" || Number(asked) === 0 ? Infinity : Number(asked);
  short = Math.min(short, Math.min(photo.width, photo.height) * Math.sqrt(MOST / (photo.width * photo.height)));
  const own = Math.min(photo.width, photo.height);
  const amount = Number(options.strength ?? 1);
  let painted;
  if (short < own) {
    const small = reduced(photo, Math.round((photo.width * short) / own), Math.round((photo.height * short) / own));
    painted = floats(enlarged(await stylized(small, style), floats(small), photo));
  } else painted = await stylized(photo, style);
  if (options.keep_colors === "true") painted = keepColours(floats(photo), painted);
  if (amount < 1) painted = strength(floats(photo), painted, amount);
  const out = new Uint8ClampedArray(painted.data.length);
  for (let i = 0; i < out.length; i++) out[i] = byte(255 * painted.data[i]);
  return out;
}

const dropped = new Set();
let last = Promise.resolve();

// One picture after the other: each takes all there is. What is dropped before its turn is never begun.
self.onmessage = ({ data: { id, drop, photo, style, options } }) => {
  if (drop) dropped.add(id);
  else
    last = last.then(async () => {
      if (dropped.delete(id)) return;
      try {
        const data = await paint(photo, style, options);
        self.postMessage({ id, data }, [data.buffer]);
      } catch (error) {
        self.postMessage({ id, error: error.message });
      }
    });
};
