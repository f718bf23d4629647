"use strict";
// Recordings and the microphone: files become WAV, and events are marked below the spectrogram.

const LIVE_S = 10; // seconds up to now that are sent while the microphone is on
const LIVE_MS = 500; // from one question to the next
const NAMED = 12; // events that the table names
const UNHEARD = {
  NotAllowedError: "The browser did not allow the microphone. Allow it for this page (beside its address), then try again.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "Another program uses the microphone.",
};

/** A WAV file of 16 bits from blocks of samples, each from -1 to 1. */
function encodeWav(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of the format: PCM, one channel
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(32768 * sample))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

/** What the server can read: WAV files and arrays as they are, other recordings decoded by the browser. */
async function readable(file) {
  const begin = String.fromCharCode(...new Uint8Array(await file.slice(0, 6).arrayBuffer()));
  if (begin.startsWith("RI") || begin === "\x93NUMPY") return file;
  const context = new OfflineAudioContext(1, 1, 48000); // only decodes
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error("It is no recording that this browser can decode. Accepted: WAV and what it plays.");
  });
  if (sound.duration > state.limits.seconds) throw new Error(`It has ${Math.floor(sound.duration)} s; accepted: up to ${state.limits.seconds}.`);
  const channels = Array.from({ length: sound.numberOfChannels }, (_, n) => sound.getChannelData(n));
  const mean = channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
  return encodeWav([mean], sound.sampleRate);
}

/** Mark the events of each file below the spectrogram, and let a file be played. */
function showSound(found, file = null) {
  if (found.seconds === undefined) return; // frames of an .npy file
  $("picture").alt = `Spectrogram, ${found.seconds.toFixed(1)} s; the table names the events.`;
  $("lanes").replaceChildren(...found.answers.filter((answer) => answer.events).map((answer) => {
    const ticks = answer.events.map(({ time_s, label }) => {
      const tick = make("span", { className: `tick c${state.files[answer.file].color}`, title: `${label}, ${time_s.toFixed(2)} s` });
      tick.style.left = `${Math.min(100, (100 * time_s) / found.seconds)}%`;
      return tick;
    });
    return make("li", { title: nameOf(answer.file) }, ...ticks);
  }));
  $("lanes").hidden = false;
  if (file) {
    $("player").src = URL.createObjectURL(file);
    $("player").hidden = false;
  }
}

function hideSound() {
  $("lanes").hidden = $("player").hidden = true;
  if ($("player").src) URL.revokeObjectURL($("player").src);
  $("player").removeAttribute("src");
}

/** What a file heard, in words; null for one that is not asked to listen. */
function heard({ events, events_error: error }) {
  if (error) return `Does not listen: ${error.message} ${error.hint}`;
  if (!events) return null;
  const list = events.slice(0, NAMED).map(({ time_s, label }) => `${label} ${time_s.toFixed(1)}\u00a0s`);
  if (events.length > NAMED) list.push(`${events.length - NAMED} more`);
  return list.length ? `Heard: ${list.join(", ")}` : "No event";
}

// The microphone.

let microphone = null; // what is on: stream, context, and the blocks of samples so far
let opening = false;
let recordings = 0;

function stopMicrophone() {
  if (!microphone) return null;
  const { stream: sound, context, blocks } = microphone;
  microphone = null;
  sound.getTracks().forEach((track) => track.stop());
  context.close();
  $("microphone").textContent = "Use the microphone";
  $("microphone").classList.remove("on");
  view("empty", "The microphone is off.");
  clearAnswers("Nothing is asked any more.");
  return blocks.length ? new File([encodeWav(blocks, context.sampleRate)], `recording ${++recordings}.wav`, { type: "audio/wav" }) : null;
}

/** Stop, and show what was recorded as a file. */
function keepRecording() {
  const recording = stopMicrophone();
  if (recording) takePhotos([recording]);
}

async function startMicrophone() {
  if (opening) return; // the browser still asks
  trouble("");
  opening = true;
  let sound = null;
  const context = new AudioContext();
  const processing = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // as a board hears
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "NotFoundError");
    sound = await navigator.mediaDevices.getUserMedia({ audio: processing, video: false });
    await context.audioWorklet.addModule("recorder.js");
  } catch (error) {
    sound?.getTracks().forEach((track) => track.stop());
    context.close();
    trouble(UNHEARD[error.name] ?? `The microphone can't be used: ${error.message}`);
    return;
  } finally {
    opening = false;
  }
  leave(null);
  const mine = { stream: sound, context, blocks: [] };
  microphone = mine;
  $("microphone").textContent = "Stop and keep";
  $("microphone").classList.add("on");
  view("empty", "The microphone is on.");
  sound.getAudioTracks()[0].addEventListener("ended", () => microphone === mine && keepRecording()); // unplugged
  const recorder = new AudioWorkletNode(context, "recorder");
  const most = (seconds, block) => Math.floor((seconds * context.sampleRate) / block.length);
  recorder.port.onmessage = ({ data }) => {
    mine.blocks.push(data);
    if (mine.blocks.length > most(state.limits.seconds, data)) mine.blocks.shift();
  };
  context.createMediaStreamSource(sound).connect(recorder).connect(context.destination); // plays silence
  while (microphone === mine) {
    const began = performance.now();
    if (!document.hidden && mine.blocks.length) await askSound(mine, mine.blocks.slice(-most(LIVE_S, mine.blocks[0])));
    await new Promise((done) => setTimeout(done, Math.max(0, LIVE_MS - (performance.now() - began))));
  }
}

/** Send the sound up to now, and wait for its answer. */
async function askSound(mine, blocks) {
  try {
    const found = await ask("classify?quick=1", encodeWav(blocks, mine.context.sampleRate));
    if (microphone !== mine) return;
    showAnswers(found, { often: true });
    showSound(found);
  } catch (error) {
    if (microphone !== mine) return;
    stopMicrophone();
    trouble(error.message);
  }
}

$("microphone").addEventListener("click", () => (microphone ? keepRecording() : startMicrophone()));
window.addEventListener("pagehide", stopMicrophone);
