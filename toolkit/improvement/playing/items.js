"use strict";
// The test items on which the files differ, and some on which none does.

const PAGE = 60; // cards that are added at a time
const SAME = "same"; // stands for the items on which no file differs

let differences = { state: "running", items: [], counts: {} };
let picked = null; // the row of the test image that is shown
let listed = []; // the items of the chosen file
let drawn = 0;

function card(item) {
  const button = make("button", { type: "button" });
  const lines = [make("b", { textContent: item.label }), make("small", { textContent: ` ${item.name}` })];
  const said = (who, label) =>
    make("span", { className: `line ${label === item.label ? "yes" : "no"}` }, make("span", { textContent: `${who} ` }), label);
  lines.push(said(nameOf(0), item.reference), ...Object.entries(item.others).map(([n, label]) => said(nameOf(n), label)));
  const className = state.input.image ? "" : "drawn";
  button.append(make("img", { src: `test/${item.row}.png`, alt: "", loading: "lazy", className }));
  button.append(make("span", { className: "lines" }, ...lines));
  button.addEventListener("click", () => openItem(item));
  button.dataset.row = item.row;
  return make("li", {}, button);
}

function addCards() {
  $("cards").append(...listed.slice(drawn, drawn + PAGE).map(card));
  drawn = Math.min(listed.length, drawn + PAGE);
  $("more").hidden = drawn === listed.length;
}

function listItems() {
  const which = $("which").value;
  const differs = (item) => Object.keys(item.others).length > 0;
  listed = differences.items.filter((item) => (which === SAME ? !differs(item) : which === "" ? differs(item) : which in item.others));
  drawn = 0;
  $("cards").replaceChildren();
  addCards();
  if (picked !== null) pick(picked);
}

/** Mark the test image that is shown, null for none. */
function pick(row) {
  picked = row;
  current($("strip"), null);
  current($("cards"), row === null ? null : $("cards").querySelector(`[data-row="${row}"]`));
  const at = listed.findIndex((item) => item.row === row);
  $("stepper").hidden = row === null;
  $("place").textContent = at < 0 ? "" : `${at + 1} of ${listed.length}`;
  $("previous").disabled = at <= 0;
  $("next").disabled = at === listed.length - 1;
}

async function showItem(item) {
  while (!$("cards").querySelector(`[data-row="${item.row}"]`) && drawn < listed.length) addCards();
  const mine = leave(item.row);
  const caption = `Test ${state.input.image ? "image" : "item"} ${item.name}; its class is ${item.label}.`;
  still(`test/${item.row}.png`, caption, state.input.image);
  try {
    const found = await ask(`test/${item.row}`, "");
    if (mine === turn) showAnswers(found, { truth: item.label });
  } catch (error) {
    if (mine === turn) unread(caption, error.message);
  }
}

/** A click on a card goes to the answers, where one can go on to the next image. */
function openItem(item) {
  showItem(item);
  $("main").scrollIntoView({ block: "start" });
  const button = [$("next"), $("previous"), $("main")].find((element) => !element.disabled);
  button.focus({ preventScroll: true });
}

/** Show another test image; at the end of the list, the focus goes to the button that leads back. */
function step(by) {
  const next = listed[listed.findIndex((item) => item.row === picked) + by];
  if (!next) return;
  showItem(next);
  const [button, other] = by > 0 ? [$("next"), $("previous")] : [$("previous"), $("next")];
  if (button.disabled) other.focus();
}
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("more").addEventListener("click", addCards);
$("which").addEventListener("change", listItems);

async function watchDifferences() {
  for (;;) {
    try {
      differences = await ask("differences");
    } catch (error) {
      trouble(error.message);
      return;
    }
    const running = differences.state === "running";
    if ($("found").textContent !== differences.text) $("found").textContent = differences.text;
    $("progress").hidden = !running;
    $("progress").value = differences.share;
    if (!running) break;
    await new Promise((done) => setTimeout(done, 500));
  }
  $("remarks").replaceChildren(...differences.notes.map((textContent) => make("div", { className: "notice", textContent })));
  if (!differences.items.length) return;
  const choices = Object.entries(differences.counts).filter(([, count]) => count);
  if (choices.length) $("which").append(new Option("any file differs", ""));
  $("which").append(...choices.map(([n, count]) => new Option(`${nameOf(n)} differs (${count})`, n)), new Option("no file differs", SAME));
  $("browse").hidden = false;
  listItems();
}
