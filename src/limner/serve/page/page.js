// The page. A photograph comes in, goes to the engine once small for each style and once as it is for the chosen one, and is shown.

import * as address from "./address.js";
import { camera } from "./camera.js";
import { blobOf, decode, drawn, isShown, photosIn } from "./photo.js";

const engine = await import(document.documentElement.dataset.engine);
const $ = (id) => document.getElementById(id);

const SMALL = 448; // pixels of the longer side of a photograph in the sheet of all styles
const ON_WALL = 5; // styles on the first screen
const KEPT = 8; // paintings that are kept, for going back and forth
const CONTROLS = ["strength", "keep_colors", "working_size", "max_size", "format", "quality", "tier", "strip"];

let styles = [];
let defaults = {};
let photo = null; // {blob, name, example?, small, width, height}
let others = []; // all photographs that came together, where there were several
let own = null; // a style file of one's own: {file, card}
let tiles = new AbortController(); // ends what is on its way for an older photograph
let painting = new AbortController(); // and for older settings
let usual = 0; // seconds that the last painting of this photograph took
const kept = new Map(); // settings -> painting, the newest last

// ------------------------------------------------------------------------------------------------- settings

function settings() {
  const chosen = document.querySelector("#tiles input:checked")?.value;
  const found = chosen && chosen !== "own" ? { style: chosen } : {};
  for (const name of CONTROLS) {
    const field = $(name);
    const value = field.type === "checkbox" ? String(field.checked) : field.value;
    if (value !== String(defaults[name] ?? "")) found[name] = value;
  }
  return found;
}

function remember() {
  const { style, ...rest } = settings();
  const standard = styles.find((each) => each.default).name;
  address.write({ ...(photo?.example && { photo: photo.example }), ...(style && style !== standard && { style }), ...rest });
}

function prepareControls(options) {
  for (const [name, { default: value, minimum, maximum, description }] of Object.entries(options)) {
    if (!CONTROLS.includes(name)) continue;
    defaults[name] = value;
    const field = $(name);
    field.title = description;
    if (field.type === "range") Object.assign(field, { min: minimum, max: maximum });
  }
  const formats = engine.formats ?? options.format.anyOf.find((kind) => kind.enum).enum;
  $("format").append(...formats.map((format) => new Option(format.toUpperCase(), format)));
  const given = address.read([...CONTROLS, "style", "photo"]);
  for (const name of CONTROLS) {
    const field = $(name);
    const value = given[name] ?? String(defaults[name] ?? "");
    if (name === "tier") field.append(new Option(value, value)); // until the style is known
    if (field.type === "checkbox") field.checked = value === "true";
    else if (field.type === "range") field.value = Number.isFinite(Number(value)) ? value : defaults[name];
    else {
      if (![...field.options].some((option) => option.value === value)) {
        if (name.endsWith("_size") && /^\d+$/.test(value)) field.append(new Option(`${value} pixels`, value));
        else continue;
      }
      field.value = value;
    }
  }
  sayRanges();
  return given;
}

function sayRanges() {
  $("strength-said").value = `${Math.round($("strength").value * 100)} %`;
  $("quality-said").value = $("quality").value;
}

const TIERS = { standard: "as it was trained", int8: "faster (int8)", live: "fastest, coarser (live)" };

function showStyle() {
  const input = document.querySelector("#tiles input:checked");
  const chosen = input.value;
  const [row, tileOf] = [$("tiles"), input.parentElement];
  row.scrollLeft = tileOf.offsetLeft - row.offsetLeft - (row.clientWidth - tileOf.offsetWidth) / 2; // on a phone, into sight
  const style = chosen === "own" ? { ...own.card, tiers: ["standard"] } : styles.find((each) => each.name === chosen);
  $("title").textContent = style.title;
  $("description").textContent = style.description;
  const tier = style.tiers.includes($("tier").value) ? $("tier").value : "standard";
  $("tier").replaceChildren(...style.tiers.map((each) => new Option(TIERS[each], each)));
  $("tier").value = tier;
}

