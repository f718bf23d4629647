"use strict";
// Photos and other items that are chosen, dropped or pasted, and frames of the webcam.

const SIDE = 640; // longest side of a frame, pixels
const STRIP = 12; // photos that are kept

async function showPhoto(photo) {
  const mine = leave(null);
  current($("strip"), photo.button);
  if (photo.url) still(photo.url, photo.name, false);
  else view("empty", photo.name);
  try {
    await photo.file.slice(0, 1).arrayBuffer().catch(() => { // of a folder, or a file that is gone
      throw new Error("The browser can't read it.");
    });
    const file = state.input.sound ? await readable(photo.file) : photo.file;
    const found = await ask("classify", file);
    if (mine !== turn) return;
    showAnswers(found);
    showSound(found, file);
  } catch (error) {
    if (mine === turn) unread(photo.name, `${photo.name}: ${error.message}`);
  }
}

const nameOfFile = (file) => seen(file.name) || "pasted file";

async function takePhotos(files) {
  if (!state) return; // the server has not answered yet
  const large = files.find((file) => file.size > state.limits.body);
  const fitting = files.filter((file) => file.size <= state.limits.body).slice(0, STRIP); // as many as stay
  const photos = fitting.map((file) => {
    const name = nameOfFile(file);
    const photo = { file, name, url: file.type.startsWith("image/") ? URL.createObjectURL(file) : "" };
    photo.button = make("button", { type: "button", title: name });
    photo.button.setAttribute("aria-label", name);
    photo.button.append(photo.url ? make("img", { src: photo.url, alt: "" }) : name.slice(0, 12));
    photo.button.addEventListener("click", () => showPhoto(photo));
    return photo;
  });
  $("strip").prepend(...photos.map((photo) => make("li", {}, photo.button)));
  while ($("strip").children.length > STRIP) {
    const last = $("strip").lastElementChild;
    const image = last.querySelector("img");
    if (image) URL.revokeObjectURL(image.src);
    last.remove();
  }
  const shown = photos.length ? showPhoto(photos[0]) : leave(null);
  if (large) {
    const [found, most] = [(large.size / 1e6).toFixed(1), (state.limits.body / 1e6).toFixed(1)];
    const message = `${nameOfFile(large)} has ${found} MB; accepted: up to ${most} MB.`;
    if (photos.length) trouble(message);
    else unread(nameOfFile(large), message);
  }
  await shown;
}

$("file").addEventListener("change", () => {
  takePhotos([...$("file").files]);
  $("file").value = ""; // the same file may be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer.files.length) takePhotos([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) takePhotos(files);
  else trouble(`There is no ${state?.input.sound ? "recording" : "picture"} in the clipboard.`);
});

// The webcam.

let stream = null;
let starting = false;
const canvas = document.createElement("canvas");
const REFUSED = {
  NotAllowedError: "The browser did not allow the camera. Allow it for this page (beside its address), then try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "Another program uses the camera.",
};

function stopCamera() {
  if (!stream) return;
  stream.getTracks().forEach((track) => track.stop());
  stream = null;
  $("camera").srcObject = null;
  $("webcam").textContent = "Use the webcam";
  $("webcam").classList.remove("on");
  $("every-label").hidden = true;
  if ($("camera").hidden) return;
  view("empty", "The webcam is off.");
  clearAnswers("Nothing is asked any more.");
}

async function startCamera() {
  if (starting) return; // the browser still asks
  trouble("");
  starting = true;
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "NotFoundError");
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: SIDE } }, audio: false });
  } catch (error) {
    trouble(REFUSED[error.name] ?? `The camera can't be used: ${error.message}`);
    return;
  } finally {
    starting = false;
  }
  const mine = stream;
  $("webcam").textContent = "Stop the webcam";
  $("webcam").classList.add("on");
  $("every-label").hidden = false;
  pick(null);
  turn++;
  clearAnswers(WAITING);
  mine.getVideoTracks()[0].addEventListener("ended", stopCamera); // unplugged
  $("camera").srcObject = mine;
  view("camera", "The webcam is on.");
  await $("camera").play().catch(() => {});
  while (stream === mine) {
    const began = performance.now();
    if (!document.hidden) await askFrame(mine);
    await new Promise((done) => setTimeout(done, Math.max(0, Number($("every").value) - (performance.now() - began))));
  }
}

/** Send one frame, and wait for its answer: a slow file gets fewer frames. */
async function askFrame(mine) {
  const video = $("camera");
  if (!video.videoWidth) return;
  const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
  [canvas.width, canvas.height] = [Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale)];
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  try {
    const found = await ask("classify?quick=1", frame);
    if (stream === mine) showAnswers(found, { often: true });
  } catch (error) {
    if (stream !== mine) return;
    trouble(error.message);
    stopCamera();
  }
}

$("webcam").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
window.addEventListener("pagehide", stopCamera);
