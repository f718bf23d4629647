"use strict";
// The closer look: one file beside the baseline - drop by class, confusion matrices, time by operation.

/** A table with a heading; cells are texts, or functions that fill the cell given to them. */
function makeTable(parent, className, heading, rows) {
  const region = d3.select(parent).append("div").attr("class", "scroll").attr("role", "region").attr("tabindex", 0).attr("aria-label", heading.label);
  const table = region.append("table").attr("class", className);
  const head = table.append("thead").append("tr");
  heading.columns.forEach(([text, kind]) => {
    if (kind === "axis") head.append("td").attr("class", "axis").attr("aria-hidden", "true");
    else head.append("th").attr("scope", "col").attr("class", kind).text(text);
  });
  const body = table.append("tbody");
  for (const row of rows) {
    const line = body.append("tr");
    row.forEach((content, n) => {
      const [, kind] = heading.columns[n];
      const cell = line.append(n ? "td" : "th").attr("class", kind === "axis" ? "g" : kind);
      if (!n) cell.attr("scope", "row");
      if (kind === "axis") content(cell.attr("aria-hidden", "true"));
      else cell.text(content);
    });
  }
  return table;
}

const signed = (value) => minus(value.toFixed(1).replace(/^-(0\.0)$/, "$1"));
const share = (value) => `${(100 * value).toFixed(1)} %`;

function classTable(parent, row) {
  d3.select(parent).append("h3").text(`Drop of recall by class, percentage points: ${row.name}`);
  const scale = linear(row.classes.flatMap((c) => c.slice(3)).concat([0]));
  const lines = row.classes.map(([label, support, recall, drop, low, high]) => [
    label, support, share(recall),
    low === null ? signed(drop) : `${signed(drop)} [${signed(low)}, ${signed(high)}]`,
    (cell) => {
      const svg = cell.append("svg").attr("class", `c${row.color}`);
      svg.append("line").attr("class", "zero").attr("x1", `${scale(0)}%`).attr("x2", `${scale(0)}%`).attr("y1", -4).attr("y2", 34);
      if (low !== null) bar(svg, scale(low), scale(high), 2);
      svg.append("circle").attr("fill", "currentColor").attr("cx", `${scale(drop)}%`).attr("cy", 15).attr("r", 4.5);
    },
  ]);
  const columns = [["Class", ""], ["Items", "num"], ["Recall", "num"], ["Drop", "num"], ["", "axis"]];
  const table = makeTable(parent, "rows", { label: "Drop by class", columns }, lines);
  drawAxis(table.select(".axis").node(), scale, minus);
}

/** A confusion matrix: true class down, given class across, shaded by the share of the row. */
function matrixTable(parent, title, row) {
  const region = d3.select(parent).append("div").attr("class", "scroll").attr("role", "region").attr("tabindex", 0).attr("aria-label", `Confusion matrix of ${title}`);
  const table = region.append("table").attr("class", "matrix")
    .classed("tall", report.labels.some((label) => label.length > 3));
  table.append("caption").text(title).append("small").text(" true class down, given class across");
  const head = table.append("thead").append("tr");
  head.append("td");
  report.labels.forEach((label) => head.append("th").attr("scope", "col").attr("title", label).text(label));
  const body = table.append("tbody");
  row.matrix.forEach((counts, n) => {
    const total = counts.reduce((a, b) => a + b, 0) || 1;
    const line = body.append("tr");
    line.append("th").attr("scope", "row").attr("title", report.labels[n]).text(report.labels[n]);
    counts.forEach((count, k) => {
      const cell = line.append("td").text(count || "·").classed("none", !count);
      const strength = Math.round(Math.min(34, (n === k ? 30 : 120) * (count / total) + (count ? 4 : 0)));
      if (count) cell.style("background", `color-mix(in srgb, var(${n === k ? "--h0" : "--h1"}) ${strength}%, var(--card))`);
    });
  });
}

/** Time by operation as a flame: all of it, what a delegate takes and what not, each operation. */
function flame(parent, row) {
  const total = row.profile.reduce((sum, [, , us]) => sum + us, 0);
  const parts = [...row.profile].sort((a, b) => Number(b[4]) - Number(a[4]) || b[2] - a[2]);
  const delegated = parts.filter((p) => p[4]).reduce((sum, [, , us]) => sum + us, 0);
  const box = d3.select(parent).append("div").attr("class", "flame").attr("role", "img")
    .attr("aria-label", `Time by operation of ${row.name}; the table below has the figures.`);
  const level = (pieces) => {
    const line = box.append("div");
    for (const [text, us, kind] of pieces.filter((p) => p[1] > 0)) {
      line.append("span").attr("class", kind).attr("title", `${text}: ${share(us / total)}`).style("flex", `${us / total} 1 0`).text(text);
    }
  };
  level([[`all operations, ${Number(total.toPrecision(3))} µs`, total, ""]]);
  if (delegated) level([[`delegate, ${share(delegated / total)}`, delegated, "delegated"], [`interpreter, ${share(1 - delegated / total)}`, total - delegated, "own"]]);
  level(parts.map(([name, , us, , kind]) => [name, us, kind ? "delegated" : "own"]));
}

function profileOf(parent, row) {
  const box = d3.select(parent).append("div").node();
  d3.select(box).append("p").append("b").text(row.name);
  flame(box, row);
  const columns = [["Operation", ""], ["Count", "num"], ["Time", "num"], ["Share", "num"], ["Run by", ""]];
  const lines = row.profile.map(([name, count, us, part, delegated]) => [name, count, us ? `${Number(us.toPrecision(3))} µs` : "< 1 µs", us ? share(part) : "", delegated ? "delegate" : "engine"]);
  makeTable(box, "", { label: `Operations of ${row.name}`, columns }, lines);
}

/** Show one file beside the baseline. */
function lookCloser(index) {
  const body = document.getElementById("closer-body");
  if (!body) return;
  const row = report.rows[index];
  const sides = [report.base, index].filter((n, k, all) => n !== null && all.indexOf(n) === k).map((n) => report.rows[n]);
  body.replaceChildren();
  if (row.classes.length) classTable(body, row);
  const pair = (title, known, add) => {
    if (!known.length) return;
    d3.select(body).append("h3").text(title);
    const box = d3.select(body).append("div").attr("class", "pair").node();
    known.forEach((side) => add(box, side));
  };
  pair("Confusion", sides.filter((r) => r.matrix.length && report.labels.length), (box, side) => matrixTable(box, side.name, side));
  pair("Time by operation", sides.filter((r) => r.profile.length), profileOf);
  if (!body.children.length) d3.select(body).append("p").text("Nothing more was measured of this file.");
}
