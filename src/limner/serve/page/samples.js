// Arithmetic on pictures for the page that needs no server: what `limner.image`, `limner.blend` and `limner.tone` do, in the browser.
//
// A picture is {width, height, channels, data}: rows of pixels, channel by channel (HWC). Bytes hold 0 to 255, floats mostly 0 to 1.

export const LUMA = [0.299, 0.587, 0.114];

export const picture = (width, height, channels, data = new Float32Array(width * height * channels)) => ({ width, height, channels, data });

const triangle = (x) => Math.max(1 - Math.abs(x), 0);
export const cubic = (x) => {
  x = Math.abs(x);
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
};
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (x) => (x > -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0);
export const KERNELS = { triangle: [triangle, 1], cubic: [cubic, 2], lanczos: [lanczos, 3] };

/** For each of `length` places the first of the samples that it is made of, how many, and their weights: as Pillow resizes. */
function weights(length, from, [kernel, reach]) {
  const scale = from / length;
  const filter = Math.max(scale, 1);
  const most = Math.ceil(2 * reach * filter) + 2;
  const [first, count, values] = [new Int32Array(length), new Int32Array(length), new Float64Array(length * most)];
  for (let at = 0; at < length; at++) {
    const centre = (at + 0.5) * scale;
    first[at] = Math.max(Math.trunc(centre - reach * filter + 0.5), 0);
    count[at] = Math.min(Math.trunc(centre + reach * filter + 0.5), Math.ceil(from)) - first[at];
    let sum = 0;
    for (let i = 0; i < count[at]; i++) sum += values[at * most + i] = kernel((first[at] + i - centre + 0.5) / filter);
    for (let i = 0; i < count[at]; i++) values[at * most + i] /= sum;
  }
  return { first, count, values, most };
}

/** Resized, first across and then down. `from` is how much of it there is, where that is a little less than its pixels. */
export function resized(image, width, height, kernel, from = [image.width, image.height], inBytes = false) {
  const { channels, data } = image;
  const row = width * channels;
  const wide = new Float32Array(row * image.height);
  const across = weights(width, from[0], kernel);
  for (let y = 0; y < image.height; y++)
    for (let x = 0; x < width; x++) {
      const [start, stop] = [across.first[x], across.count[x]];
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let i = 0, at = (y * image.width + start) * channels + c; i < stop; i++, at += channels) sum += across.values[x * across.most + i] * data[at];
        wide[y * row + x * channels + c] = inBytes ? byte(sum) : sum;
      }
    }
  const result = picture(width, height, channels);
  const down = weights(height, from[1], kernel);
  for (let y = 0; y < height; y++) {
    const at = y * row;
    for (let i = 0; i < down.count[y]; i++) {
      const [weight, source] = [down.values[y * down.most + i], (down.first[y] + i) * row];
      for (let k = 0; k < row; k++) result.data[at + k] += weight * wide[source + k];
    }
    if (inBytes) for (let k = 0; k < row; k++) result.data[at + k] = byte(result.data[at + k]);
  }
  return result;
}

export const byte = (x) => Math.min(Math.max(Math.floor(x + 0.5), 0), 255);

/** A photograph made smaller, by means of squares first and then by Lanczos, as `limner.enlarge.reduced` does it. */
export function reduced(image, width, height) {
  const square = Math.max(Math.trunc(Math.min(image.height / height, image.width / width) / 3), 1);
  const means = square === 1 ? image : squares(image, square);
  return resized(means, width, height, KERNELS.lanczos, [image.width / square, image.height / square], true);
}

function squares(image, side) {
  const { width, height, channels, data } = image;
  const out = picture(Math.ceil(width / side), Math.ceil(height / side), channels);
  for (let y = 0; y < out.height; y++)
    for (let x = 0; x < out.width; x++) {
      const [right, bottom] = [Math.min((x + 1) * side, width), Math.min((y + 1) * side, height)];
      const count = (right - x * side) * (bottom - y * side);
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let v = y * side; v < bottom; v++) for (let u = x * side; u < right; u++) sum += data[(v * width + u) * channels + c];
        out.data[(y * out.width + x) * channels + c] = Math.floor(sum / count + 0.5);
      }
    }
  return out;
}