// ------------------------------------------------------------------------------------------------- the sheet of styles

function tile(value, title) {
  const label = document.createElement("label");
  label.className = "tile waiting";
  label.innerHTML = '<input type="radio" name="style"><span class="frame"></span><span class="name"></span>';
  label.firstChild.value = value;
  label.lastChild.textContent = title;
  return label;
}

function buildTiles(chosen) {
  const add = document.createElement("button");
  Object.assign(add, { type: "button", id: "own", className: "tile" });
  add.innerHTML = '<span class="frame" aria-hidden="true">+</span><span class="name">Your own style</span>';
  add.addEventListener("click", () => $("file-style").click());
  $("tiles").append(...styles.map((style) => tile(style.name, style.title)), add);
  const wanted = styles.some((style) => style.name === chosen) ? chosen : styles.find((style) => style.default).name;
  $("tiles").querySelector(`input[value="${wanted}"]`).checked = true;
}

/** This photograph, small, in the styles that are wanted. */
async function paintTiles(wanted) {
  const { signal } = tiles;
  const inputs = [...$("tiles").querySelectorAll("input")].filter(wanted);
  await Promise.all(
    inputs.map(async (input) => {
      const label = input.parentElement;
      const frame = label.querySelector(".frame");
      label.classList.add("waiting");
      frame.replaceChildren();
      try {
        const options = { ...(input.value !== "own" && { style: input.value }), max_size: SMALL, format: "jpg", strip: true, quality: 90 };
        const painted = await engine.paint(photo.small, options, { own: input.value === "own" ? own.file : undefined, signal });
        const image = Object.assign(new Image(), { alt: "", src: URL.createObjectURL(painted.blob) });
        frame.replaceChildren(image);
        if (input.checked && $("compare").classList.contains("empty")) show("after", painted.blob, true);
      } catch (error) {
        tell(error);
      }
      if (!signal.aborted) label.classList.remove("waiting");
    }),
  );
}

// ------------------------------------------------------------------------------------------------- the large painting

function show(id, blob, rough = false) {
  const image = $(id);
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
  if (id === "after") {
    $("compare").classList.toggle("rough", rough);
    $("compare").classList.remove("empty");
    image.alt = `${photo.title ?? photo.name}, painted: ${$("title").textContent}`;
  }
}

/** The painting of the whole photograph with these settings; kept, so that going back and forth costs nothing. */
async function painted(wanted, signal) {
  const key = JSON.stringify([wanted, own && !wanted.style ? own.card.weights_sha256 : ""]);
  const found = kept.get(key) ?? (await engine.paint(photo, wanted, { own: ownFile(), signal }));
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return found;
}

const ownFile = () => ($("tiles").querySelector("input:checked").value === "own" ? own.file : undefined);

async function paint() {
  painting.abort();
  painting = new AbortController();
  const { signal } = painting;
  remember();
  showStyle();
  $("work").classList.add("painting");
  $("said").textContent = usual ? `Painting, about ${seconds(usual)}…` : "Painting…";
  $("file").textContent = "";
  try {
    const wanted = settings();
    const found = await painted(wanted, signal);
    usual = found.seconds;
    const shown = isShown(found.blob) ? found : await painted({ ...wanted, format: "png" }, signal);
    signal.throwIfAborted();
    show("after", shown.blob);
    $("said").textContent = `${$("title").textContent}: ${found.width} × ${found.height} pixels, painted in ${seconds(found.seconds)}.`;
    if (found.lost) $("said").textContent += ` Not in the painting: ${found.lost}.`;
    $("file").textContent = `${found.name}, ${size(found.blob.size)}`;
  } catch (error) {
    if (!signal.aborted) $("said").textContent = "";
    tell(error);
  }
  if (!signal.aborted) $("work").classList.remove("painting");
}

const seconds = (time) => (time < 0.95 ? `${time.toFixed(2)} seconds` : time < 1.05 ? "a second" : `${time.toFixed(1)} seconds`);
const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

