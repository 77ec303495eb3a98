// A zip of files that are packed already: stored as they are.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc(data) {
  let sum = ~0;
  for (const each of data) sum = TABLE[(sum ^ each) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

/** A record of little-endian numbers, [bytes, value] each. */
function record(...numbers) {
  const view = new DataView(new ArrayBuffer(numbers.reduce((sum, [bytes]) => sum + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of numbers) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

export function zipped(files) {
  const [parts, index, taken] = [[], [], new Set()];
  let at = 0;
  for (const { name, data } of files) {
    let free = name;
    for (let n = 2; taken.has(free); n++) free = name.replace(/^([^.]*)/, `$1-${n}`);
    taken.add(free);
    const called = new TextEncoder().encode(free);
    const facts = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 0x21], [4, crc(data)], [4, data.length], [4, data.length], [2, called.length], [2, 0]];
    const head = record([4, 0x04034b50], ...facts);
    parts.push(head, called, data);
    index.push(record([4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), called);
    at += head.length + called.length + data.length;
  }
  const size = index.reduce((sum, each) => sum + each.length, 0);
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, at], [2, 0]);
  return new Blob([...parts, ...index, end], { type: "application/zip" });
}
