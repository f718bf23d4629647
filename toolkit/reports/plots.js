"use strict";
// The Pareto plots and the pictures in the cells of tables, drawn with D3's scales and axes.
// Every picture stands beside its figures in a table, so cells are hidden from screen readers; points of the Pareto plots
// are not: each is a button that names its figures, and the arrow keys go from one to the next.

const report = JSON.parse(document.getElementById("data").textContent);
const MARGIN = { top: 14, right: 18, bottom: 42, left: 56 };
const NEAR = 36; // pixels within which a pointer means a point
const GAP = 6; // pixels between two names, at least

const duration = (us) => (us >= 1e6 ? `${us / 1e6} s` : us >= 1e3 ? `${us / 1e3} ms` : `${us} µs`);
const bytes = (n) => (n >= 1e6 ? `${n / 1e6} MB` : n >= 1e3 ? `${n / 1e3} kB` : `${n} B`);
const minus = (text) => String(text).replace("-", "−");

/** Ticks of a log scale, at most so many: powers of ten, with 2 and 5 between them if few. */
function logTicks(scale, most) {
  const [low, high] = scale.domain();
  const pick = (factors) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const factor of factors) {
        const value = Number((factor * 10 ** power).toPrecision(3));
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  };
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    if (pick(factors).length <= most) return pick(factors);
  }
  return pick([1]).filter((_, n, all) => n % Math.ceil(all.length / most) === 0);
}

/** A range that holds all values with some room, on a log scale. */
function logDomain(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(1.12, (high / low) ** 0.07);
  return [low / room, high * room];
}

/** The lowest accuracy that is drawn to scale: files that are far below the rest would flatten all differences. */
function floorOf(points) {
  const best = Math.max(...points.map((p) => p.accuracy));
  const room = Math.max(0.05, (5 * report.maxDrop) / 100);
  const ends = points.filter((p) => p.accuracy >= best - room).map((p) => (p.accuracyRange ? p.accuracyRange[0] : p.accuracy));
  return Math.min(...ends, report.limit ?? 1);
}

