"use strict";
// Begins: asks which files there are, then waits for the test images.

async function begin() {
  try {
    state = await ask("state");
  } catch (error) {
    trouble(error.message);
    return;
  }
  const { shape, color, image, sound } = state.input;
  $("about").textContent = `${state.labels} classes · ${image ? `${shape[1]} × ${shape[0]} ${color}` : shape.join(" × ")} · ${state.host}`;
  $("version").textContent = `edgepress ${state.version}`;
  const notes = [...state.notes];
  if (!state.is_float) notes.unshift(`There is no float32 file here, so the others are compared with ${state.files[0].name}.`);
  $("notices").append(...notes.map((textContent) => make("div", { className: "notice", textContent })));
  $("webcam").hidden = !image;
  $("microphone").hidden = !sound;
  if (sound) {
    $("input-title").textContent = "Your sound";
    $("file-label").textContent = "Choose recordings";
    $("file").accept = "audio/*,.npy";
    $("strip").setAttribute("aria-label", "Recordings that were shown");
    $("drop").classList.add("sound");
    $("empty").textContent = "Drop recordings here, or use the microphone.";
  } else if (!image) {
    $("input-title").textContent = "Your item";
    $("file-label").textContent = "Choose .npy files";
    $("empty").textContent = `Drop .npy arrays of shape ${shape.join(" × ")} here.`;
  } else $("file").accept = "image/*,.npy";
  buildRows();
  document.documentElement.dataset.ready = "yes";
  watchDifferences();
}
begin();
