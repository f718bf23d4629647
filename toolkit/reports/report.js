"use strict";
// Puts the page together: plots, pictures in tables, sorting, the legend's buttons, the choice of the closer look.

const plotBox = document.getElementById("plots");
const choice = document.getElementById("choice");
const redraws = [];

function choose(index, jump) {
  if (!choice) return;
  choice.value = index;
  lookCloser(index);
  if (jump) {
    if (document.querySelector("#closer.folded h2 button")) location.hash = "closer";
    choice.focus({ preventScroll: true });
    document.getElementById("closer").scrollIntoView();
  }
}

if (plotBox) {
  const onChoose = (index) => choose(index, true);
  redraws.push(paretoPlot(plotBox, { cost: "size", host: "", title: "Accuracy against size", onChoose }));
  for (const host of report.hosts) {
    const title = `Accuracy against latency${report.hosts.length > 1 ? ` on ${host}` : ""}`;
    redraws.push(paretoPlot(plotBox, { cost: "p50", host, title, onChoose }));
  }
  const drawAll = () => redraws.forEach((draw) => draw && draw());
  drawAll(); // once all frames are there, or the first would be drawn too wide
  let width = plotBox.clientWidth;
  new ResizeObserver(() => {
    if (!plotBox.clientWidth || plotBox.clientWidth === width) return;
    width = plotBox.clientWidth;
    drawAll();
    filter();
  }).observe(plotBox);
}

const curveBox = document.getElementById("curves");
if (curveBox) {
  const drawCurves = curvePlot(curveBox);
  drawCurves?.();
  let width = curveBox.clientWidth;
  new ResizeObserver(() => {
    if (!curveBox.clientWidth || curveBox.clientWidth === width) return;
    width = curveBox.clientWidth;
    drawCurves?.();
  }).observe(curveBox);
}

const buttons = [...document.querySelectorAll(".legend button")];
function filter() {
  const hidden = new Set(buttons.filter((b) => b.getAttribute("aria-pressed") === "false").map((b) => b.textContent.trim()));
  for (const point of document.querySelectorAll(".point")) {
    const row = report.rows[point.dataset.index];
    point.classList.toggle("off", hidden.has(row.scheme) || hidden.has(row.engine));
  }
}
for (const button of buttons) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
    filter();
  });
}

document.querySelectorAll("table[data-kind]").forEach(drawCells);

/** Sort a table by a column; rows without a figure stay at the end. */
function sortBy(table, heading) {
  const column = [...heading.parentNode.children].indexOf(heading);
  const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of heading.parentNode.children) other.setAttribute("aria-sort", other === heading ? direction : "none");
  const sign = direction === "ascending" ? 1 : -1;
  const key = (line) => {
    const cell = line.children[column];
    return cell.dataset.v ?? cell.textContent.trim();
  };
  const compare = (a, b) => {
    const [one, other] = [key(a), key(b)];
    if (!one || !other) return Number(!one) - Number(!other);
    const difference = Number(one) - Number(other);
    return sign * (Number.isNaN(difference) ? one.localeCompare(other) : difference);
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
}
for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) heading.querySelector("button").addEventListener("click", () => sortBy(table, heading));
}

if (choice) {
  report.rows.forEach((row, index) => {
    if (row.closer && (row.classes.length || row.matrix.length || row.profile.length)) choice.append(new Option(row.name, index));
  });
  choice.addEventListener("change", () => choose(Number(choice.value), false));
  const first = [...choice.options].find((option) => Number(option.value) === report.ship) ?? choice.options[0];
  choose(Number(first.value), false);
}

/** On a small screen, sections below the first two are their headings until one is pressed or linked to. */
function foldSections() {
  const unfold = (section, open) => {
    section.classList.toggle("folded", !open);
    section.querySelector("h2 button").setAttribute("aria-expanded", String(open));
  };
  const sections = [...document.querySelectorAll("main > section")].slice(2);
  for (const section of sections) {
    const heading = section.querySelector("h2");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => unfold(section, section.classList.contains("folded")));
    unfold(section, false);
  }
  const openTarget = () => {
    const target = sections.find((section) => `#${section.id}` === location.hash);
    if (target) unfold(target, true);
  };
  window.addEventListener("hashchange", openTarget);
  for (const link of document.querySelectorAll("a[href^='#']")) link.addEventListener("click", () => setTimeout(openTarget));
  window.addEventListener("beforeprint", () => sections.forEach((section) => unfold(section, true)));
  openTarget();
}
if (matchMedia("(max-width: 40rem)").matches) foldSections();

// Print shows all.
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
document.documentElement.dataset.ready = "yes";