/** Make the frame of one Pareto plot; returns what draws it. `cost` is "size" or "p50", `host` names the host whose latencies are shown. */
function paretoPlot(container, { cost, host, title, onChoose }) {
  const front = report.fronts[host];
  const ringed = report.rings[host];
  const points = report.rows
    .map((row, index) => ({ ...row, index }))
    .filter((p) => p.leading && p.accuracy !== null && p[cost] !== null && (cost === "size" ? p.host === report.hosts[0] : p.host === host))
    .sort((a, b) => a[cost] - b[cost] || b.accuracy - a.accuracy);
  if (!points.length) return null;
  const figure = d3.select(container).append("figure");
  const id = `plot-${container.children.length}`;
  figure.append("figcaption").attr("id", id).text(title);
  const svg = figure.append("svg").attr("role", "group").attr("aria-labelledby", id);
  let current = points.findIndex((p) => p.index === report.ship);
  if (current < 0) current = 0;
  let places = [];

  function draw() {
    const width = Math.max(280, figure.node().clientWidth - 20);
    const height = Math.round(Math.min(400, Math.max(270, width * 0.72)));
    svg.attr("viewBox", `0 0 ${width} ${height}`).selectAll("*").remove();
    const ranges = points.map((p) => (cost === "p50" && p.p50Range) || [p[cost], p[cost]]);
    const x = d3.scaleLog(logDomain(ranges.flat()), [MARGIN.left, width - MARGIN.right]);
    const floor = floorOf(points);
    const top = Math.max(...points.map((p) => (p.accuracyRange ? p.accuracyRange[1] : p.accuracy)));
    const room = Math.max(0.001, (top - floor) * 0.06);
    const y = d3.scaleLinear([floor - room, Math.min(1.002, top + room)], [height - MARGIN.bottom, MARGIN.top]);
    const bottom = height - MARGIN.bottom;
    const ticks = logTicks(x, Math.floor(width / 70));
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${bottom})`)
      .call(d3.axisBottom(x).tickValues(ticks).tickFormat(cost === "size" ? bytes : duration).tickSize(-(bottom - MARGIN.top)).tickPadding(8));
    svg.append("g").attr("class", "axis").attr("transform", `translate(${MARGIN.left},0)`)
      .call(d3.axisLeft(y).ticks(6).tickFormat((v) => (v > 1 ? "" : `${Number((100 * v).toFixed(2))} %`)).tickSize(-(width - MARGIN.left - MARGIN.right)).tickPadding(6));
    svg.append("text").attr("class", "title").attr("x", width - MARGIN.right).attr("y", height - 6).attr("text-anchor", "end")
      .text(cost === "size" ? "size of the file, log scale" : "median latency, log scale");
    if (report.limit !== null && report.limit >= y.domain()[0]) {
      svg.append("line").attr("class", "limit").attr("x1", MARGIN.left).attr("x2", width - MARGIN.right).attr("y1", y(report.limit)).attr("y2", y(report.limit));
    }
    places = points.map((p) => ({ x: x(p[cost]) + beside(points, p, cost), y: Math.min(bottom - 6, y(p.accuracy)), below: y(p.accuracy) > bottom }));
    const onFront = front.map((index) => places[points.findIndex((p) => p.index === index)]).filter((place) => place && !place.below);
    if (onFront.length) {
      const steps = onFront.map((place, n) => (n ? `H${place.x}V${place.y}` : `M${place.x},${place.y}`));
      svg.append("path").attr("class", "front").attr("d", `${steps.join("")}H${width - MARGIN.right}`);
    }
    points.forEach((p, n) => drawPoint(svg, p, places[n], { x, y, cost, ringed: ringed.includes(p.index), shipped: p.index === report.ship, bottom }));
    nameSome(svg, points, places, [...new Set([report.ship, ...ringed, ...front])], { width, bottom });
    svg.selectAll(".point").attr("tabindex", (_, n) => (n === current ? 0 : -1));
  }

  function drawPoint(parent, p, place, { x, y, cost, ringed, shipped, bottom }) {
    const group = parent.append("g").attr("class", `point c${p.color}`).attr("role", "button").attr("data-index", p.index)
      .attr("aria-label", `${p.name}. ${p.facts.map(([name, text]) => `${name} ${text}`).join(", ")}.`);
    const shift = place.x - x(p[cost]);
    if (p.accuracyRange && !place.below) {
      group.append("line").attr("class", "bar").attr("x1", place.x).attr("x2", place.x)
        .attr("y1", Math.min(bottom, y(p.accuracyRange[0]))).attr("y2", y(p.accuracyRange[1]));
    }
    if (cost === "p50" && p.p50Range && !place.below) {
      group.append("line").attr("class", "bar").attr("y1", place.y).attr("y2", place.y)
        .attr("x1", x(p.p50Range[0]) + shift).attr("x2", x(p.p50Range[1]) + shift);
    }
    group.append("circle").attr("class", "halo").attr("cx", place.x).attr("cy", place.y).attr("r", 12);
    if (ringed && !place.below) group.append("circle").attr("class", "ring").attr("cx", place.x).attr("cy", place.y).attr("r", 9.5);
    if (shipped && !place.below) group.append("circle").attr("class", "ring ship").attr("cx", place.x).attr("cy", place.y).attr("r", 12.5);
    group.append("use").attr("href", `#shape${p.shape}`).attr("x", place.x).attr("y", place.y);
  }

  function show(n, focus) {
    svg.selectAll(".point").classed("near", (_, k) => k === n).attr("tabindex", (_, k) => (k === (n ?? current) ? 0 : -1));
    if (n === null) return hideTip();
    current = n;
    const node = svg.selectAll(".point").nodes()[n];
    if (focus) node.focus();
    const box = svg.node().getBoundingClientRect();
    const scale = box.width / svg.node().viewBox.baseVal.width;
    showTip(points[n], box.left + places[n].x * scale, box.top + places[n].y * scale);
  }

  const visible = (n) => !svg.selectAll(".point").nodes()[n].classList.contains("off");
  const step = (from, by) => {
    for (let n = from; n >= 0 && n < points.length; n += by) if (visible(n)) return n;
    return null;
  };
  const nearest = (event) => {
    const box = svg.node().getBoundingClientRect();
    const scale = box.width / svg.node().viewBox.baseVal.width;
    const distance = (n) => Math.hypot(places[n].x * scale - (event.clientX - box.left), places[n].y * scale - (event.clientY - box.top));
    const best = points.map((_, n) => n).filter(visible).sort((a, b) => distance(a) - distance(b))[0];
    return best !== undefined && distance(best) < NEAR ? best : null;
  };
  svg.on("pointermove", (event) => show(nearest(event)))
    .on("pointerleave", () => show(null))
    .on("click", (event) => {
      const n = nearest(event);
      if (n !== null) onChoose(points[n].index);
    });
  // On the figure: an svg that listens for the focus would be a stop of the tab key itself.
  figure.on("focusin", (event) => {
      const n = svg.selectAll(".point").nodes().indexOf(event.target.closest(".point"));
      if (n >= 0) show(n);
    })
    .on("focusout", () => show(null))
    .on("keydown", (event) => {
      const to = { ArrowRight: step(current + 1, 1), ArrowUp: step(current + 1, 1), ArrowLeft: step(current - 1, -1), ArrowDown: step(current - 1, -1), Home: step(0, 1), End: step(points.length - 1, -1) };
      if (event.key === "Enter" || event.key === " ") onChoose(points[current].index);
      else if (event.key === "Escape") hideTip();
      else if (!(event.key in to)) return;
      else if (to[event.key] !== null) show(to[event.key], true);
      event.preventDefault();
    });
  return draw;
}

