// The card of a style file: JSON in the metadata of an ONNX model, which is a protocol buffer (field 14: a key and a value each).

// Operators that measure the whole picture: a network with one of them needs the tone reference (`limner.gallery.graph`).
const WHOLE = ["GlobalAveragePool", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "ReduceMean", "ReduceSum"];

/** The card in a style file, and beside what it says, `sees_whole`: whether its network measures the whole picture. */
export function look(data) {
  let sees_whole = false;
  let card = null;
  for (const [number, value] of fields(data)) {
    if (number === 7) sees_whole = [...operators(value)].some((name) => WHOLE.includes(name));
    if (number === 14) card ??= cardIn(value);
  }
  if (!card) throw new Error("it has no card");
  return { description: "", ...card, sees_whole };
}

function* operators(graph) {
  for (const [number, node] of fields(graph)) if (number === 1) for (const [inner, text] of fields(node)) if (inner === 4) yield new TextDecoder().decode(text);
}

/** The card, where this entry of the metadata is one; else null. */
function cardIn(entry) {
  const { 1: key, 2: text } = Object.fromEntries([...fields(entry)].map(([number, value]) => [number, new TextDecoder().decode(value)]));
  if (key !== "limner") return null;
  const card = JSON.parse(text);
  const whole = [card.multiple_of, card.min_side].every((each) => Number.isInteger(each) && each > 0 && each <= 1024);
  const working = card.working_size ?? 0;
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(card.name) || typeof card.title !== "string" || !whole || !Number.isInteger(working) || working < 0) throw new Error("its card is none");
  return { ...card, working_size: working };
}

function* fields(data) {
  let at = 0;
  const varint = () => {
    for (let value = 0, power = 1; ; power *= 128) {
      if (at >= data.length || power > 2 ** 63) throw new Error("it is cut off");
      const next = data[at++];
      value += (next % 128) * power;
      if (next < 128) return value;
    }
  };
  while (at < data.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1 || kind === 2 || kind === 5) {
      const length = kind === 2 ? varint() : kind === 1 ? 8 : 4;
      if (at + length > data.length) throw new Error("it is cut off");
      if (kind === 2) yield [Math.floor(tag / 8), data.subarray(at, at + length)];
      at += length;
    } else throw new Error("it is no ONNX file");
  }
}
