// The page's way to a server: everything that it asks of one. `browser.js` does the same without any.

const KEY = "limner-key";

/** A sentence for people. */
export class Refused extends Error {}

/** Asked for with a key that is not the server's. */
export class KeyWanted extends Error {}

export const promise = "Photographs stay on the machine that serves this page. Nothing is sent anywhere else.";
export const where = "It is painted by the machine that serves this page, and goes nowhere else.";
export const serial = false; // whether pictures take one another's time
export const formats = null; // all of them

export function giveKey(key) {
  sessionStorage.setItem(KEY, key);
}

async function ask(path, { signal, ...more } = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...more, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer: is it still running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) throw new KeyWanted();
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Refused(told.detail ?? `The server answered ${answer.status}.`), {
    again: answer.status === 503 ? Number(answer.headers.get("Retry-After") ?? 1) : 0,
  });
}

/** Asks again, a few times, where the server has no room just now. */
async function patiently(path, more) {
  for (let tries = 0; ; tries++) {
    try {
      return await ask(path, more);
    } catch (error) {
      if (!error.again || tries === 4) throw error;
      await new Promise((done) => setTimeout(done, 1000 * Math.min(error.again, 5)));
      more?.signal?.throwIfAborted();
    }
  }
}

export async function open() {
  const [styles, options] = await Promise.all(["v1/styles", "v1/options"].map(async (path) => (await ask(path)).json()));
  return { styles, options: options.properties };
}

export async function thumbnail(style) {
  return URL.createObjectURL(await (await patiently(`v1/styles/${style}/thumbnail`)).blob());
}

function form(photos, options, own) {
  const body = new FormData();
  for (const [name, value] of Object.entries(options)) body.append(name, value);
  if (own) body.append("style_file", own, own.name);
  for (const photo of photos) body.append("image", photo.blob, photo.name);
  return body;
}

/** Paint a photograph, `{blob, name}`, with the options of the API, and perhaps a style file of one's own. */
export async function paint(photo, options, { own, signal } = {}) {
  const answer = await patiently("v1/stylize", { method: "POST", body: form([photo], options, own), signal });
  const [width, height] = answer.headers.get("Limner-Size").split("x").map(Number);
  return {
    blob: await answer.blob(),
    name: fileName(answer),
    width,
    height,
    seconds: Number(answer.headers.get("Server-Timing").match(/dur=([\d.]+)/)[1]) / 1000,
    lost: decodeURIComponent(answer.headers.get("Limner-Lost") ?? ""),
  };
}

function fileName(answer) {
  return decodeURIComponent(answer.headers.get("Content-Disposition").split("filename*=UTF-8''")[1]);
}

/** The card of a style file, or a `Refused` that says what is wrong with it. */
export async function look(file) {
  return (await patiently("v1/card", { method: "POST", body: file })).json();
}

/** Paint many photographs into a zip; `tell` is told how the job stands. */
export async function paintAll(photos, options, { own, signal, tell }) {
  const started = await (await patiently("v1/jobs", { method: "POST", body: form(photos, options, own), signal })).json();
  const path = `v1/jobs/${started.id}`;
  signal.addEventListener("abort", () => ask(path, { method: "DELETE" }).catch(() => {}));
  let status = started;
  for await (const event of events(await ask(`${path}/events`, { signal }))) tell((status = event));
  if (status.state !== "done") throw new Refused(status.errors[0] ?? `The job was ${status.state}.`);
  const answer = await ask(`${path}/result`, { signal });
  return { blob: await answer.blob(), name: fileName(answer), errors: status.errors };
}

/** Server-sent events, read by hand: the browser's own reader sends no key. */
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}
