"use strict";
// What the page's scripts share: the table of files and their answers, the picture beside it, questions to the server.
// All texts of files, labels and images are set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const SHOWN = 3; // classes with their scores
const WAITING = "The files are asked.";
const QUIET = 3000; // milliseconds between two announcements while the webcam runs

let state = null;
let turn = 0; // of the last question: answers to earlier ones are dropped

// A text as one line of characters that are seen; runtime/text.py does the same for terminals.
const seen = (text) => (text.length > 999 ? `${text.slice(0, 750)}...${text.slice(-246)}` : text)
  .replace(/[^\P{C}\u200c\u200d]|[\u2028\u2029]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);

/** An element with properties and children; texts stay texts. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The mark of a file: its scheme's colour, its engine's shape. */
function mark(file) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `mark c${file.color}`);
  svg.setAttribute("viewBox", "-8 -8 16 16");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#shape${file.shape}`);
  svg.append(use);
  return svg;
}

const percent = (score) => `${(100 * score).toFixed(1)} %`;
const nameOf = (n) => state.files[n].name;

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
    throw new Error("The server does not answer. Is edgepress play still running?");
  }
  const text = (key, value) => (typeof value === "string" && key !== "seen" ? seen(value) : value); // "seen" is a picture
  const found = JSON.parse(await answer.text(), text);
  if (!answer.ok) throw new Error(`${found.error.message} ${found.error.hint}`.trim());
  return found;
}

// The table of files.

function buildRows() {
  state.files.forEach((file, n) => {
    const about = [file.engine, file.size, n === 0 ? (state.is_float ? "float" : "reference") : ""].filter(Boolean).join(" · ");
    const name = make("span", { className: "who" }, file.name, make("small", { textContent: about }));
    const row = make("tr", {}, make("th", { scope: "row" }, mark(file), name));
    row.append(make("td", { className: "said" }), make("td"), make("td", { className: "num" }));
    $("rows").append(row);
  });
  clearAnswers("Nothing has been asked yet.");
  for (const { name, message } of state.broken) {
    const row = make("tr", {}, make("th", { scope: "row" }, make("span", { className: "who", textContent: name })));
    row.append(make("td", { className: "wrong", colSpan: 3, textContent: message }));
    $("rows").append(row);
  }
}

function failed(row, error) {
  row.className = "";
  const [, said, scores, latency] = row.cells;
  said.className = "wrong";
  said.colSpan = 3;
  said.textContent = `${error.message} ${error.hint}`;
  scores.hidden = latency.hidden = true;
}

/** Fill a row with the answer of its file; `truth` is the label of a test image. */
function fill(row, answer, truth) {
  const { color } = state.files[answer.file];
  if (answer.error) return failed(row, answer.error);
  const [, said, scores, latency] = row.cells;
  scores.hidden = latency.hidden = false;
  said.colSpan = 1;
  said.className = "said";
  const words = answer.answer.join(", ") || "no label";
  const right = truth === null || answer.accepted === false ? "" : answer.answer.includes(truth) ? "yes" : "no";
  const told = make("span", { className: right, textContent: words });
  const events = heard(answer);
  if (right) told.append(make("span", { className: "out", textContent: right === "yes" ? " (right)" : " (wrong)" }));
  said.replaceChildren(told, ...(answer.differs ? [make("small", { className: "differ", textContent: "differs" })] : []));
  if (events !== null) said.append(make("small", { textContent: events }));
  const list = make("ol");
  for (const { label, score } of answer.classes.slice(0, SHOWN)) {
    const bar = make("i");
    bar.style.width = `${100 * score}%`;
    const track = make("span", { className: `bar c${color}` }, bar);
    track.setAttribute("aria-hidden", "true");
    list.append(make("li", {}, make("span", { textContent: label, title: label }), track, make("span", { textContent: percent(score) })));
  }
  scores.replaceChildren(list);
  latency.textContent = answer.latency;
  latency.title = `Median of ${answer.runs} calls`;
  row.className = answer.differs ? "differs" : "";
}

/** Empty the table: the answers to the former picture are not those to the next one. */
function clearAnswers(summary) {
  state.files.forEach(({ error }, n) => {
    const row = $("rows").rows[n];
    const [, said, scores, latency] = row.cells;
    scores.hidden = latency.hidden = false;
    said.colSpan = 1;
    row.className = "";
    said.className = "said";
    latency.title = "";
    for (const cell of [said, scores, latency]) cell.replaceChildren();
    if (error) failed(row, error);
  });
  hideSound();
  $("summary").textContent = summary;
  $("runs").textContent = $("announce").textContent = "";
  $("seen").hidden = true;
  $("seen").querySelector("img").removeAttribute("src");
}

let announced = { at: 0, text: "" };
/** Tell screen readers, but of a webcam only what is new, and not all the time. */
function announce(text, often) {
  if (often && (text === announced.text || performance.now() - announced.at < QUIET)) return;
  announced = { at: performance.now(), text };
  $("announce").textContent = text;
}

/** Show the answers to what was asked. */
function showAnswers(found, { truth = null, often = false } = {}) {
  found.answers.forEach((answer) => fill($("rows").rows[answer.file], answer, truth));
  $("summary").textContent = found.summary;
  announce(found.summary, often);
  const runs = found.answers.filter((answer) => !answer.error).map((answer) => answer.runs);
  const [least, most] = [Math.min(...runs), Math.max(...runs)];
  $("runs").textContent = runs.length ? `Now: of ${least === most ? least : `${least} to ${most}`} calls each.` : "";
  const image = $("seen").querySelector("img");
  const { shape, color, image: pictures } = state.input;
  $("seen").hidden = !found.seen || truth !== null || !pictures; // a test image is shown as they see it
  if (found.seen && pictures) {
    const image = $("seen").querySelector("img");
    image.src = found.seen;
    image.alt = `The picture as the files get it, ${shape[1]} by ${shape[0]} pixels`;
    $("seen").querySelector("figcaption").textContent = `The files see ${shape[1]} × ${shape[0]} ${color}`;
  } else if (found.seen && truth === null) still(found.seen, $("caption").textContent, false);
  document.documentElement.dataset.answers = Number(document.documentElement.dataset.answers ?? 0) + 1;
}

// The picture beside the answers.

function view(element, caption) {
  for (const id of ["picture", "camera", "empty"]) $(id).hidden = id !== element;
  $("drop").classList.toggle("full", element !== "empty");
  $("caption").textContent = caption;
}

/** After a picture that nobody can read: an error, and nothing that was shown before. */
function unread(caption, message) {
  clearAnswers("There is no answer.");
  view("empty", caption);
  $("picture").removeAttribute("src");
  trouble(message);
}

function still(url, caption, small) {
  $("picture").src = url;
  $("picture").alt = caption;
  $("picture").classList.toggle("small", small);
  view("picture", caption);
}

$("picture").addEventListener("error", () => { // the files may read what this browser can't show
  if (!$("picture").hidden) view("empty", $("caption").textContent);
});

/** Leave what was shown, for a test image or something else (null); the number of the question that begins. */
function leave(row) {
  stopCamera();
  stopMicrophone();
  pick(row);
  trouble("");
  clearAnswers(WAITING);
  return ++turn;
}

function current(list, button) {
  list.querySelectorAll("[aria-current]").forEach((other) => other.removeAttribute("aria-current"));
  if (button) button.setAttribute("aria-current", "true");
}
