"use strict";
// Shows one picture after another and sends each label at once. All texts of others are set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const BESIDE = 4; // pictures that are shown before and after

let state = null;
let at = 0; // the row that is shown
const unseen = new Set(); // rows whose pictures can't be shown
let queue = Promise.resolve(); // labels are sent in the order of the keys
let turn = null; // a step back that is on its way, and what was asked for since: which picture that is for, it will tell

// A text as one line of characters that are seen; runtime/text.py does the same for terminals.
const seen = (text) => (text.length > 999 ? `${text.slice(0, 750)}...${text.slice(-246)}` : text)
  .replace(/[^\P{C}\u200c\u200d]|[\u2028\u2029]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

/** Ask the server; an error has a message for the user. */
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("The server does not answer. Is edgepress label still running? What was labelled is saved.");
  }
  const found = JSON.parse(await answer.text(), (key, value) => (typeof value === "string" ? seen(value) : value));
  if (!answer.ok) throw new Error(`${found.error.message} ${found.error.hint}`.trim());
  return found;
}

/** The key of a class: its name if all are digits, else its place, with 0 for the tenth. */
function keyOf(number) {
  if (state.labels.every((name) => /^[0-9]$/.test(name))) return state.labels[number];
  return number < 10 ? String((number + 1) % 10) : "";
}

const wordOf = (label) => (label === state.to_do ? "" : label === state.out ? "left out" : state.labels[label]);

function show() {
  const picture = state.pictures[at];
  const group = state.pictures.filter((each) => each.group === picture.group);
  if ($("picture").dataset.row !== String(at)) {
    $("picture").classList.add("loading"); // until it is there, the former picture would be seen
    $("picture").dataset.row = at;
    $("picture").src = `picture/${at}`;
    if (state.what === "recording") {
      $("sound").src = `sound/${at}`;
      play();
    }
  }
  const like = group.length > 1 ? `, ${group.indexOf(picture) + 1} of ${group.length} like ${state.what}s` : "";
  $("caption").textContent = `${What()} ${at + 1} of ${state.pictures.length}${like}: ${picture.time || picture.name}`;
  const answered = picture.answer !== null;
  const word = wordOf(picture.label);
  $("said").textContent = word
    ? `Labelled: ${word}`
    : answered ? `The model answers ${state.labels[picture.answer]}, ${(100 * picture.probability).toFixed(0)} %.` : "";
  if (unseen.has(at)) $("said").append(` The ${state.what} can't be shown: its file was moved or changed, or is too large.`);
  $("confirm").disabled = !answered;
  $("previous").disabled = at === 0;
  $("next").disabled = at === state.pictures.length - 1;
  for (const button of $("classes").children) button.setAttribute("aria-pressed", Number(button.value) === picture.label);
  const first = Math.max(0, Math.min(at - BESIDE, state.pictures.length - 2 * BESIDE - 1));
  $("strip").replaceChildren(...state.pictures.slice(first, first + 2 * BESIDE + 1).map((each, n) => small(each, first + n)));
  $("progress").value = state.done / state.pictures.length;
  $("count").textContent = `${state.done} of ${state.pictures.length} done`;
  document.documentElement.dataset.at = at;
  if (state.done === state.pictures.length) {
    $("announce").textContent = `All ${state.what}s are labelled.`;
    if (!$("finished")) {
      const notice = Object.assign(document.createElement("div"), { id: "finished", className: "notice" });
      notice.textContent = `All ${state.what}s are labelled. Next: ${state.next}`;
      $("notices").append(notice);
    }
  } else $("finished")?.remove();
}

const What = () => state.what[0].toUpperCase() + state.what.slice(1);

/** Play the recording from its beginning; a browser may refuse until the first key or click. */
function play() {
  if (state.what !== "recording") return;
  $("sound").currentTime = 0;
  $("sound").play().catch(() => {});
}

function small(picture, row) {
  const image = Object.assign(new Image(), { src: `picture/${row}`, alt: "", loading: "lazy" });
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.setAttribute("aria-label", `${What()} ${row + 1}${picture.label === state.to_do ? "" : `, ${wordOf(picture.label)}`}`);
  button.classList.toggle("labelled", picture.label !== state.to_do);
  if (row === at) button.setAttribute("aria-current", "true");
  button.append(image);
  button.addEventListener("click", () => go(row));
  const line = document.createElement("li");
  line.append(button);
  return line;
}

function go(row) {
  at = Math.max(0, Math.min(state.pictures.length - 1, row));
  show();
}

