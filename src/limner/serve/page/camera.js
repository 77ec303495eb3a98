// The live camera: each frame goes to the engine as soon as the last one has come back, in the small networks made for it.

import { blobOf, drawn } from "./photo.js";

const SIDE = 384;

/** Wires the dialog; `taken` is given the photograph that was taken. An address that ends with #live opens it at once, in the style `chosen`. */
export function camera(engine, styles, chosen, taken) {
  const [dialog, video, canvas, said, choices] = ["camera", "video", "live", "live-said", "live-styles"].map((id) => document.getElementById(id));
  const live = styles.filter((style) => style.tiers.includes("live"));
  let stream = null;

  const first = Math.max(live.findIndex((style) => style.name === chosen), 0);
  live.forEach((style, number) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "live", value: style.name, checked: number === first });
    label.append(input, Object.assign(document.createElement("span"), { textContent: style.title }));
    choices.append(label);
  });

  async function open() {
    dialog.showModal();
    said.textContent = "Asking for the camera…";
    try {
      if (!navigator.mediaDevices) throw new Error("browsers lend it only to pages from this machine, or over https");
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "environment" } });
    } catch (error) {
      said.textContent = `There is no camera to be had (${error.message}).`;
      return;
    }
    if (!dialog.open) return stop();
    video.srcObject = stream;
    await video.play();
    run();
  }

  async function run() {
    let usual = 0;
    while (stream) {
      const start = performance.now();
      const small = drawn(video, SIDE, video.videoWidth, video.videoHeight);
      const style = choices.querySelector("input:checked").value;
      try {
        const painted = await engine.paint({ blob: await blobOf(small), name: "frame.jpg" }, { style, tier: "live", quality: 85 });
        const frame = await createImageBitmap(painted.blob);
        [canvas.width, canvas.height] = [frame.width, frame.height];
        canvas.getContext("2d").drawImage(frame, 0, 0);
      } catch (error) {
        said.textContent = error.message;
        await new Promise((done) => setTimeout(done, 1000));
        continue;
      }
      usual = usual ? 0.9 * usual + 0.1 * (performance.now() - start) : performance.now() - start;
      said.textContent = `${(1000 / usual).toFixed(usual < 200 ? 0 : 1)} pictures a second`;
      await new Promise(requestAnimationFrame);
    }
  }

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
  }

  document.getElementById("camera-open").addEventListener("click", open);
  document.getElementById("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  document.getElementById("take").addEventListener("click", async () => {
    if (!stream) return;
    const whole = drawn(video, Infinity, video.videoWidth, video.videoHeight);
    dialog.close();
    taken({ blob: await blobOf(whole, "image/jpeg", 0.95), name: "camera.jpg" });
  });
  if (location.hash === "#live") open();
}
