// A painting made at a working size, brought up sharply to its photograph's own: `limner.enlarge`, in the browser. What the steps are for
// is told there.

import { cubic, luma, picture } from "./samples.js";

const [FLAT, DETAIL] = [[0.06, 0.2], 0.07];
const ALONG = [0.73, 0.28];

/** `painted` and `small`, floats of one size, at the size of `photo`, in bytes; bytes come out. */
export function enlarged(painted, small, photo) {
  const { width, height } = photo;
  const { fine, coarse } = planes(painted, luma(small), height / painted.height);
  const out = new Uint8ClampedArray(width * height * 3);
  const [curves, lines] = [places(width, painted.width, 4), places(width, painted.width, 2)];
  const [curvesDown, linesDown] = [places(height, painted.height, 4), places(height, painted.height, 2)];
  const [fines, coarses] = [new Map(), new Map()];
  const colours = new Float64Array(7);
  for (let y = 0; y < height; y++) {
    const fineRows = rows(fines, fine, curves, curvesDown, y, 4);
    const coarseRows = rows(coarses, coarse, lines, linesDown, y, 2);
    const [w0, w1, w2, w3] = curvesDown.weights.subarray(4 * y, 4 * y + 4);
    const [upper, lower] = linesDown.weights.subarray(2 * y, 2 * y + 2);
    for (let x = 0; x < width; x++) {
      let way = w0 * fineRows[0][2 * x] + w1 * fineRows[1][2 * x] + w2 * fineRows[2][2 * x] + w3 * fineRows[3][2 * x];
      const dim = w0 * fineRows[0][2 * x + 1] + w1 * fineRows[1][2 * x + 1] + w2 * fineRows[2][2 * x + 1] + w3 * fineRows[3][2 * x + 1];
      for (let c = 0; c < 7; c++) colours[c] = upper * coarseRows[0][7 * x + c] + lower * coarseRows[1][7 * x + c];
      const at = 3 * (y * width + x);
      let detail = (0.299 * photo.data[at] + 0.587 * photo.data[at + 1] + 0.114 * photo.data[at + 2]) / 255 - dim;
      detail -= Math.min(Math.max(detail, -DETAIL), DETAIL);
      way = Math.min(Math.max(way + detail * colours[6], 0), 1);
      for (let c = 0; c < 3; c++) out[at + c] = Math.floor(255 * (colours[c] + way * colours[3 + c]) + 0.5);
    }
  }
  return picture(width, height, 3, out);
}

/** For each of `length` places the `taps` samples around it, of `from`, and their weights: 2 on a line, 4 on Catmull and Rom's curve. */
function places(length, from, taps) {
  const [at, weights] = [new Int32Array(length * taps), new Float64Array(length * taps)];
  for (let i = 0; i < length; i++) {
    const place = ((i + 0.5) * from) / length - 0.5;
    const first = Math.floor(place) - taps / 2 + 1;
    let sum = 0;
    for (let k = 0; k < taps; k++) {
      const far = place - first - k;
      const inside = first + k >= 0 && first + k < from;
      at[i * taps + k] = Math.min(Math.max(first + k, 0), from - 1);
      weights[i * taps + k] = inside ? (taps === 4 ? cubic(far) : 1 - Math.abs(far)) : 0;
      sum += weights[i * taps + k];
    }
    for (let k = 0; k < taps; k++) weights[i * taps + k] /= sum;
  }
  return { at, weights };
}

/** The small picture's rows around row `y` of the large one, made as wide as that; kept while they are wanted. */
function rows(kept, plane, across, down, y, taps) {
  const wanted = down.at.subarray(taps * y, taps * y + taps);
  for (const each of kept.keys()) if (each < wanted[0]) kept.delete(each);
  return Array.from(wanted, (each) => {
    if (!kept.has(each)) kept.set(each, widened(plane, each, across, taps));
    return kept.get(each);
  });
}