/** The next row without a label; the next one if all have one. */
function onward() {
  const rows = state.pictures.map((_, n) => (at + 1 + n) % state.pictures.length);
  return rows.find((row) => state.pictures[row].label === state.to_do) ?? Math.min(at + 1, state.pictures.length - 1);
}

/** Send a label and go on at once; if the server refuses it, come back. */
function label(number) {
  const row = at;
  const picture = state.pictures[row];
  const before = picture.label;
  picture.label = number;
  $("announce").textContent = `${wordOf(number)}.`;
  go(onward());
  queue = queue.then(() => ask(`label?session=${state.session}&row=${row}&label=${number}`, "")).then((found) => {
    state.done = found.done;
    trouble("");
    show();
  }, (error) => {
    picture.label = before;
    trouble(error.message);
    go(row);
  });
}

/** Do something now, or after the steps back that are on their way; a step back returns when it is taken. */
function inTurn(step) {
  const done = turn ? turn.then(step) : step();
  if (!done) return;
  turn = done;
  done.finally(() => {
    if (turn === done) turn = null;
  });
}

function undo() {
  queue = queue.then(() => ask(`undo?session=${state.session}`, "")).then((found) => {
    state.done = found.done;
    if (found.row === null) return trouble("There is nothing to undo.");
    state.pictures[found.row].label = found.label;
    $("announce").textContent = "Undone.";
    trouble("");
    go(found.row);
  }, (error) => trouble(error.message));
  return queue;
}

function confirmAnswer() {
  if (state.pictures[at].answer !== null) label(state.pictures[at].answer);
}

function listClasses() {
  const wanted = $("filter").value.toLowerCase();
  for (const button of $("classes").children) button.hidden = !button.dataset.name.includes(wanted);
}

function buildClasses() {
  const buttons = state.labels.map((name, number) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "act", value: number });
    button.dataset.name = name.toLowerCase();
    button.append(name);
    if (keyOf(number)) button.append(Object.assign(document.createElement("kbd"), { textContent: keyOf(number) }));
    button.addEventListener("click", () => inTurn(() => label(number)));
    return button;
  });
  $("classes").append(...buttons);
  $("filter-line").hidden = state.labels.length <= 10;
}

const KEYS = { Enter: confirmAnswer, x: () => label(state.out), u: undo, Backspace: undo, ArrowLeft: () => go(at - 1),
  ArrowRight: () => go(at + 1), "/": () => $("filter").focus(), p: play };

document.addEventListener("keydown", (event) => {
  const undone = event.key === "z" && (event.ctrlKey || event.metaKey);
  if (!state || !$("keys").checked || (!undone && (event.ctrlKey || event.metaKey || event.altKey))) return;
  if (event.target === $("filter")) {
    if (event.key === "Escape") $("filter").blur();
    if (event.key !== "Enter") return;
    const first = [...$("classes").children].find((button) => !button.hidden);
    $("filter").value = "";
    listClasses();
    $("filter").blur();
    event.preventDefault();
    if (first) inTurn(() => label(Number(first.value)));
    return;
  }
  if (event.key === "Enter" && event.target.matches("button, a, input")) return; // the button's own
  const number = event.key ? state.labels.findIndex((_, n) => keyOf(n) === event.key) : -1;
  const act = undone ? undo : number >= 0 ? () => label(number) : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  inTurn(act);
});
$("confirm").addEventListener("click", () => inTurn(confirmAnswer));
$("out").addEventListener("click", () => inTurn(() => label(state.out)));
$("undo").addEventListener("click", () => inTurn(undo));
$("previous").addEventListener("click", () => go(at - 1));
$("next").addEventListener("click", () => go(at + 1));
$("filter").addEventListener("input", listClasses);
$("picture").addEventListener("load", () => {
  if (!$("picture").complete) return; // the former one; the next is on its way
  $("picture").classList.remove("loading");
  $("picture").classList.toggle("small", $("picture").naturalWidth < 128);
});
$("picture").addEventListener("error", () => {
  unseen.add(Number($("picture").dataset.row));
  show();
});

async function begin() {
  try {
    state = await ask("state");
  } catch (error) {
    trouble(error.message);
    return;
  }
  $("about").textContent = state.folder;
  if (state.what === "recording") {
    $("question").textContent = "What is in the recording?";
    $("picture").alt = "The spectrogram of the recording to label";
    $("sound").hidden = false;
  }
  $("version").textContent = `edgepress ${state.version}`;
  for (const textContent of state.notes) $("notices").append(Object.assign(document.createElement("div"), { className: "notice", textContent }));
  buildClasses();
  at = state.pictures.length - 1;
  go(onward());
  document.documentElement.dataset.ready = "yes";
}
begin();
