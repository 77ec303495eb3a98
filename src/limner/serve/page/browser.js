// The page without a server: the same calls as `server.js`, answered in the browser itself.

import { look as cardOf } from "./card.js";
import { blobOf, decode, drawn } from "./photo.js";
import { zipped } from "./zip.js";

export class Refused extends Error {}
export class KeyWanted extends Error {}

export const promise = "Photographs stay in this browser. Nothing is sent anywhere.";
export const where = "It is painted in this browser, and goes nowhere.";
export const serial = true; // whether pictures take one another's time
export const formats = ["jpg", "png", "webp"];
export const giveKey = () => {};

const TYPES = { jpg: "image/jpeg", png: "image/png", webp: "image/webp" };

const worker = new Worker("painter.js", { type: "module" });
const waiting = new Map();
const bundled = new Map(); // name and tier -> its file and card, fetched once
let last = 0;
let standard = "";

worker.onmessage = ({ data: { id, data, error } }) => {
  if (!waiting.has(id)) return; // nobody waits for it any more
  const { done, failed } = waiting.get(id);
  waiting.delete(id);
  if (error) failed(new Refused(`The picture could not be painted in this browser (${error}).`));
  else done(data);
};

export async function open() {
  const [styles, options] = await Promise.all(["styles/styles.json", "styles/options.json"].map(async (path) => (await fetch(path)).json()));
  standard = styles.find((style) => style.default).name;
  return { styles, options: options.properties };
}

export const thumbnail = async (style) => `styles/${style}.jpg`;

/** The style that is asked for: its file, and its card. */
function styleOf({ style, tier = "standard" }, own) {
  if (own) return opened(own);
  const name = (style ?? standard) + (tier === "standard" ? "" : `.${tier}`);
  if (!bundled.has(name)) bundled.set(name, fetch(`styles/${name}.onnx`).then(opened));
  return bundled.get(name);
}

async function opened(file) {
  const data = new Uint8Array(await file.arrayBuffer());
  return { data, card: cardOf(data) };
}

export async function paint(photo, options, { own, signal } = {}) {
  const start = performance.now();
  const opened = await decode(photo.blob);
  if (!opened) throw new Refused(`${photo.name} is not a picture that this browser knows: give a JPEG, PNG or WebP.`);
  const style = await styleOf(options, own);
  const canvas = drawn(opened, Number(options.max_size ?? Infinity));
  const [context, { width, height }] = [canvas.getContext("2d"), canvas];
  const pixels = context.getImageData(0, 0, width, height);
  const rgb = new Uint8ClampedArray(3 * width * height);
  for (let i = 0; i < width * height; i++) rgb.set(pixels.data.subarray(4 * i, 4 * i + 3), 3 * i);
  signal?.throwIfAborted();
  const data = await new Promise((done, failed) => {
    const id = ++last;
    waiting.set(id, { done, failed });
    worker.postMessage({ id, photo: { width, height, channels: 3, data: rgb }, style, options });
    signal?.addEventListener("abort", () => {
      waiting.delete(id);
      worker.postMessage({ id, drop: true });
      failed(signal.reason);
    });
  });
  for (let i = 0; i < width * height; i++) pixels.data.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
  context.putImageData(pixels, 0, 0);
  const format = options.format ?? formats.find((each) => TYPES[each] === photo.blob.type) ?? "png";
  const blob = await blobOf(canvas, TYPES[format], Number(options.quality ?? 95) / 100);
  const name = `${photo.name.replace(/\.[^.]*$/, "")}.${style.card.name}.${format}`;
  return { blob, name, width, height, seconds: (performance.now() - start) / 1000, lost: "" };
}

export async function look(file) {
  try {
    return cardOf(new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    throw new Refused(`The file is not a style file, or is damaged (${error.message}).`);
  }
}

export async function paintAll(photos, options, { own, signal, tell }) {
  const [files, errors] = [[], []];
  for (const photo of photos) {
    try {
      const { blob, name } = await paint(photo, options, { own, signal });
      files.push({ name, data: new Uint8Array(await blob.arrayBuffer()) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      errors.push(error.message);
    }
    tell({ done: files.length + errors.length, total: photos.length });
  }
  if (!files.length) throw new Refused(errors[0]);
  return { blob: zipped(files), name: `paintings.${files[0].name.split(".").at(-2)}.zip`, errors };
}