/** Files of one size would hide each other: points of the same file stand beside each other, this many pixels apart. */
function beside(points, p, cost) {
  if (cost !== "size") return 0;
  const same = points.filter((q) => q.size === p.size);
  return 11 * (same.indexOf(p) - (same.length - 1) / 2);
}

/** Name some points, the first of them first, and those that are off the scale, where there is room beside them and no other point is nearer. */
function nameSome(svg, points, places, named, { width, bottom }) {
  const taken = places.map((place) => [place.x - 8, place.y - 8, place.x + 8, place.y + 8]);
  const free = (box) => box[0] > MARGIN.left && box[2] < width - 2 && box[1] > 2 && box[3] < bottom && taken.every((t) => box[2] < t[0] || box[0] > t[2] || box[3] < t[1] || box[1] > t[3]);
  const gap = (box, { x, y }) => Math.hypot(Math.max(box[0] - x, 0, x - box[2]), Math.max(box[1] - y, 0, y - box[3]));
  const nearest = (box, n) => places.every((other, m) => points[m].label === points[n].label || gap(box, other) > gap(box, places[n]));
  const offScale = points.filter((_, n) => places[n].below).map((p) => p.index);
  const order = [...new Set([...named, ...offScale])].map((index) => points.findIndex((p) => p.index === index));
  order.filter((n) => n >= 0).forEach((n) => {
    const p = points[n];
    const { x, y, below } = places[n];
    const text = below ? `${p.label} ${(100 * p.accuracy).toFixed(1)} % ↓` : p.label;
    const name = svg.append("text").attr("class", "name").attr("aria-hidden", "true").text(text);
    const long = name.node().getComputedTextLength();
    const corners = [[x + 12, y - 18], [x - 12 - long, y - 18], [x + 12, y + 4], [x - 12 - long, y + 4], [x - long / 2, y - 30], [x - long / 2, y + 16], [x + 12, y - 34], [x - 12 - long, y - 34]];
    const place = corners.find(([left, up]) => [[left, up, left + long, up + 14]].every((box) => free(box) && nearest(box, n)));
    if (!place) {
      name.remove();
      return;
    }
    const [left, up] = place;
    taken.push([left - GAP, up, left + long + GAP, up + 14]);
    name.attr("x", left).attr("y", up + 11);
  });
}