let soon = 0;
function paintSoon() {
  clearTimeout(soon);
  soon = setTimeout(paint, 250);
}

// ------------------------------------------------------------------------------------------------- photographs

/** Begin with a photograph, the first of several. */
async function take(photos) {
  if (!photos.length) return;
  await prepared;
  tiles.abort();
  painting.abort();
  tiles = new AbortController();
  const { signal } = tiles;
  kept.clear();
  usual = 0;
  say("");
  const [first] = photos;
  try {
    const picture = await opened(first);
    signal.throwIfAborted();
    const small = drawn(picture, SMALL);
    photo = { ...first, small: { blob: await blobOf(small), name: first.name.replace(/\.[^.]*$/, "") + ".jpg" } };
    others = photos;
    $("compare").style.setProperty("--ratio", picture.width / picture.height);
    $("tiles").style.setProperty("--ratio", Math.min(1.6, Math.max(0.75, picture.width / picture.height)));
    $("compare").classList.add("empty");
    $("after").removeAttribute("src");
    show("before", await blobOf(drawn(picture, 2400)));
    $("before").alt = first.title ?? first.name;
    $("all").hidden = photos.length < 2;
    $("all").textContent = `All ${photos.length} photographs, as a zip`;
    $("all-said").hidden = true;
    $("credit").textContent = first.credit ? `${first.title}: ${first.credit}` : "";
    $("start").hidden = true;
    $("work").hidden = $("open").hidden = false;
    window.scrollTo({ top: 0 });
    for (const label of $("tiles").querySelectorAll("label")) {
      label.classList.add("waiting");
      label.querySelector(".frame").replaceChildren();
    }
    const { value: chosen } = $("tiles").querySelector("input:checked");
    paintTiles(({ value }) => value === chosen);
    const large = paint();
    if (engine.serial) await large;
    if (!signal.aborted) paintTiles(({ value }) => value !== chosen);
    await large;
  } catch (error) {
    tell(error);
  }
}

/** The photograph's pixels: by this browser, or where it does not know the format, by the engine. */
async function opened({ blob, name }) {
  const picture = await decode(blob);
  if (picture) return picture;
  const { blob: plain } = await engine.paint({ blob, name }, { strength: 0, max_size: 2400, format: "png", strip: true });
  return decode(plain);
}

async function takeExample(example) {
  const blob = await (await fetch(`examples/${example.file}`)).blob();
  await take([{ ...example, blob, name: example.file, example: example.file.replace(/\.jpg$/, "") }]);
}

async function takeStyle(file) {
  if (!file) return;
  say("");
  $("own").disabled = true;
  try {
    own = { file, card: await engine.look(file) };
    $("tiles").querySelector('input[value="own"]')?.parentElement.remove();
    const added = tile("own", own.card.title);
    $("own").before(added);
    added.firstChild.checked = true;
    paintTiles(({ value }) => value === "own");
    paint();
  } catch (error) {
    tell(error);
  }
  $("own").disabled = false;
}

// ------------------------------------------------------------------------------------------------- files out

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function download() {
  $("download").disabled = true;
  try {
    const found = await painted(settings()); // also where newer settings end the large painting meanwhile
    save(found.blob, found.name);
  } catch (error) {
    tell(error);
  }
  $("download").disabled = false;
}

let job = null;
async function downloadAll() {
  if (job) return job.abort();
  job = new AbortController();
  const title = $("all").textContent;
  $("all").textContent = "Stop";
  $("all-said").hidden = false;
  try {
    const told = ({ done, total }) => ($("all-said").textContent = `${done} of ${total} painted`);
    told({ done: 0, total: others.length });
    const { blob, name, errors } = await engine.paintAll(others, settings(), { own: ownFile(), signal: job.signal, tell: told });
    save(blob, name);
    $("all-said").textContent = [`${name}, ${size(blob.size)}`, ...errors].join(". ");
  } catch (error) {
    $("all-said").hidden = true;
    tell(error);
  }
  $("all").textContent = title;
  job = null;
}

// ------------------------------------------------------------------------------------------------- what is said

