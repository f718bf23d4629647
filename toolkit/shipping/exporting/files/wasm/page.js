const $ = (id) => document.getElementById(id);
const SIDE = 640; // longest side of a frame of the webcam, pixels
const QUIET = 3000; // milliseconds between two announcements while the webcam runs
const SHOWN = 10; // classes in the table
const REFUSED = {
  NotAllowedError: "The browser did not allow the camera. Allow it for this page (beside its address), then try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "Another program uses the camera.",
};
const canvas = document.createElement("canvas");
let model, turn = 0, stream = null, spoken = -QUIET;

function say(text, state = "done", often = false) {
  $("status").textContent = text;
  if (!often || performance.now() - spoken >= QUIET) { // a screen reader reads each of these
    spoken = performance.now();
    $("announce").textContent = text;
  }
  $("status").dataset.state = state; // done, busy or bad
}

function showAnswer({ answer, classes, accepted }, ms, often = false) {
  const best = answer.length ? answer.map((label) => `${seen(label)}, ${percent(classes.find((each) => each.label === label).score)}`).join("; ") : "no label";
  const text = accepted === false ? `Unknown; the best guess is ${best}` : best;
  say(`${text}, in ${time(ms)} ms.`, "done", often);
  $("answer").tBodies[0].replaceChildren(...classes.slice(0, SHOWN).map(({ label, score }) => row({ label: seen(label), score })));
  $("answer").hidden = false;
  document.documentElement.dataset.answers = Number(document.documentElement.dataset.answers ?? 0) + 1;
}

function clear() {
  turn++;
  $("answer").hidden = $("view").hidden = $("picture").hidden = $("camera").hidden = true;
}

/** The pixels of a picture or a frame, scaled down only by whoever gives width and height. */
function pixelsOf(source, width, height) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function answerTo(item, often = false) {
  const begin = performance.now();
  showAnswer(model.classify(item), performance.now() - begin, often);
}

async function classifyFile(file) {
  stopCamera();
  clear();
  const mine = turn, old = () => mine !== turn, name = seen(file.name) || "The picture", picture = $("picture");
  say("Working…", "busy");
  try {
    await file.slice(0, 1).arrayBuffer().catch(() => {
      throw Error(`This browser can't read ${name}.`); // a folder, or a file that is gone
    });
    URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    picture.alt = `The picture ${name}`;
    await picture.decode().catch(() => {
      throw Error(`${name} is no picture that this browser can read.`);
    });
    if (old()) return;
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    if (width * height > MOST_PIXELS) throw Error(`${name} has ${(width * height / 1e6).toFixed(0)} million pixels; accepted: ${MOST_PIXELS / 1e6} million.`);
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
      throw Error(`${name} is no picture that this browser can read.`);
    });
    if (old()) return;
    const item = pixelsOf(bitmap, bitmap.width, bitmap.height);
    bitmap.close();
    $("view").hidden = picture.hidden = false;
    answerTo(item);
  } catch (error) {
    if (old()) return;
    clear();
    say(error.message, "bad");
  }
}

function stopCamera() {
  if (!stream) return;
  stream.getTracks().forEach((track) => track.stop());
  stream = null;
  $("camera").srcObject = null;
  $("webcam").textContent = "Use the webcam";
  $("webcam").setAttribute("aria-pressed", "false");
  clear();
  say("The webcam is off.");
}

async function startCamera() {
  clear();
  say("Waiting for the camera…", "busy");
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "NotFoundError");
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: SIDE } }, audio: false });
  } catch (error) {
    say(REFUSED[error.name] ?? `The camera can't be used: ${error.message}`, "bad");
    return;
  }
  const mine = stream, video = $("camera");
  mine.getVideoTracks()[0].addEventListener("ended", stopCamera); // unplugged
  $("webcam").textContent = "Stop the webcam";
  $("webcam").setAttribute("aria-pressed", "true");
  video.srcObject = mine;
  $("view").hidden = video.hidden = false;
  await video.play().catch(() => {});
  spoken = -QUIET;
  while (stream === mine) {
    if (!document.hidden && video.videoWidth) {
      const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
      answerTo(pixelsOf(video, Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale)), true);
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

function takePictures() {
  const take = (files) => files[0] && classifyFile(files[0]);
  for (const input of [$("take"), $("pick")]) {
    input.onchange = () => {
      take([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    };
    input.onkeydown = (event) => {
      if (event.key !== "Enter") return; // Chromium only takes Space
      event.preventDefault();
      input.click();
    };
  }
  $("webcam").onclick = () => (stream ? stopCamera() : startCamera());
  addEventListener("pagehide", stopCamera);
  addEventListener("paste", (event) => (event.clipboardData.files.length ? take(event.clipboardData.files) : say("There is no picture in the clipboard.", "bad")));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    take(event.dataTransfer.files);
  });
  $("choose").hidden = $("also").hidden = false;
}

function takeValues() {
  $("values").onsubmit = (event) => {
    event.preventDefault();
    const words = $("numbers").value.split(/[\s,;[\]]+/).filter(Boolean);
    try {
      answerTo(words.map(Number));
    } catch (error) {
      clear();
      say(error.message, "bad");
    }
  };
  $("values").hidden = false;
}

async function begin() {
  model = new Classifier((await WebAssembly.instantiate(bytesOf(WASM))).instance);
  const { items, right } = model.selfTest(VECTORS);
  if (right !== items) throw Error(`Self-test failed: ${items - right} of ${items} items have another answer than the exported C. Do not use this page.`);
  $("selftest").textContent = `Self-test passed: ${items} items have the answers of the exported C, to the bit.`;
  $("selftest").dataset.state = "done";
  if (about.input.levels) takePictures();
  else takeValues();
  if (!location.protocol.startsWith("http")) return; // a file has no address that could be installed
  document.head.append(Object.assign(document.createElement("link"), { rel: "manifest", href: "manifest.webmanifest" }));
  await navigator.serviceWorker?.register("sw.js").catch(() => {}); // without it, the page is not kept for later
}
begin().catch((error) => {
  $("selftest").textContent = error.message;
  $("selftest").dataset.state = "bad";
});