function widened({ width, channels, data }, y, { at, weights }, taps) {
  const length = at.length / taps;
  const out = new Float32Array(length * channels);
  for (let x = 0; x < length; x++)
    for (let k = 0; k < taps; k++) {
      const [weight, from] = [weights[x * taps + k], (y * width + at[x * taps + k]) * channels];
      for (let c = 0; c < channels; c++) out[x * channels + c] += weight * data[from + c];
    }
  return out;
}

function planes(painted, light, scale) {
  const { width, height } = painted;
  const count = width * height;
  const smooth = alongEdges(painted);
  const amount = Math.min(scale - 1, 1);
  painted = picture(width, height, 3, painted.data.map((value, i) => value + amount * (smooth.data[i] - value)));
  const [dark, bright] = [1, -1].map((sign) => filtered(extreme(painted, sign), [0.15, 0.7, 0.15]).data);
  const following = followed(painted, light).data;
  const fine = picture(width, height, 2);
  const coarse = picture(width, height, 7);
  for (let i = 0; i < count; i++) {
    let [square, way, follow] = [0, 0, 0];
    for (let c = 0; c < 3; c++) {
      const lead = bright[3 * i + c] - dark[3 * i + c];
      square += lead * lead;
      way += (painted.data[3 * i + c] - dark[3 * i + c]) * lead;
      follow += following[3 * i + c] * lead;
      coarse.data[7 * i + c] = dark[3 * i + c];
      coarse.data[7 * i + 3 + c] = lead;
    }
    const steep = 1 + (Math.max(scale, 1) - 1) * smoothstep((Math.sqrt(square) - FLAT[0]) / (FLAT[1] - FLAT[0]));
    coarse.data[7 * i + 6] = (steep * follow) / (square + 1e-3);
    fine.data[2 * i] = steep * (way / (square + 1e-5) - 0.5) + 0.5;
    fine.data[2 * i + 1] = light.data[i];
  }
  return { fine, coarse };
}

function alongEdges(painted) {
  const { width, height, data } = painted;
  const at = (x, y) => 3 * (Math.min(Math.max(y, 0), height - 1) * width + Math.min(Math.max(x, 0), width - 1));
  const products = picture(width, height, 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) {
        const down = data[at(x, y + 1) + c] - data[at(x, y - 1) + c];
        const right = data[at(x + 1, y) + c] - data[at(x - 1, y) + c];
        const i = 3 * (y * width + x);
        products.data[i] += right * right;
        products.data[i + 1] += down * down;
        products.data[i + 2] += right * down;
      }
  const reach = [-4, -3, -2, -1, 0, 1, 2, 3, 4].map((x) => Math.exp(-(x * x) / 4.5));
  const sum = reach.reduce((a, b) => a + b, 0);
  const tensor = filtered(products, reach.map((x) => x / sum)).data;
  const [direction, share] = [new Float32Array(2 * width * height), new Float32Array(width * height)];
  for (let i = 0; i < share.length; i++) {
    const [across, along] = [tensor[3 * i] - tensor[3 * i + 1], 2 * tensor[3 * i + 2]];
    const coherence = Math.hypot(across, along) / (tensor[3 * i] + tensor[3 * i + 1] + 4e-3);
    const angle = 0.5 * Math.atan2(along, across) + Math.PI / 2;
    share[i] = smoothstep((coherence - 0.3) / 0.4);
    direction[2 * i] = Math.sin(angle);
    direction[2 * i + 1] = Math.cos(angle);
  }
  const result = picture(width, height, 3, data.slice());
  const total = [0, 0, 0];
  for (let i = 0; i < share.length; i++) {
    if (!share[i]) continue;
    for (let c = 0; c < 3; c++) total[c] = data[3 * i + c];
    for (const sign of [-1, 1]) {
      let [y, x] = [Math.floor(i / width), i % width];
      let [dy, dx] = [sign * direction[2 * i], sign * direction[2 * i + 1]];
      for (const weight of ALONG) {
        y = Math.min(Math.max(y + 2 * dy, 0), height - 1);
        x = Math.min(Math.max(x + 2 * dx, 0), width - 1);
        const [top, left] = [Math.floor(y), Math.floor(x)];
        for (let c = 0; c < 3; c++) {
          const upper = data[at(left, top) + c] + (x - left) * (data[at(left + 1, top) + c] - data[at(left, top) + c]);
          const lower = data[at(left, top + 1) + c] + (x - left) * (data[at(left + 1, top + 1) + c] - data[at(left, top + 1) + c]);
          total[c] += weight * (upper + (y - top) * (lower - upper));
        }
        const nearest = 2 * (Math.round(y) * width + Math.round(x));
        const same = direction[nearest] * dy + direction[nearest + 1] * dx < 0 ? -1 : 1;
        [dy, dx] = [same * direction[nearest], same * direction[nearest + 1]];
      }
    }
    const all = 1 + 2 * (ALONG[0] + ALONG[1]);
    for (let c = 0; c < 3; c++) result.data[3 * i + c] += share[i] * (total[c] / all - data[3 * i + c]);
  }
  return result;
}