/** The place that stands for one outside, by reflection. */
export function reflected(at, length) {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  at = ((at % period) + period) % period;
  return at < length ? at : period - at;
}

// ------------------------------------------------------------------------------- strength, and the photograph's own colours

/** Between photograph and painting, as `limner.blend.strength` does it: a pyramid in which the stronger of two edges leads. */
export function strength(photo, painted, amount) {
  const levels = Math.max(Math.floor(Math.log2(Math.min(photo.width, photo.height))) - 3, 0);
  const bands = [];
  let [a, b] = [photo, painted];
  for (let level = 0; level < levels; level++) {
    const [w, h] = [(a.width + 1) >> 1, (a.height + 1) >> 1];
    const smaller = [a, b].map((each) => resized(each, w, h, KERNELS.triangle));
    const [c, d] = smaller.map((each) => resized(each, a.width, a.height, KERNELS.triangle));
    bands.push(lead(minus(a, c), minus(b, d), amount));
    [a, b] = smaller;
  }
  let mixed = combined(a, b, (x, y) => x + amount * (y - x));
  for (const band of bands.reverse()) mixed = combined(resized(mixed, band.width, band.height, KERNELS.triangle), band, (x, y) => x + y);
  return combined(mixed, mixed, (x) => Math.min(Math.max(x, 0), 1));
}

/** Of each pair of samples what `f` makes of them. */
function combined(a, b, f) {
  const out = picture(a.width, a.height, a.channels);
  for (let i = 0; i < out.data.length; i++) out.data[i] = f(a.data[i], b.data[i]);
  return out;
}

/** Bytes as numbers from 0 to 1. */
export function floats(image) {
  const out = picture(image.width, image.height, image.channels);
  for (let i = 0; i < out.data.length; i++) out.data[i] = image.data[i] / 255;
  return out;
}

const minus = (a, b) => combined(a, b, (x, y) => x - y);

function lead(a, b, amount) {
  const out = picture(a.width, a.height, 3);
  for (let i = 0; i < a.data.length; i += 3) {
    let [strongA, strongB] = [0, 0];
    for (let c = 0; c < 3; c++) {
      strongA += a.data[i + c] ** 2;
      strongB += b.data[i + c] ** 2;
    }
    [strongA, strongB] = [(1 - amount) ** 2 * strongA, amount ** 2 * strongB];
    const share = strongB / (strongA + strongB + 1e-12);
    for (let c = 0; c < 3; c++) out.data[i + c] = a.data[i + c] + share * (b.data[i + c] - a.data[i + c]);
  }
  return out;
}

export function luma(image) {
  const out = picture(image.width, image.height, 1);
  for (let i = 0; i < out.data.length; i++) for (let c = 0; c < 3; c++) out.data[i] += LUMA[c] * image.data[3 * i + c];
  return out;
}

/** The photograph's colours, light and shade under the painting's strokes, as `limner.blend.keep_colors` does it. */
export function keepColours(photo, painted) {
  const [light, style] = [luma(photo), luma(painted)];
  const radius = Math.max(4, Math.floor(Math.min(photo.width, photo.height) / 40));
  const explained = guided(style, light, radius);
  const smooth = guided(light, light, radius);
  const out = picture(photo.width, photo.height, 3);
  for (let i = 0; i < light.data.length; i++) {
    const bright = Math.min(Math.max(smooth.data[i] + 1.2 * (style.data[i] - explained.data[i]), 0), 1);
    const [r, g, b] = [photo.data[3 * i], photo.data[3 * i + 1], photo.data[3 * i + 2]];
    const above = Math.max(r, g, b) - light.data[i];
    const below = light.data[i] - Math.min(r, g, b);
    const room = Math.min((1 - bright) / Math.max(above, 1e-6), bright / Math.max(below, 1e-6), 1);
    for (let c = 0; c < 3; c++) out.data[3 * i + c] = Math.min(Math.max(bright + room * (photo.data[3 * i + c] - light.data[i]), 0), 1);
  }
  return out;
}