/** Make the frame of the risk-coverage curves: which share of answers thresholds accept, and which share of these is wrong. */
function curvePlot(container) {
  const rows = report.rows.filter((row) => row.leading && row.curve.length);
  if (!rows.length) return null;
  const figure = d3.select(container).append("figure");
  figure.append("figcaption").text("Error of accepted answers against the share that is accepted");
  const svg = figure.append("svg").attr("role", "img").attr("aria-label", "Risk-coverage curves; the table below has the figures at each file's threshold.");

  return function draw() {
    const width = Math.max(280, figure.node().clientWidth - 20);
    const height = Math.round(Math.min(400, Math.max(270, width * 0.6)));
    const bottom = height - MARGIN.bottom;
    svg.attr("viewBox", `0 0 ${width} ${height}`).selectAll("*").remove();
    const x = d3.scaleLinear([0, 1], [MARGIN.left, width - MARGIN.right]);
    const most = Math.max(0.01, ...rows.flatMap((row) => row.curve.map(([, risk]) => risk)));
    const y = d3.scaleLinear([0, most], [bottom, MARGIN.top]).nice(5);
    const percent = (v) => `${Number((100 * v).toFixed(2))} %`;
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${bottom})`)
      .call(d3.axisBottom(x).ticks(5).tickFormat(percent).tickSize(-(bottom - MARGIN.top)).tickPadding(8));
    svg.append("g").attr("class", "axis").attr("transform", `translate(${MARGIN.left},0)`)
      .call(d3.axisLeft(y).ticks(5).tickFormat(percent).tickSize(-(width - MARGIN.left - MARGIN.right)).tickPadding(6));
    svg.append("text").attr("class", "title").attr("x", width - MARGIN.right).attr("y", height - 6).attr("text-anchor", "end").text("accepted answers");
    for (const row of rows) {
      const points = row.curve.map(([coverage, risk]) => `${x(coverage)},${y(risk)}`);
      const group = svg.append("g").attr("class", `c${row.color}`);
      group.append("title").text(row.name);
      group.append("path").attr("class", "curve").attr("d", `M${points.join("L")}`);
      const [share, error] = row.accepted;
      if (error !== null) group.append("use").attr("href", `#shape${row.shape}`).attr("x", x(share)).attr("y", y(error));
    }
  };
}

const tip = document.getElementById("tip");
function hideTip() {
  tip.hidden = true;
}