/** Of each pixel and the eight around it the darkest colour, or the brightest (`sign` -1). */
function extreme(image, sign) {
  const { width, height } = image;
  let light = luma(image).data;
  let colours = image.data;
  for (const step of [width, 1]) {
    const [lights, chosen] = [new Float32Array(light.length), new Float32Array(colours.length)];
    for (let i = 0; i < light.length; i++) {
      const [place, last] = step === 1 ? [i % width, width - 1] : [Math.floor(i / width), height - 1];
      let best = place > 0 ? i - step : i;
      for (const next of [i, place < last ? i + step : i]) if (sign * light[next] < sign * light[best]) best = next;
      lights[i] = light[best];
      for (let c = 0; c < 3; c++) chosen[3 * i + c] = colours[3 * best + c];
    }
    [light, colours] = [lights, chosen];
  }
  return picture(width, height, 3, colours);
}

/** How much each channel of the painting changes where the photograph's light does; little where that explains little of it. */
function followed({ width, height, data }, light) {
  const sums = picture(width, height, 9);
  for (let i = 0; i < width * height; i++) {
    const guide = light.data[i];
    const [r, g, b] = data.subarray(3 * i, 3 * i + 3);
    sums.data.set([guide, guide * guide, r, g, b, guide * r, guide * g, guide * b, r * r + g * g + b * b], 9 * i);
  }
  const mean = filtered(sums, [0.2, 0.2, 0.2, 0.2, 0.2]).data;
  const out = picture(width, height, 3);
  for (let i = 0; i < width * height; i++) {
    const [guide, square, r, g, b, gr, gg, gb, all] = mean.subarray(9 * i, 9 * i + 9);
    const variance = Math.max(square - guide * guide, 0) + 1e-3;
    const covariance = [gr - guide * r, gg - guide * g, gb - guide * b];
    const painted = Math.max(all - (r * r + g * g + b * b), 0) + 3e-4;
    const strong = covariance.reduce((sum, value) => sum + value * value, 0);
    const explained = Math.min(strong / (variance * painted), 1);
    out.data.set(covariance.map((value) => (explained * value) / variance), 3 * i);
  }
  return filtered(out, [1 / 3, 1 / 3, 1 / 3]);
}

/** Filtered down and across; continued by its edges. */
function filtered(image, weights) {
  const { width, height, channels } = image;
  const more = weights.length >> 1;
  let { data } = image;
  for (const [step, length] of [[width * channels, height], [channels, width]]) {
    const out = new Float32Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const place = step === channels ? Math.floor(i / channels) % width : Math.floor(i / step);
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * data[i + (Math.min(Math.max(place + k - more, 0), length - 1) - place) * step];
      out[i] = sum;
    }
    data = out;
  }
  return picture(width, height, channels, data);
}

function smoothstep(x) {
  x = Math.min(Math.max(x, 0), 1);
  return x * x * (3 - 2 * x);
}