function say(sentence) {
  $("alert").hidden = !sentence;
  $("alert").textContent = sentence;
}

function tell(error) {
  if (error.name === "AbortError") return;
  if (error instanceof engine.KeyWanted) return askForKey();
  if (!(error instanceof engine.Refused)) console.error(error);
  say(error.message);
}

function askForKey() {
  $("ask").showModal();
}

// ------------------------------------------------------------------------------------------------- the beginning

function wire() {
  $("choose").addEventListener("click", () => $("file-photo").click());
  $("open").addEventListener("click", () => $("file-photo").click());
  $("shoot").addEventListener("click", () => (matchMedia("(pointer: coarse)").matches ? $("file-shot") : $("camera-open")).click());
  for (const id of ["file-photo", "file-shot"]) {
    $(id).addEventListener("change", ({ target }) => {
      take(photosIn(target));
      target.value = "";
    });
  }
  $("file-style").addEventListener("change", ({ target }) => {
    takeStyle(target.files[0]);
    target.value = "";
  });
  document.addEventListener("paste", (event) => take(photosIn(event.clipboardData)));
  let depth = 0;
  document.addEventListener("dragenter", (event) => {
    if (event.dataTransfer?.types.includes("Files") && ++depth) document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", () => (depth = Math.max(0, depth - 1)) || document.body.classList.remove("dragging"));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dragging");
    const dropped = photosIn(event.dataTransfer);
    const style = photo && dropped.find(({ name }) => name.endsWith(".onnx"));
    if (style) takeStyle(style.blob);
    else take(dropped);
  });
  $("split").addEventListener("input", ({ target }) => $("compare").style.setProperty("--split", `${target.value}%`));
  $("tiles").addEventListener("change", paint);
  $("controls").addEventListener("input", () => {
    sayRanges();
    paintSoon();
  });
  $("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    download();
  });
  $("all").addEventListener("click", downloadAll);
  $("alert").addEventListener("click", () => say(""));
}

/** Styles and options; gives the settings of the address. Photographs that come before are taken when it is done. */
async function prepare() {
  const found = await engine.open();
  styles = found.styles;
  const given = prepareControls(found.options);
  buildTiles(given.style);
  camera(engine, styles, given.style, (taken) => take([taken]));
  return given;
}

async function begin() {
  const examples = await (await fetch("examples/examples.json")).json();
  for (const example of examples) {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(new Image(), { src: `examples/${example.file}`, alt: example.title }));
    button.addEventListener("click", () => takeExample(example).catch(tell));
    item.append(button);
    $("examples").append(item);
  }
  const given = await prepared;
  const chosen = examples.find(({ file }) => file === `${given.photo}.jpg`);
  if (chosen) await takeExample(chosen);
  else if (!photo) await hang();
}

/** The wall of the first screen: an example photograph, and the same in a few styles from the first to the last. */
async function hang() {
  const shown = Math.min(ON_WALL, styles.length);
  const chosen = Array.from({ length: shown }, (_, k) => styles[Math.round((k * (styles.length - 1)) / Math.max(shown - 1, 1))]);
  const frames = chosen.map(({ name, title }) => {
    const figure = document.createElement("figure");
    figure.append(Object.assign(document.createElement("figcaption"), { textContent: title }));
    $("wall").append(figure);
    return [name, figure];
  });
  const own = document.createElement("figure");
  own.append(Object.assign(new Image(), { src: "examples/flower.jpg", alt: "" }), Object.assign(document.createElement("figcaption"), { textContent: "Photograph" }));
  $("wall").prepend(own);
  for (const [name, figure] of frames) {
    figure.prepend(Object.assign(new Image(), { src: await engine.thumbnail(name), alt: "" }));
  }
}

$("promise").textContent = engine.promise;
$("where").textContent = engine.where;
$("ask").addEventListener("close", () => {
  engine.giveKey($("key").value);
  location.reload();
});
wire();
const prepared = prepare();
prepared.catch(() => {}); // `begin` tells
begin().catch(tell);
