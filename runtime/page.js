"use strict";
// The page of `serve`: sends a picture to /classify and shows the answer. docs/runtime.md says what is sent.
const $ = (id) => document.getElementById(id);
const MB = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e5 ? 3 : 1)} MB`;
// A text as one line of characters that are seen; runtime/text.py does the same for terminals.
const seen = (text) => (text.length > 999 ? `${text.slice(0, 750)}...${text.slice(-246)}` : text)
  .replace(/[^\P{C}\u200c\u200d]|[\u2028\u2029]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);
let board, turn = 0;

function say(text, state = "done") {
  $("status").textContent = text;
  $("status").dataset.state = state; // done, busy or bad
}

async function ask(path, options) {
  const reply = await fetch(path, options).catch(() => {
    throw Error("The board does not answer. Is it on, and still serving?");
  });
  const found = JSON.parse(await reply.text(), (_, value) => (typeof value === "string" ? seen(value) : value));
  if (!reply.ok) throw Object.assign(Error(`${found.error.message} ${found.error.hint}`.trim()), { status: reply.status });
  return [found, reply.headers];
}

const post = (body) => ask("classify", { method: "POST", body });

async function show(file) {
  const picture = $("picture");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  picture.alt = `The picture ${seen(file.name)}`;
  picture.hidden = true;
  picture.hidden = !(await picture.decode().then(() => true, () => false));
}

// Why the board can't take the file itself; empty if it can.
function obstacle(file) {
  const pixels = $("picture").naturalWidth * $("picture").naturalHeight;
  if (!board.decodes_images) return "the board can't decode pictures without Pillow";
  if (file.size > board.max_body_bytes) return `the file has ${MB(file.size)}, the board takes ${MB(board.max_body_bytes)}`;
  if (pixels > board.max_pixels) return `it has ${(pixels / 1e6).toFixed(1)} million pixels, the board takes ${board.max_pixels / 1e6} million`;
  return "";
}

async function classify(file) {
  const mine = ++turn, old = () => mine !== turn, name = seen(file.name);
  say("Working…", "busy");
  $("answer").hidden = true;
  $("sent").textContent = "";
  try {
    if (board.image) await show(file);
    await file.slice(0, 1).arrayBuffer().catch(() => {
      throw Error(`This browser can't read ${name}.`); // a folder, or a file that is gone
    });
    const array = !board.image || file.name.endsWith(".npy");
    let why = array ? "" : obstacle(file), sent = `Sent as it is: ${name}, ${MB(file.size)}.`;
    let begin = performance.now(), answer;
    if (!why) {
      answer = await post(file).catch((error) => {
        if (array || $("picture").hidden || ![400, 408, 413].includes(error.status)) throw error;
        why = `the board answered: ${error.message}`; // about this file: the browser can read it, so try its pixels
      });
    }
    if (why) {
      if (board.crop) throw Error(`The board looks at a part of each picture, so it needs the picture itself, but ${why.replace(/\.$/, "")}.`);
      if ($("picture").hidden) throw Error(`This browser can't read ${name}, and ${why}.`);
      const small = await shrink(file);
      begin = performance.now();
      answer = await post(small);
      sent = `Sent: ${board.shape[1]} x ${board.shape[0]} pixels, made of ${name} by this browser, because ${why.replace(/\.$/, "")}.`;
    }
    if (old()) return;
    const [{ classes, accepted, drift }, headers] = answer, ms = performance.now() - begin;
    const inside = Number(/dur=([\d.]+)/.exec(headers.get("Server-Timing"))?.[1]);
    const best = classes.length ? `${classes[0].label}, ${percent(classes[0].score)}` : "no label";
    say(`${accepted === false ? `Unknown; the best guess is ${best}` : best}, in ${time(inside)} ms on the board, ${time(ms)} ms with sending.${drift?.alarm ? ` ${drift.meaning}` : ""}`);
    $("answer").tBodies[0].replaceChildren(...classes.map(row));
    $("answer").hidden = false;
    $("sent").textContent = sent;
  } catch (error) {
    if (!old()) say(error.message, "bad");
  }
}

const time = (ms) => (ms < 10 ? ms.toPrecision(2) : ms.toFixed(0));
const percent = (score) => `${(100 * score).toFixed(1)} %`;

function row({ label, score }) {
  const line = document.createElement("tr"), name = document.createElement("th"), cell = document.createElement("td");
  const bar = document.createElement("i");
  name.scope = "row";
  name.textContent = label;
  cell.textContent = percent(score);
  bar.style.width = `${100 * score}%`;
  cell.append(bar);
  line.append(name, cell);
  return line;
}