function showTip(p, x, y) {
  tip.replaceChildren();
  const box = d3.select(tip);
  box.append("b").text(p.name);
  for (const [name, text] of p.facts) {
    const line = (box.select("table").empty() ? box.append("table") : box.select("table")).append("tr");
    line.append("td").text(name);
    line.append("td").text(text);
  }
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.max(4, Math.min(x - width / 2, document.documentElement.clientWidth - width - 4));
  const top = y - height - 18 > 0 ? y - height - 18 : y + 18;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${top + window.scrollY}px`;
}

/** How to draw the pictures of a table's cells: the scale over all of its rows, and the marks of one row. */
const KINDS = {
  drop: {
    scale: (rows) => linear(rows.flatMap((r) => r.drop).concat([0, report.maxDrop])),
    tick: (v) => minus(v),
    draw: (svg, row, at) => interval(svg, row.drop, at),
  },
  latency: {
    scale: (rows) => d3.scaleLog(logDomain(rows.flatMap((r) => [r.quantiles[1], r.quantiles[49]])), [0, 100]),
    tick: duration,
    draw: (svg, row, at) => {
      const q = row.quantiles;
      for (const [low, high, width] of [[1, 49, 2], [5, 45, 7], [12.5, 37.5, 14]]) {
        bar(svg, at(between(q, low)), at(between(q, high)), width).classed("wide", width < 14);
      }
      tickMark(svg, at(q[25]));
    },
  },
  places: {
    scale: (_, cells) => d3.scaleLog(logDomain(cells.flatMap((c) => JSON.parse(c.dataset.p50)).filter((v) => v !== null)), [0, 100]),
    tick: duration,
    draw: (svg, _, at, cell) => {
      const values = JSON.parse(cell.dataset.p50);
      const known = values.filter((v) => v !== null);
      svg.append("line").attr("class", "zero").attr("x1", `${at(Math.min(...known))}%`).attr("x2", `${at(Math.max(...known))}%`).attr("y1", 15).attr("y2", 15);
      values.forEach((v, n) => v !== null && svg.append("circle").attr("class", `h${n % 4}`).attr("fill", "currentColor").attr("cx", `${at(v)}%`).attr("cy", 15).attr("r", 5));
    },
  },
  shares: {
    scale: (rows) => d3.scaleLinear([0, Math.max(0.1, ...rows.flatMap((r) => r.shares))], [0, 100]).nice(4),
    tick: (v) => `${Number((100 * v).toFixed(1))} %`,
    draw: (svg, row, at) => row.shares.forEach((v, n) => v !== null && svg.append("rect").attr("class", `h${n}`).attr("fill", "currentColor").attr("x", 0).attr("y", 6 + 10 * n).attr("height", 8).attr("width", `${at(v)}%`).attr("rx", 1)),
  },
};

function linear(values) {
  const known = values.filter((v) => v !== null);
  return d3.scaleLinear([Math.min(...known), Math.max(...known)], [0, 100]).nice(5);
}

/** The value at a place of the quantiles that may lie between two. */
function between(q, place) {
  const low = Math.floor(place);
  return q[low] + (q[Math.ceil(place)] - q[low]) * (place - low);
}

function bar(svg, from, to, width) {
  return svg.append("line").attr("class", "band").attr("stroke-width", width).attr("x1", `${from}%`).attr("x2", `${to}%`).attr("y1", 15).attr("y2", 15);
}

function tickMark(svg, at) {
  svg.append("line").attr("class", "median").attr("x1", `${at}%`).attr("x2", `${at}%`).attr("y1", 5).attr("y2", 25);
}

/** A drop with its interval, the zero line and the limit. */
function interval(svg, [drop, low, high], at) {
  for (const [value, name] of [[0, "zero"], [report.maxDrop, "limit"]]) {
    svg.append("line").attr("class", name).attr("x1", `${at(value)}%`).attr("x2", `${at(value)}%`).attr("y1", -4).attr("y2", 34);
  }
  if (low !== null && high !== null) bar(svg, at(low), at(high), 2);
  svg.append("circle").attr("fill", "currentColor").attr("cx", `${at(drop)}%`).attr("cy", 15).attr("r", 4.5);
}

/** Draw the pictures of a table's cells and the axis above them. */
function drawCells(table) {
  const cells = [...table.querySelectorAll("td.g")];
  const rows = cells.map((cell) => report.rows[cell.dataset.row]);
  const kind = KINDS[table.dataset.kind];
  const scale = kind.scale(rows, cells);
  drawAxis(table.querySelector("td.axis"), scale, kind.tick);
  cells.forEach((cell, n) => kind.draw(d3.select(cell).append("svg").attr("class", `c${rows[n].color}`), rows[n], scale, cell));
}

/** The ticks of a scale to 0-100 % as texts. */
function drawAxis(cell, scale, format) {
  const svg = d3.select(cell).append("svg");
  const ticks = scale.base ? logTicks(scale, 6) : [5, 4, 3, 2].map((n) => scale.ticks(n)).find((found) => found.length <= 6) ?? scale.ticks(1);
  for (const value of ticks) {
    const at = scale(value);
    svg.append("text").attr("class", "title").attr("x", `${at}%`).attr("y", 14).attr("text-anchor", at < 5 ? "start" : at > 95 ? "end" : "middle").text(format(value));
  }
}
