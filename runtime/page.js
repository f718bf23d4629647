"use strict";
// The page of `serve`: sends a picture to /classify and shows the answer. docs/runtime.md says what is sent.
const $ = (id) => document.getElementById(id);
const MB = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e5 ? 3 : 1)} MB`;
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

// The picture as the model takes it, as a .npy array. The steps are those of runtime/image.py, which never sees it.
async function shrink(file) {
  const [height, width, depth] = board.shape;
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const fit = Math.min(1, Math.sqrt(16e6 / (bitmap.width * bitmap.height))); // phones limit the area of a canvas
  const w = Math.max(1, Math.floor(bitmap.width * fit)), h = Math.max(1, Math.floor(bitmap.height * fit));
  const context = Object.assign(document.createElement("canvas"), { width: w, height: h }).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, w, h);
  context.drawImage(bitmap, 0, 0, w, h);
  const pixels = fitted(context.getImageData(0, 0, w, h).data, w, h, board.shape, board.image.resize);
  const head = `\x93NUMPY\x01\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (${height}, ${width}, ${depth}), }`;
  const bytes = new Uint8Array(128 + width * height * depth);
  bytes.set(Array.from(head.padEnd(127) + "\n", (letter) => letter.charCodeAt(0)));
  bytes.set(pixels, 128);
  return bytes;
}

// Shared with the page of `export --to wasm`, which toolkit/shipping/exporting/wasm_page.py makes: words.
// A text as one line of characters that are seen; runtime/text.py does the same for terminals.
const seen = (text) => (text.length > 999 ? `${text.slice(0, 750)}...${text.slice(-246)}` : text)
  .replace(/[^\P{C}\u200c\u200d]|[\u2028\u2029]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);
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

// Shared: pixels.
// The pixels that the model takes of a picture (RGBA, w x h), bit for bit those of runtime/image.py with Pillow 13.
function fitted(rgba, w, h, [height, width, depth], resize) {
  const [rule, share = 1] = resize.split(":"), pixels = new Uint8Array(w * h * depth);
  const onWhite = (level, alpha) => {
    const sum = level * alpha * 128 + 255 * (255 - alpha) * 128 + 0x4000;
    return ((sum >> 8) + sum) >> 15;
  };
  for (let i = 0, o = 0; i < rgba.length; i += 4) {
    let [red, green, blue, alpha] = [rgba[i], rgba[i + 1], rgba[i + 2], rgba[i + 3]];
    if (alpha < 255) [red, green, blue] = [onWhite(red, alpha), onWhite(green, alpha), onWhite(blue, alpha)];
    if (depth === 1) pixels[o++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    else [pixels[o++], pixels[o++], pixels[o++]] = [red, green, blue];
  }
  let box = [w, h], inner = [width, height];
  const ratios = [w / width, h / height];
  if (rule === "crop" && !(w === width && h === height && Number(share) === 1)) {
    box = inner.map((side, i) => Math.min(share * Math.min(...ratios) * side, [w, h][i]));
  }
  const even = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));
  if (rule === "pad") inner = box.map((side) => Math.max(1, even(side / Math.max(...ratios))));
  const passes = [0, 1].map((axis) => {
    const start = ([w, h][axis] - box[axis]) / 2, end = Math.fround(start + box[axis]);
    return [axis, Math.fround(start), Math.fround(end - Math.fround(start)), inner[axis]];
  });
  if (h > inner[1] && h - inner[1] > 2 * (w - inner[0])) passes.reverse(); // Pillow 13 takes the cheaper order
  let image = { pixels, sides: [w, h] };
  for (const pass of passes) image = resampled(image, depth, ...pass);
  if (rule !== "pad") return image.pixels;
  const out = new Uint8Array(width * height * depth), line = inner[0] * depth;
  const left = (width - inner[0]) >> 1, top = (height - inner[1]) >> 1;
  for (let y = 0; y < inner[1]; y++) out.set(image.pixels.subarray(y * line, (y + 1) * line), ((y + top) * width + left) * depth);
  return out;
}

// Pillow's bilinear filter along the rows (axis 0) or columns of an image, antialiased when shrinking, with weights of 22 bits.
function resampled({ pixels, sides }, depth, axis, start, span, size) {
  const to = Object.assign([...sides], { [axis]: size });
  const out = new Uint8Array(to[0] * to[1] * depth), scale = span / size, reach = Math.max(1, scale), inverse = 1 / reach;
  const [next, step] = axis ? [depth, sides[0] * depth] : [sides[0] * depth, depth]; // to the next line, and along one
  const [outNext, outStep] = axis ? [depth, to[0] * depth] : [to[0] * depth, depth];
  for (let i = 0; i < size; i++) {
    const center = start + (i + 0.5) * scale, first = Math.max(0, Math.trunc(center - reach + 0.5));
    const shares = [], end = Math.min(sides[axis], Math.trunc(center + reach + 0.5));
    for (let x = first; x < end; x++) shares.push(Math.max(0, 1 - Math.abs((x - center + 0.5) * inverse)));
    const sum = shares.reduce((all, each) => all + each, 0), weights = shares.map((each) => Math.trunc(0.5 + (each / sum) * 4194304));
    for (let line = 0; line < sides[1 - axis]; line++) {
      for (let c = 0; c < depth; c++) {
        let value = 1 << 21, at = line * next + first * step + c;
        for (let k = 0; k < weights.length; k++, at += step) value += weights[k] * pixels[at];
        out[line * outNext + i * outStep + c] = value >> 22;
      }
    }
  }
  return { pixels: out, sides: to };
}
// Shared: no more.

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