// The picture as the model takes it, as a .npy array. The steps are those of runtime/image.py, which never sees it.
async function shrink(file) {
  const [height, width, depth] = board.shape, [rule, share = 1] = board.image.resize.split(":");
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const fit = Math.min(1, Math.sqrt(16e6 / (bitmap.width * bitmap.height))); // phones limit the area of a canvas
  const w = Math.max(1, Math.floor(bitmap.width * fit)), h = Math.max(1, Math.floor(bitmap.height * fit));
  const context = Object.assign(document.createElement("canvas"), { width: w, height: h }).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, w, h);
  context.drawImage(bitmap, 0, 0, w, h);
  const rgba = context.getImageData(0, 0, w, h).data, pixels = new Uint8Array(w * h * depth);
  for (let i = 0, o = 0; i < rgba.length; i += 4) {
    if (depth === 1) pixels[o++] = (rgba[i] * 19595 + rgba[i + 1] * 38470 + rgba[i + 2] * 7471 + 0x8000) >> 16;
    else for (let c = 0; c < 3; c++) pixels[o++] = rgba[i + c];
  }
  let box = [w, h], inner = [width, height];
  if (rule === "crop") box = inner.map((side, i) => Math.min(share * Math.min(w / width, h / height) * side, [w, h][i]));
  if (rule === "pad") inner = box.map((side) => Math.max(1, Math.round(side / Math.max(w / width, h / height))));
  const turned = resample(pixels, w, h, depth, (w - box[0]) / 2, box[0], inner[0]);
  const shown = resample(turned, h, inner[0], depth, (h - box[1]) / 2, box[1], inner[1]);
  const head = `\x93NUMPY\x01\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (${height}, ${width}, ${depth}), }`;
  const bytes = new Uint8Array(128 + width * height * depth);
  bytes.set(Array.from(head.padEnd(127) + "\n", (letter) => letter.charCodeAt(0)));
  const left = (width - inner[0]) >> 1, top = (height - inner[1]) >> 1, line = inner[0] * depth;
  for (let y = 0; y < inner[1]; y++) bytes.set(shown.subarray(y * line, (y + 1) * line), 128 + ((y + top) * width + left) * depth);
  return bytes;
}

// Pillow's bilinear filter along the lines of an image, antialiased when shrinking; the result is transposed.
function resample(source, width, height, depth, start, span, size) {
  const out = new Uint8Array(size * height * depth), scale = span / size, reach = Math.max(1, scale);
  for (let i = 0; i < size; i++) {
    const center = start + (i + 0.5) * scale, weights = [];
    const first = Math.max(0, Math.trunc(center - reach + 0.5)), end = Math.min(width, Math.trunc(center + reach + 0.5));
    let sum = 0;
    for (let x = first; x < end; x++) sum += weights[x - first] = Math.max(0, 1 - Math.abs((x - center + 0.5) / reach));
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < depth; c++) {
        let value = 0;
        for (let k = 0; k < weights.length; k++) value += weights[k] * source[(y * width + first + k) * depth + c];
        out[(i * height + y) * depth + c] = value / sum + 0.5; // rounded by the array's type, as in Pillow
      }
    }
  }
  return out;
}

async function begin() {
  [board] = await ask("ready");
  const size = board.shape.join(" x ");
  document.title = $("model").textContent = `Try ${board.model}`;
  $("about").textContent = board.image
    ? `On ${board.engine}. It sees ${board.shape[1]} x ${board.shape[0]} pixels, ${board.image.color === "grey" ? "grey" : "in color"}.`
    : `On ${board.engine}. It takes arrays of shape ${size}, not pictures: choose a .npy file.`;
  if (!board.image) {
    $("what").textContent = "Choose a .npy file";
    $("pick").accept = ".npy";
    $("take").parentElement.remove();
  }
  $("also").hidden = !board.image;
  $("choose").hidden = false;
  $("reset").hidden = !board.keeps_state;
  $("kept").hidden = !board.keeps_pictures;
}

const take = (files) => board && files[0] && classify(files[0]);
for (const input of document.querySelectorAll("input")) {
  input.onchange = () => {
    take(Array.from(input.files));
    input.value = ""; // so that the same file can be chosen again
  };
  input.onkeydown = (event) => {
    if (event.key !== "Enter") return; // Chromium only takes Space
    event.preventDefault();
    input.click();
  };
}
$("reset").onclick = () => ask("reset", { method: "POST" }).then(() => say("A new stream begins."), (error) => say(error.message, "bad"));
addEventListener("paste", (event) => take(event.clipboardData.files));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files);
});
begin().catch((error) => say(error.message, "bad"));