function guided(image, guide, radius) {
  const of = (f) => box(combined(guide, image, f), radius);
  const [g, m, product, square] = [of((a) => a), of((_, b) => b), of((a, b) => a * b), of((a) => a * a)];
  const slope = picture(image.width, image.height, 1);
  const rest = picture(image.width, image.height, 1);
  for (let i = 0; i < slope.data.length; i++) {
    slope.data[i] = (product.data[i] - g.data[i] * m.data[i]) / (square.data[i] - g.data[i] ** 2 + 1e-3);
    rest.data[i] = m.data[i] - slope.data[i] * g.data[i];
  }
  const [slopes, rests] = [box(slope, radius), box(rest, radius)];
  return picture(image.width, image.height, 1, guide.data.map((value, i) => slopes.data[i] * value + rests.data[i]));
}

/** Means over squares; the picture is continued by its edges. */
function box({ width, height, data }, radius) {
  const side = 2 * radius + 1;
  const run = (from, length, count, step, stride) => {
    const out = new Float64Array(from.length);
    const clamp = (at) => Math.min(Math.max(at, 0), length - 1);
    for (let k = 0; k < count; k++) {
      let sum = 0;
      for (let i = -radius; i <= radius; i++) sum += from[k * stride + clamp(i) * step];
      for (let i = 0; i < length; i++) {
        out[k * stride + i * step] = sum / side;
        sum += from[k * stride + clamp(i + radius + 1) * step] - from[k * stride + clamp(i - radius) * step];
      }
    }
    return out;
  };
  return picture(width, height, 1, Float32Array.from(run(run(data, width, height, 1, width), height, width, width, 1)));
}

// ----------------------------------------------------------------------------------------- plain white and black backgrounds

const [GAP, CELL, FEW, MANY] = [96, 24, 0.45, 0.7];

/** A photograph with a reference of all tones below it, where it is mostly plain white or black (`limner.tone`). */
export function withTones(image) {
  const { width, height, data } = image;
  if (Math.min(width, height) < GAP) return image;
  let [white, black] = [0, 0];
  for (let i = 0; i < data.length; i += 3) {
    white += Math.min(data[i], data[i + 1], data[i + 2]) >= 235;
    black += Math.max(data[i], data[i + 1], data[i + 2]) <= 20;
  }
  const most = Math.max(white, black) / (width * height);
  if (most <= FEW) return image;
  const wanted = Math.round(height * Math.min((most - FEW) / (MANY - FEW), 1));
  const out = picture(width, height + GAP + wanted, 3);
  out.data.set(data);
  for (let y = height; y < height + GAP; y++) {
    const from = 3 * width * reflected(y, height);
    out.data.set(data.subarray(from, from + 3 * width), 3 * width * y);
  }
  const [rows, columns] = [Math.max(Math.floor(wanted / CELL), 2), Math.max(Math.floor(width / CELL), 2)];
  const grey = resized(picture(columns, rows, 1, Float32Array.from(patches(rows * columns))), width, wanted, KERNELS.cubic, undefined, true);
  grey.data.forEach((value, i) => out.data.fill(value, 3 * (width * (height + GAP) + i), 3 * (width * (height + GAP) + i + 1)));
  return out;
}

/** The bytes that NumPy's `default_rng(0)` gives: O'Neill's PCG64, XSL RR. */
function* patches(count) {
  const mask = (1n << 128n) - 1n;
  let state = 35399562948360463058890781895381311971n;
  for (let given = 0; given < count; ) {
    state = (state * 47026247687942121848144207491837523525n + 87136372517582989555478159403783844777n) & mask;
    const turn = state >> 122n;
    const folded = (state >> 64n) ^ (state & 0xffffffffffffffffn);
    let word = ((folded >> turn) | (folded << (64n - turn))) & 0xffffffffffffffffn;
    for (let i = 0; i < 8 && given < count; i++, given++, word >>= 8n) yield Number(word & 255n);
  }
}
