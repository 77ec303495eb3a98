// Photographs in the browser: opened, made small, and shown beside their painting.

const SHOWN = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "image/bmp"];

/** Whether a browser shows pictures of this kind. */
export const isShown = (blob) => SHOWN.includes(blob.type);

/** The pixels of a photograph, upright; null where this browser does not know its format. */
export async function decode(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    return null;
  }
}

/** A canvas with a picture (or a film's frame) on it, its longer side of at most `most` pixels. */
export function drawn(picture, most = Infinity, width = picture.width, height = picture.height) {
  const scale = Math.min(1, most / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

export const blobOf = (canvas, type = "image/jpeg", quality = 0.93) => new Promise((done) => canvas.toBlob(done, type, quality));

/** The photographs in what was dropped or pasted. */
export function photosIn(transfer) {
  return [...(transfer?.files ?? [])].map((blob) => ({ blob, name: blob.name }));
}
