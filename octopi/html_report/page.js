"use strict";
(() => {
  // ---------------------------------------------------------------- data
  const data = JSON.parse(document.getElementById("content").textContent);
  const { objects, runs, beta } = data;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  for (const run of runs) {
    run.points = run.points.map((encoded) => {
      const gains = bytes(encoded.gains);
      const tp = new Uint32Array(gains.length + 1); // particles found by the best n candidates
      gains.forEach((gain, i) => { tp[i + 1] = tp[i] + gain; });
      return {
        positions: floats(encoded.positions), scores: floats(encoded.scores), gains, tp,
        truth: floats(encoded.truth), finders: new Int32Array(bytes(encoded.finders).buffer),
      };
    });
  }
  const state = {
    run: 0, zoom: 1, cursor: null, selected: null, colour: "object",
    thresholds: objects.map((o) => o.initialThreshold),
    visible: objects.map(() => true),
    inTotals: runs.map((r) => r.inTotals),
    gallery: Math.max(0, objects.findIndex((o) => o.weight > 0)),
  };

  // ---------------------------------------------------------------- small helpers
  const $ = (id) => document.getElementById(id);
  const fill = (node, children) => {
    node.replaceChildren(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
    return node;
  };
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key in node && key !== "list") node[key] = value;
      else node.setAttribute(key, value);
    }
    return fill(node, children);
  };
  const SVG = "http://www.w3.org/2000/svg";
  const draw = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const number = (value, digits = 3) => (value === null || value === undefined ? "n/a" : value.toFixed(digits));
  const rgb = (color, alpha = 1) => `rgba(${color.join(",")},${alpha})`;
  const luminance = (c) => (0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]) / 255;
  const isDark = () => {
    const set = document.documentElement.dataset.theme;
    return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  /** Return the object's colour, mixed with white or black where it is too close to the page's. */
  const inked = (color) => {
    const dark = isDark(), light = luminance(color);
    const share = dark ? Math.max(0, 0.42 - light) / 0.8 : Math.max(0, light - 0.62) / 0.9;
    return rgb(color.map((c) => Math.round(c + ((dark ? 255 : 0) - c) * share)));
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const named = (o) => make("span", { className: "name", title: o.name }, dot(o), make("span", {}, o.name));
  const dot = (o) => {
    const node = make("span", { className: "dot" });
    node.style.background = rgb(o.color);
    return node;
  };
  const logit = (p) => Math.log(p / (1 - p));
  const expit = (x) => 1 / (1 + Math.exp(-x));
  const EDGE = 1e-3, LOW = logit(EDGE), HIGH = -LOW;
  const along = (score) => (logit(Math.min(Math.max(score, EDGE), 1 - EDGE)) - LOW) / (HIGH - LOW);
  const shown = (t) => (t === 0 || t === 1 ? String(t) : t < 0.1 || t > 0.9 ? t.toFixed(4) : t.toFixed(3));

  // ---------------------------------------------------------------- counts at any threshold
  /** Count the candidates above the threshold, in single precision as octopi does. */
  const numPicks = (points, threshold) => {
    const t = Math.fround(threshold);
    let low = 0, high = points.scores.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points.scores[middle] >= t) low = middle + 1; else high = middle;
    }
    return low;
  };
  const isMissed = (points, particle, picks) => points.finders[particle] < 0 || points.finders[particle] >= picks;
  const countsIn = (run, k, threshold) => {
    const points = run.points[k], picks = numPicks(points, threshold), tp = points.tp[picks];
    return { picks, tp, fp: picks - tp, fn: points.finders.length - tp };
  };
  const scoredRuns = () => runs.filter((run, i) => state.inTotals[i] && run.hasTruth);
  const countsOf = (k, threshold, among = scoredRuns()) => {
    const sum = { picks: 0, tp: 0, fp: 0, fn: 0 };
    for (const run of among) {
      const counts = countsIn(run, k, threshold);
      for (const key of Object.keys(sum)) sum[key] += counts[key];
    }
    return sum;
  };
  const fscore = ({ tp, fp, fn }, b) => (tp + fn ? ((1 + b * b) * tp) / ((1 + b * b) * tp + b * b * fn + fp) : null);
  /** Compute the figures of counts; where only a share of the particles is annotated, fewer picks are wrong. */
  const figures = (c, o) => {
    const fp = Math.max(0, (o.share ?? 1) * (c.tp + c.fp) - c.tp), expected = { tp: c.tp, fp, fn: c.fn };
    return {
      ...c,
      precision: c.tp + c.fn ? c.tp / (c.tp + fp || 1) : null,
      recall: c.tp + c.fn ? c.tp / (c.tp + c.fn) : null,
      fbeta: fscore(expected, beta), f1: fscore(expected, 1),
    };
  };
  const allFigures = () => objects.map((o, k) => figures(countsOf(k, state.thresholds[k]), o));
  const isEstimate = (o) => o.share !== null;
  /** Format a figure; ~ marks an estimate. */
  const figure = (value, estimated) => (estimated && value !== null ? "~" : "") + number(value);
  const anyEstimate = objects.some(isEstimate);
  const mean = (values, weights) => {
    let sum = 0, norm = 0;
    values.forEach((v, i) => { if (v !== null) { sum += v * weights[i]; norm += weights[i]; } });
    return norm > 0 ? sum / norm : null;
  };
  /** Return whether thresholds and runs are those that octopi computed its intervals for. */
  const asScored = () => data.scores && state.thresholds.every((t, k) => t === objects[k].initialThreshold)
    && state.inTotals.every((c, i) => c === runs[i].inTotals);

  // ---------------------------------------------------------------- overview
  const between = (interval) => (interval ? `95 %: ${number(interval[0])} … ${number(interval[1])}` : "");
  const tile = (id, label, value, small = "") => make("div", { className: "tile" },
    make("b", { id }, value), make("span", {}, label), make("small", {}, small));
  const drawOverview = () => {
    const all = allFigures(), same = asScored(), numScored = scoredRuns().length;
    const total = mean(all.map((f) => f.fbeta), objects.map((o) => o.weight));
    const f1 = mean(all.map((f) => f.f1), objects.map(() => 1));
    const sum = (key) => all.reduce((s, f) => s + f[key], 0);
    const among = runs.filter((run, i) => state.inTotals[i]);
    const picks = objects.reduce((s, o, k) => s + countsOf(k, state.thresholds[k], among).picks, 0);
    const tiles = [tile("num-picks", `picks in ${among.length} run${among.length === 1 ? "" : "s"}`, String(picks))];
    if (numScored) {
      tiles.unshift(
        tile("total", `F${beta}, weighted over objects`, figure(total, anyEstimate), same ? between(data.scores.interval) : ""),
        tile("mean-f1", "F1, mean of objects", figure(f1, anyEstimate), same ? between(data.scores.mean_f1_interval) : ""));
      tiles.push(tile("num-truth", "particles of the truth", String(sum("tp") + sum("fn")), `${sum("tp")} found, ${sum("fn")} missed`));
    }
    fill($("tiles"), tiles);
    const head = make("thead", {}, make("tr", {}, ["object", "weight", "from chance", "picks", "found", "wrong", "missed", "precision", "recall", `F${beta}`, "F1", same ? `95 % of F${beta}` : ""]
      .map((text) => make("th", { scope: "col" }, text))));
    const rows = all.map((f, k) => {
      const score = same ? data.scores.scores[objects[k].name] : null;
      const picked = countsOf(k, state.thresholds[k], among).picks, estimated = isEstimate(objects[k]);
      const cells = [objects[k].weight, shown(state.thresholds[k]), picked,
        ...(numScored ? [f.tp, f.fp, f.fn, figure(f.precision, estimated), number(f.recall)] : ["–", "–", "–", "–", "–"])];
      return make("tr", { id: `row-${k}` }, make("td", {}, named(objects[k])),
        cells.map((text) => make("td", {}, String(text))),
        make("td", { className: "bold" }, numScored ? figure(f.fbeta, estimated) : "–"), make("td", {}, numScored ? figure(f.f1, estimated) : "–"),
        make("td", { className: "note" }, score && score.interval ? `${estimated ? "~" : ""}${number(score.interval[0])} … ${number(score.interval[1])}` : ""));
    });
    fill($("table"), [head, make("tbody", {}, rows)]);
    $("scoring-note").textContent = numScored
      ? `A pick is right if a true particle lies within ${data.toleranceScale} radii of it; each pick and each particle is in one pair at most. Counts are pooled over ${numScored} run${numScored === 1 ? "" : "s"}. F${beta}: one miss weighs as much as ${beta * beta} wrong picks.${same ? "" : " Intervals are known for the initial thresholds and runs only."}`
      : "There is no truth to score these picks with: these runs have no picks by hand.";
    fill($("annotation-note"), [...data.annotation, anyEstimate && "~ marks estimates: picks that count as wrong may be particles that nobody annotated."]
      .filter(Boolean).map((text) => make("p", { className: "note" }, text)));
    for (const button of $("operating-points").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.matches_()));
  };
  const drawOperatingPoints = () => {
    const betas = [...new Set(objects.flatMap((o) => Object.keys(o.thresholds)))].sort((a, b) => a - b);
    const point = (label, values, title) => {
      const button = make("button", { type: "button", title, onclick: () => setThresholds(values) }, label);
      button.matches_ = () => values.every((v, k) => v === state.thresholds[k]);
      return button;
    };
    const points = betas.map((b) => point(`F${b}`, objects.map((o) => o.thresholds[b] ?? o.initialThreshold), `Thresholds chosen for β = ${b}`));
    if (!points.some((p) => p.matches_())) points.unshift(point("initial", objects.map((o) => o.initialThreshold), "The thresholds that this page started with"));
    fill($("operating-points"), [make("span", { className: "note" }, "Thresholds for"), ...points]);
  };
  const drawTotalsRuns = () => {
    fill($("totals-runs"), runs.map((run, i) => make("label", { className: "check" },
      make("input", { type: "checkbox", checked: state.inTotals[i], onchange: (e) => { state.inTotals[i] = e.target.checked; update(); } }),
      run.name, make("em", {}, run.role + (run.hasTruth ? "" : ", no truth")))));
  };

  // ---------------------------------------------------------------- thresholds
  const W = 340, H = 150, BINS = 44;
  const cards = [];
  const drawCards = () => {
    cards.length = 0;
    fill($("cards"), objects.map((o, k) => {
      const slider = make("input", { type: "range", min: 0, max: 1000, step: 1, id: `slider-${k}`, "aria-label": `Threshold of ${o.name}, a chance`,
        oninput: (e) => setThreshold(k, sliderScore(Number(e.target.value))) });
      const field = make("input", { type: "number", min: 0, max: 1, step: "any", id: `field-${k}`, "aria-label": `Threshold of ${o.name} as a number`,
        onchange: (e) => { const v = Number(e.target.value); if (v >= 0 && v <= 1) setThreshold(k, v); } });
      const reset = make("button", { type: "button", title: "Back to the initial threshold", onclick: () => setThreshold(k, o.initialThreshold) }, "↺");
      const card = { slider, field, histogram: make("div"), curve: make("div"), numbers: make("div", { className: "numbers", id: `numbers-${k}` }) };
      cards.push(card);
      return make("div", { className: "card" },
        make("div", { className: "head" }, make("h3", {}, named(o)), make("div", { className: "row" }, field, reset)),
        make("div", { className: "plots" }, make("div", {}, card.histogram, make("div", { className: "slide" }, slider)), card.curve), card.numbers);
    }));
    objects.forEach((o, k) => drawPlots(k));
  };
  const sliderScore = (position) => (position <= 0 ? 0 : position >= 1000 ? 1 : expit(LOW + (position / 1000) * (HIGH - LOW)));
  const TICKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
  const drawPlots = (k) => {
    const among = runs.filter((run, i) => state.inTotals[i]), hasTruth = scoredRuns().length > 0, o = objects[k];
    const hits = new Array(BINS).fill(0), rest = new Array(BINS).fill(0);
    for (const run of among) {
      run.points[k].scores.forEach((score, i) => {
        const bin = Math.min(BINS - 1, Math.floor(along(score) * BINS));
        (run.points[k].gains[i] ? hits : rest)[bin] += 1;
      });
    }
    const top = Math.max(1, ...hits.map((h, i) => h + rest[i]));
    const y = (count) => 13 + (H - 29) * (1 - Math.sqrt(count / top));
    const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Chances of the candidates for ${o.name}` });
    for (let i = 0; i < BINS; i += 1) {
      const x = (i * W) / BINS + 0.5, width = W / BINS - 1, floor = y(0);
      if (hits[i] + rest[i]) svg.append(draw("rect", { class: "rest", x, width, y: y(hits[i] + rest[i]), height: floor - y(hits[i] + rest[i]) }));
      if (hits[i]) svg.append(draw("rect", { fill: inked(o.color), x, width, y: y(hits[i]), height: floor - y(hits[i]) }));
    }
    for (const t of TICKS) {
      const label = draw("text", { x: along(t) * W, y: H - 3, "text-anchor": t === EDGE ? "start" : t === 1 - EDGE ? "end" : "middle" });
      label.textContent = String(t);
      svg.append(label);
    }
    svg.append(draw("line", { class: "axis", x1: 0, x2: W, y1: y(0), y2: y(0) }));
    const initial = along(o.initialThreshold) * W;
    svg.append(draw("line", { class: "initial", x1: initial, x2: initial, y1: 12, y2: y(0) }));
    const now = draw("line", { class: "now", y1: 12, y2: y(0) });
    svg.append(now);
    const most = draw("text", { x: 2, y: 9 });
    most.textContent = `highest bar ${top}, square-root scale`;
    svg.append(most);
    cards[k].now = now;
    cards[k].histogram.replaceChildren(svg);
    drawCurve(k, hasTruth);
    moveCard(k);
  };
  const S = 150;
  const drawCurve = (k, hasTruth) => {
    const o = objects[k], box = { x: 24, y: 6, w: S - 30, h: S - 32 };
    const svg = draw("svg", { viewBox: `0 0 ${S} ${S}`, role: "img", "aria-label": `Precision against recall of ${o.name}` });
    const at = ([recall, precision]) => [box.x + recall * box.w, box.y + (1 - precision) * box.h];
    svg.append(draw("path", { class: "axis", fill: "none", d: `M${box.x},${box.y}h${box.w}v${box.h}h${-box.w}z` }));
    for (const t of [0.5]) {
      svg.append(draw("path", { class: "axis", d: `M${at([t, 0])}V${box.y}M${at([0, t])}h${box.w}` }));
    }
    const text = (content, x, y, anchor, turn) => {
      const node = draw("text", { x, y, "text-anchor": anchor, ...(turn ? { transform: `rotate(-90 ${x} ${y})` } : {}) });
      node.textContent = content;
      svg.append(node);
    };
    text("0", box.x, S - 15, "middle"); text("recall", box.x + box.w / 2, S - 14, "middle"); text("1", box.x + box.w, S - 15, "middle");
    text("1", box.x - 4, box.y + 8, "end"); text("precision", box.x - 8, box.y + box.h / 2, "middle", true);
    const scores = [...new Set(scoredRuns().flatMap((run) => [...run.points[k].scores]))].sort((a, b) => b - a);
    const numParticles = scoredRuns().reduce((s, run) => s + run.points[k].finders.length, 0);
    cards[k].point = null;
    if (!hasTruth || !numParticles) text("no truth", box.x + box.w / 2, box.y + box.h / 2, "middle");
    else {
      const step = Math.max(1, Math.floor(scores.length / 400));
      const path = scores.filter((s, i) => i % step === 0 || i === scores.length - 1)
        .map((s) => { const f = figures(countsOf(k, s), o); return at([f.recall, f.precision]).map((v) => v.toFixed(1)).join(","); });
      if (path.length) svg.append(draw("path", { class: "line", stroke: inked(o.color), d: `M${path.join("L")}` }));
      cards[k].point = draw("circle", { r: 4, fill: css("--accent"), stroke: css("--card"), "stroke-width": 1.5 });
      cards[k].at = at;
      svg.append(cards[k].point);
    }
    cards[k].curve.replaceChildren(svg);
  };
  const moveCard = (k) => {
    const card = cards[k], t = state.thresholds[k], hasTruth = scoredRuns().length > 0;
    const f = figures(countsOf(k, t), objects[k]), estimated = isEstimate(objects[k]);
    const x = (t === 0 ? 0 : t === 1 ? 1 : along(t)) * W;
    card.now.setAttribute("x1", x); card.now.setAttribute("x2", x);
    const position = Math.round((t === 0 ? 0 : t === 1 ? 1 : along(t)) * 1000);
    if (Math.abs(Number(card.slider.value) - position) > 0.5) card.slider.value = position;
    card.slider.setAttribute("aria-valuetext", shown(t));
    card.field.value = Number(t.toPrecision(6));
    if (card.point) {
      const [cx, cy] = card.at([f.recall ?? 0, f.precision ?? 0]);
      card.point.setAttribute("cx", cx); card.point.setAttribute("cy", cy);
    }
    const cell = (key, label, value, className = "") => make("div", { className, "data-key": key }, value, make("small", {}, label));
    const picks = countsOf(k, t, runs.filter((run, i) => state.inTotals[i])).picks;
    fill(card.numbers, hasTruth ? [
      cell("picks", "picks", String(picks)), cell("tp", "found", String(f.tp), "found"), cell("fp", "wrong", String(f.fp), "wrong"), cell("fn", "missed", String(f.fn), "missed"),
      cell("precision", "precision", figure(f.precision, estimated)), cell("recall", "recall", number(f.recall)), cell("fbeta", `F${beta}`, figure(f.fbeta, estimated)), cell("f1", "F1", figure(f.f1, estimated)),
    ] : [cell("picks", "picks", String(picks))]);
  };
  const setThreshold = (k, value) => {
    state.thresholds[k] = value;
    moveCard(k);
    soon();
  };
  const setThresholds = (values) => {
    state.thresholds = [...values];
    objects.forEach((o, k) => moveCard(k));
    soon();
  };

  // ---------------------------------------------------------------- pictures, decoded when shown
  const blocks = new Map(), decoded = new Map();
  const blockOf = (i) => {
    if (!blocks.has(i)) blocks.set(i, JSON.parse($(`run-${i}`).textContent));
    return blocks.get(i);
  };
  const imageOf = (source) => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("A picture of this page cannot be decoded by this browser."));
    image.src = source;
  });
  /** Decode the volume of a mosaic: bytes in the order z, y, x, for each requested colour channel. */
  const volumeOf = async (mosaic, channels) => {
    const image = await imageOf(mosaic.picture), [nz, ny, nx] = mosaic.shape;
    const rows = Math.ceil(nz / mosaic.columns), out = channels.map(() => new Uint8Array(nz * ny * nx));
    const canvas = make("canvas", { width: mosaic.columns * nx, height: ny });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    for (let row = 0; row < rows; row += 1) {
      context.clearRect(0, 0, canvas.width, ny);
      context.drawImage(image, 0, -row * ny);
      const pixels = context.getImageData(0, 0, canvas.width, ny).data;
      for (let column = 0; column < mosaic.columns; column += 1) {
        const z = row * mosaic.columns + column;
        if (z >= nz) break;
        for (let y = 0; y < ny; y += 1) {
          let from = (y * canvas.width + column * nx) * 4, to = (z * ny + y) * nx;
          for (let x = 0; x < nx; x += 1, from += 4, to += 1) {
            for (let c = 0; c < channels.length; c += 1) out[c][to] = pixels[from + channels[c]];
          }
        }
      }
    }
    return out;
  };
  const frameOf = (mosaic) => { // x, y, z
    const n = [...mosaic.shape].reverse(), step = [...mosaic.spacing].reverse(), origin = [...mosaic.origin].reverse();
    return { n, step, origin, low: origin.map((o, a) => o - step[a] / 2), high: origin.map((o, a) => o + (n[a] - 0.5) * step[a]) };
  };
  const load = async (i) => {
    if (decoded.has(i)) return decoded.get(i);
    const block = blockOf(i);
    if (!block.volume) return null;
    const [grey] = await volumeOf(block.volume, [0]);
    const run = { grey, frame: frameOf(block.volume), scores: null };
    if (block.scores) {
      const [level, which] = await volumeOf(block.scores, [0, 1]);
      run.scores = { level, which, frame: frameOf(block.scores) };
    }
    if (decoded.size >= 3) decoded.delete(decoded.keys().next().value); // so that a phone's memory suffices
    decoded.set(i, run);
    return run;
  };
  const indexAt = (frame, axis, position) => Math.min(frame.n[axis] - 1, Math.max(0, Math.round((position - frame.origin[axis]) / frame.step[axis])));

  // ---------------------------------------------------------------- viewer
  let current = null, layout = null;
  const narrow = () => matchMedia("(max-width: 700px)").matches;
  const PLANES = () => [
    { id: "xy", across: 0, down: 1, normal: 2 },
    narrow() ? { id: "yz", across: 1, down: 2, normal: 0 } : { id: "yz", across: 2, down: 1, normal: 0 },
    { id: "xz", across: 0, down: 2, normal: 1 },
  ];
  const measure = () => {
    if (!current) return;
    const { low, high } = current.frame, size = high.map((h, a) => h - low[a]);
    const width = $("planes").clientWidth - 12, planes = PLANES();
    let scale = narrow() ? width / Math.max(size[0], size[1]) : width / (size[0] + size[2]);
    if (!narrow()) scale = Math.min(scale, Math.max(420, innerHeight * 0.92) / (size[1] + size[2]));
    $("planes").style.gridTemplateColumns = narrow() ? "auto" : "auto auto";
    layout = { scale, planes };
    for (const plane of planes) {
      const canvas = $(`plane-${plane.id}`).firstElementChild, ratio = Math.min(devicePixelRatio || 1, 2);
      plane.width = Math.max(24, Math.round(size[plane.across] * scale));
      plane.height = Math.max(24, Math.round(size[plane.down] * scale));
      canvas.width = plane.width * ratio; canvas.height = plane.height * ratio;
      canvas.style.width = `${plane.width}px`; canvas.style.height = `${plane.height}px`;
      plane.canvas = canvas; plane.ratio = ratio;
    }
  };
  /** Return the part of the volume that a plane shows at this zoom, in Å. */
  const windowOf = (plane) => {
    const { low, high } = current.frame, zoom = state.zoom;
    const along_ = (axis) => {
      const whole = high[axis] - low[axis], part = whole / zoom;
      return Math.min(Math.max(state.cursor[axis] - part / 2, low[axis]), high[axis] - part);
    };
    return { left: along_(plane.across), top: along_(plane.down), scale: layout.scale * zoom };
  };
  const sliceOf = (frame, plane, paint) => {
    const [nx, ny] = frame.n, at = indexAt(frame, plane.normal, state.cursor[plane.normal]);
    const stride = [1, nx, nx * ny], width = frame.n[plane.across], height = frame.n[plane.down];
    const image = new ImageData(width, height), pixels = image.data;
    let to = 0;
    for (let v = 0; v < height; v += 1) {
      let from = at * stride[plane.normal] + v * stride[plane.down];
      for (let u = 0; u < width; u += 1, to += 4, from += stride[plane.across]) paint(pixels, to, from);
    }
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  };
  const greys = () => {
    const gain = Number($("contrast").value) / 100;
    return Uint8ClampedArray.from({ length: 256 }, (_, v) => 128 + (v - 128) * gain);
  };
  const drawSlice = (context, slice, frame, plane, view) => {
    const a = plane.across, d = plane.down;
    context.drawImage(slice, (frame.low[a] - view.left) * view.scale, (frame.low[d] - view.top) * view.scale,
      (frame.high[a] - frame.low[a]) * view.scale, (frame.high[d] - frame.low[d]) * view.scale);
  };
  const stroke = (context, color, width) => {
    context.strokeStyle = luminance(color) < 0.45 ? "rgba(255,255,255,.75)" : "rgba(0,0,0,.6)";
    context.lineWidth = width + 1.8; context.stroke();
    context.strokeStyle = rgb(color); context.lineWidth = width; context.stroke();
  };
  const FOUND = [62, 207, 155], WRONG = [255, 120, 40], MISSED = [250, 215, 60];
  const eachMark = (run, visit) => {
    objects.forEach((o, k) => {
      if (!state.visible[k]) return;
      const points = run.points[k], picks = numPicks(points, state.thresholds[k]);
      if ($("show-truth").checked) {
        for (let i = 0; i < points.finders.length; i += 1) visit({ kind: "truth", k, i, at: points.truth.subarray(3 * i, 3 * i + 3), missed: isMissed(points, i, picks) });
      }
      if ($("show-picks").checked) {
        for (let i = picks - 1; i >= 0; i -= 1) visit({ kind: "pick", k, i, at: points.positions.subarray(3 * i, 3 * i + 3), wrong: run.hasTruth && !points.gains[i] });
      }
    });
  };
  const drawMark = (context, mark, x, y, reach) => {
    const outcome = state.colour === "outcome" && runs[state.run].hasTruth, objectColor = objects[mark.k].color;
    context.beginPath();
    if (mark.kind === "pick") {
      context.setLineDash(mark.wrong ? [4, 3] : []);
      context.arc(x, y, Math.max(reach, 2.5), 0, 2 * Math.PI);
      stroke(context, outcome ? (mark.wrong ? WRONG : FOUND) : objectColor, 1.7);
      context.setLineDash([]);
      return;
    }
    const color = outcome ? (mark.missed ? MISSED : FOUND) : objectColor, arm = mark.missed ? 5 : 3;
    if (mark.missed) { context.moveTo(x - arm, y - arm); context.lineTo(x + arm, y + arm); context.moveTo(x + arm, y - arm); context.lineTo(x - arm, y + arm); }
    else { context.moveTo(x - arm, y); context.lineTo(x + arm, y); context.moveTo(x, y - arm); context.lineTo(x, y + arm); }
    stroke(context, color, mark.missed ? 2 : 1.4);
  };
  const isSelected = (mark) => state.selected && state.selected.kind === mark.kind && state.selected.k === mark.k && state.selected.i === mark.i;
  const drawPlane = (plane) => {
    const context = plane.canvas.getContext("2d"), view = windowOf(plane), tones = greys(), run = runs[state.run];
    context.setTransform(plane.ratio, 0, 0, plane.ratio, 0, 0);
    context.clearRect(0, 0, plane.width, plane.height);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    const { grey, frame, scores } = current;
    drawSlice(context, sliceOf(frame, plane, (pixels, to, from) => {
      const tone = tones[grey[from]];
      pixels[to] = tone; pixels[to + 1] = tone; pixels[to + 2] = tone; pixels[to + 3] = 255;
    }), frame, plane, view);
    if (scores && $("show-scores").checked) {
      const strength = Number($("strength").value) / 100;
      drawSlice(context, sliceOf(scores.frame, plane, (pixels, to, from) => {
        const k = scores.which[from];
        if (!scores.level[from] || !state.visible[k] || !objects[k]) return;
        const [red, green, blue] = objects[k].color;
        pixels[to] = red; pixels[to + 1] = green; pixels[to + 2] = blue; pixels[to + 3] = scores.level[from] * strength;
      }), scores.frame, plane, view);
    }
    plane.hits = [];
    eachMark(run, (mark) => {
      const away = Math.abs(mark.at[plane.normal] - state.cursor[plane.normal]), radius = objects[mark.k].radius;
      const near = mark.kind === "truth" ? away <= Math.max(radius * 0.5, current.frame.step[plane.normal]) : away < radius;
      if (!near) return;
      const x = (mark.at[plane.across] - view.left) * view.scale, y = (mark.at[plane.down] - view.top) * view.scale;
      const reach = Math.sqrt(Math.max(0, radius * radius - away * away)) * view.scale;
      if (x < -reach || y < -reach || x > plane.width + reach || y > plane.height + reach) return;
      drawMark(context, mark, x, y, reach);
      plane.hits.push({ mark, x, y, reach: mark.kind === "pick" ? Math.max(reach, 7) : 7 });
      if (isSelected(mark)) {
        context.beginPath(); context.arc(x, y, Math.max(reach, 6) + 4, 0, 2 * Math.PI);
        context.strokeStyle = "#fff"; context.lineWidth = 1.5; context.stroke();
      }
    });
    drawCross(context, plane, view);
    if (plane.id === "xy") drawBar(context, plane, view);
  };
  const drawCross = (context, plane, view) => {
    const x = (state.cursor[plane.across] - view.left) * view.scale, y = (state.cursor[plane.down] - view.top) * view.scale;
    context.strokeStyle = "rgba(120,190,255,.55)"; context.lineWidth = 1; context.setLineDash([2, 4]);
    context.beginPath(); context.moveTo(x, 0); context.lineTo(x, plane.height); context.moveTo(0, y); context.lineTo(plane.width, y); context.stroke();
    context.setLineDash([]);
  };
  const drawBar = (context, plane, view) => {
    const length = [10, 20, 50, 100, 200, 500].filter((nm) => nm * 10 * view.scale < plane.width / 3).pop() || 5;
    const width = length * 10 * view.scale, y = plane.height - 12;
    context.fillStyle = "rgba(0,0,0,.55)"; context.fillRect(6, y - 20, width + 14, 28);
    context.fillStyle = "#fff"; context.fillRect(13, y, width, 3);
    context.font = "11px system-ui, sans-serif"; context.textAlign = "center"; context.fillText(`${length} nm`, 13 + width / 2, y - 6);
  };
  const AXES = ["x", "y", "z"];
  const drawSliders = () => {
    fill($("sliders"), [2, 1, 0].map((axis) => {
      const { n, origin, step } = current.frame, at = indexAt(current.frame, axis, state.cursor[axis]);
      const input = make("input", { type: "range", min: 0, max: n[axis] - 1, value: at, id: `slice-${AXES[axis]}`, "aria-label": `Slice along ${AXES[axis]}`,
        oninput: (e) => { state.cursor[axis] = origin[axis] + Number(e.target.value) * step[axis]; drawViewer(); } });
      return make("label", {}, AXES[axis], input, make("output", { id: `at-${AXES[axis]}` }));
    }));
  };
  const moveSliders = () => {
    for (let axis = 0; axis < 3; axis += 1) {
      const input = $(`slice-${AXES[axis]}`), at = indexAt(current.frame, axis, state.cursor[axis]);
      if (Number(input.value) !== at) input.value = at;
      $(`at-${AXES[axis]}`).textContent = `${(state.cursor[axis] / 10).toFixed(1)} nm · ${at + 1}/${current.frame.n[axis]}`;
    }
  };
  const drawViewer = () => {
    if (!current || !layout) return;
    layout.planes.forEach(drawPlane);
    moveSliders();
  };
  const drawLegend = () => {
    const run = runs[state.run], hasTruth = run.hasTruth;
    const head = make("tr", {}, make("th", {}, ""), (hasTruth ? ["found", "wrong", "missed"] : ["picks"]).map((t) => make("th", {}, t)));
    fill($("legend"), [head, ...objects.map((o, k) => {
      const c = countsIn(run, k, state.thresholds[k]);
      const box = make("input", { type: "checkbox", checked: state.visible[k], "aria-label": `Show ${o.name}`, onchange: (e) => { state.visible[k] = e.target.checked; drawViewer(); } });
      return make("tr", {}, make("td", {}, make("label", { className: "name", title: o.name }, box, dot(o), make("span", {}, o.name))),
        hasTruth ? [make("td", { className: "found" }, String(c.tp)), make("td", { className: "wrong" }, String(c.fp)), make("td", { className: "missed" }, String(c.fn))]
          : make("td", {}, String(c.picks)));
    })]);
    $("key").textContent = hasTruth ? "Circles are picks: found solid, wrong dashed. Truth: + found, × missed. Click a pick, or anywhere to go there."
      : "Circles are picks. Click one, or anywhere to go there.";
  };
  const showRun = async (i) => {
    state.run = i; state.selected = null;
    const run = runs[i];
    $("run").value = String(i);
    $("loading").hidden = false;
    $("loading").textContent = "Unpacking the tomogram …";
    drawLegend(); drawDetail();
    const loaded = await load(i).catch((error) => { $("loading").textContent = error.message; return undefined; });
    if (state.run !== i || loaded === undefined) return;
    current = loaded;
    $("show-scores").disabled = !(loaded && loaded.scores);
    if (!loaded) { $("loading").textContent = "This run has no tomogram to show."; $("run-note").textContent = ""; return; }
    $("loading").hidden = true;
    const { low, high } = loaded.frame;
    state.cursor = low.map((l, a) => (l + high[a]) / 2);
    const fullest = fullestHeight(run);
    if (fullest !== null) state.cursor[2] = Math.min(Math.max(fullest, low[2]), high[2]);
    const scale = run.binned === 1 ? "at its own voxels" : `${run.binned}³ voxels in one`;
    $("run-note").textContent = `${run.role}. Tomogram ${run.tomogram}, ${[...run.shape].reverse().join(" × ")} voxels of ${run.spacing[2].toFixed(2)} Å; shown ${scale}, in 8 bits, as WebP of quality ${run.quality}.${loaded.scores ? " Score map: the highest score of each voxel, in 15 steps, in the colour of its object." : " No score map of networks that were not trained on this run."}`;
    drawSliders(); measure(); drawViewer();
  
  };
  /** Return the height near which most particles, or else picks, lie. */
  const fullestHeight = (run) => {
    const heights = [];
    run.points.forEach((points, k) => {
      const from = run.hasTruth ? points.truth : points.positions.subarray(0, 3 * numPicks(points, state.thresholds[k]));
      for (let i = 2; i < from.length; i += 3) heights.push(from[i]);
    });
    let best = null, most = -1;
    for (const h of heights) {
      const near = heights.reduce((s, other) => s + (Math.abs(other - h) < 60), 0);
      if (near > most) { most = near; best = h; }
    }
    return best;
  };

  // ---------------------------------------------------------------- details of a pick
  const positionOf = (mark) => [...(mark.kind === "pick" ? runs[state.run].points[mark.k].positions : runs[state.run].points[mark.k].truth).subarray(3 * mark.i, 3 * mark.i + 3)];
  const select = (mark) => {
    state.selected = { kind: mark.kind, k: mark.k, i: mark.i };
    state.cursor = positionOf(mark);
    drawViewer(); drawDetail();
  };
  const distance = (a, b, i) => Math.hypot(a[0] - b[3 * i], a[1] - b[3 * i + 1], a[2] - b[3 * i + 2]);
  const nearestOf = (at, list) => {
    let best = null;
    for (let i = 0; i < list.length / 3; i += 1) {
      const d = distance(at, list, i);
      if (!best || d < best.d) best = { i, d };
    }
    return best;
  };
  const outcomeOf = (mark) => {
    const run = runs[state.run], points = run.points[mark.k], picks = numPicks(points, state.thresholds[mark.k]), o = objects[mark.k], at = positionOf(mark);
    if (mark.kind === "truth") {
      if (!isMissed(points, mark.i, picks)) return ["found", `found from a threshold of ${shown(points.scores[points.finders[mark.i]])} down`];
      return ["missed", points.finders[mark.i] < 0 ? "missed at every threshold" : `missed; found from a threshold of ${shown(points.scores[points.finders[mark.i]])} down`];
    }
    if (mark.i >= picks) return ["", "below the threshold now"];
    if (!run.hasTruth) return ["", "a pick; there is no truth in this run"];
    const near = nearestOf(at, points.truth);
    const far = near ? `${near.d.toFixed(0)} Å` : "none";
    if (points.gains[mark.i]) return ["found", `found: a particle ${far} away`];
    const why = near && near.d <= o.tolerance ? `wrong: the particle ${far} away belongs to a better pick` : `wrong: no particle within ${o.tolerance.toFixed(0)} Å (nearest ${far})`;
    return ["wrong", why];
  };
  const drawDetail = () => {
    const mark = state.selected, host = $("detail");
    if (!mark || !current) { fill(host, [make("p", { className: "note" }, "No pick is selected.")]); return; }
    const run = runs[state.run], o = objects[mark.k], points = run.points[mark.k], at = positionOf(mark), [kind, text] = outcomeOf(mark);
    const crops = [["XY", 0, 1, 2], ["XZ", 0, 2, 1], ["YZ", 1, 2, 0]].map(([name, across, down, normal]) => {
      const canvas = make("canvas", { width: 180, height: 180 });
      drawCrop(canvas, { across, down, normal }, at, o);
      return make("figure", {}, canvas, make("figcaption", {}, name));
    });
    const rivals = [];
    objects.forEach((other, k) => {
      if (k === mark.k) return;
      const near = nearestOf(at, run.points[k].positions);
      if (near && near.d <= Math.max(o.radius, other.radius) * 0.7) rivals.push(`${other.name} ${shown(run.points[k].scores[near.i])} (${near.d.toFixed(0)} Å)`);
    });
    const row = (term, ...value) => [make("dt", {}, term), make("dd", {}, ...value)];
    const step = (by) => {
      const picks = mark.kind === "pick" ? numPicks(points, state.thresholds[mark.k]) : points.finders.length;
      if (picks) select({ ...mark, i: (mark.i + by + picks) % picks });
    };
    fill(host, [
      make("h3", { id: "picked" }, dot(o), mark.kind === "pick" ? `${o.name}, pick ${mark.i + 1}` : `${o.name}, particle ${mark.i + 1} of the truth`),
      make("div", { className: "crops" }, crops),
      make("dl", {},
        mark.kind === "pick" ? row("chance", make("b", { id: "picked-score" }, shown(points.scores[mark.i])), ` (threshold ${shown(state.thresholds[mark.k])})`) : [],
        row("outcome", make("span", { className: kind, id: "picked-outcome" }, text)),
        row("x, y, z", at.map((v) => v.toFixed(1)).join(", "), " Å"),
        rivals.length ? row("also here", rivals.join("; ")) : []),
      make("div", { className: "row" }, make("button", { type: "button", onclick: () => step(-1) }, "‹ better"), make("button", { type: "button", onclick: () => step(1) }, "worse ›")),
    ]);
  };
  const drawCrop = (canvas, plane, at, o) => {
    const saved = state.cursor, size = canvas.width, reach = Math.max(2.5 * o.radius, 12 * current.frame.step[0]), scale = size / (2 * reach), tones = greys();
    state.cursor = at;
    const context = canvas.getContext("2d"), view = { left: at[plane.across] - reach, top: at[plane.down] - reach, scale };
    context.imageSmoothingQuality = "high";
    drawSlice(context, sliceOf(current.frame, plane, (pixels, to, from) => {
      const tone = tones[current.grey[from]];
      pixels[to] = tone; pixels[to + 1] = tone; pixels[to + 2] = tone; pixels[to + 3] = 255;
    }), current.frame, plane, view);
    context.beginPath(); context.arc(size / 2, size / 2, o.radius * scale, 0, 2 * Math.PI);
    stroke(context, o.color, 2);
    state.cursor = saved;
  };
  const clicked = (plane, event) => {
    if (!current) return;
    const box = plane.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null;
    for (const hit of plane.hits || []) {
      const d = Math.hypot(hit.x - x, hit.y - y);
      // A pick under the pointer goes before the truth in its middle.
      const rank = d + (hit.mark.kind === "truth" ? 1e4 : 0);
      if (d <= hit.reach && (!best || rank < best.rank)) best = { ...hit, rank };
    }
    if (best) { select(best.mark); return; }
    const view = windowOf(plane);
    state.cursor[plane.across] = view.left + x / view.scale;
    state.cursor[plane.down] = view.top + y / view.scale;
    state.selected = null;
    drawViewer(); drawDetail();
  };

  // ---------------------------------------------------------------- reliability
  const drawReliability = () => {
    const reliability = data.scores?.reliability ?? {}, drawn = objects.filter((o) => reliability[o.name]?.num.length);
    $("reliability").hidden = !drawn.length;
    fill($("reliabilities"), drawn.map((o) => {
      const { chance, right, num, error } = reliability[o.name], box = { x: 24, y: 6, w: S - 30, h: S - 32 }, most = Math.max(...num);
      const svg = draw("svg", { viewBox: `0 0 ${S} ${S}`, role: "img", "aria-label": `Share of the picks of ${o.name} that is right, by their chance` });
      const at = (x, y) => [box.x + x * box.w, box.y + (1 - y) * box.h];
      const text = (content, x, y, anchor, turn) => {
        const node = draw("text", { x, y, "text-anchor": anchor, ...(turn ? { transform: `rotate(-90 ${x} ${y})` } : {}) });
        node.textContent = content;
        svg.append(node);
      };
      svg.append(draw("path", { class: "axis", fill: "none", d: `M${box.x},${box.y}h${box.w}v${box.h}h${-box.w}z` }),
        draw("path", { class: "initial", d: `M${at(0, 0)}L${at(1, 1)}` }));
      text("0", box.x, S - 15, "middle"); text("chance", box.x + box.w / 2, S - 14, "middle"); text("1", box.x + box.w, S - 15, "middle");
      text("1", box.x - 4, box.y + 8, "end"); text("right", box.x - 8, box.y + box.h / 2, "middle", true);
      svg.append(draw("path", { class: "line", stroke: inked(o.color), d: `M${chance.map((c, i) => at(c, right[i])).join("L")}` }));
      chance.forEach((c, i) => {
        const [cx, cy] = at(c, right[i]);
        svg.append(draw("circle", { cx, cy, r: 2 + 3.5 * Math.sqrt(num[i] / most), fill: inked(o.color) }));
      });
      const picks = num.reduce((s, n) => s + n, 0), mark = isEstimate(o) ? "~" : "";
      return make("div", {}, make("h3", {}, named(o)), svg, make("p", { className: "note" }, `error ${mark}${number(error)}, ${picks} pick${picks === 1 ? "" : "s"}`));
    }));
  };

  // ---------------------------------------------------------------- gallery
  const STRIP_LENGTH = 16, more = { found: STRIP_LENGTH, wrong: STRIP_LENGTH, missed: STRIP_LENGTH };
  const itemsOf = (k, among) => {
    const out = { found: [], wrong: [], missed: [] };
    for (const i of among) {
      const run = runs[i], points = run.points[k], picks = numPicks(points, state.thresholds[k]);
      for (let p = 0; p < picks; p += 1) out[!run.hasTruth || points.gains[p] ? "found" : "wrong"].push({ run: i, kind: "pick", k, i: p, score: points.scores[p] });
      for (let t = 0; t < points.finders.length; t += 1) {
        if (isMissed(points, t, picks)) out.missed.push({ run: i, kind: "truth", k, i: t, score: points.finders[t] < 0 ? -1 : points.scores[points.finders[t]] });
      }
    }
    for (const list of Object.values(out)) list.sort((a, b) => b.score - a.score);
    return out;
  };
  const sheets = new Map();
  const sheetOf = (run, k) => {
    const key = `${run}/${k}`, crops = blockOf(run).crops[k];
    if (!sheets.has(key)) sheets.set(key, crops && crops.picture ? imageOf(crops.picture) : Promise.resolve(null));
    return sheets.get(key);
  };
  const thumbOf = (item) => {
    const crops = blockOf(item.run).crops[item.k], o = objects[item.k];
    const place = item.kind === "pick" ? (item.i < crops?.candidates ? item.i : -1) : (item.i < crops?.truth ? crops.candidates + item.i : -1);
    const canvas = make("canvas", { width: 164, height: 164 });
    if (place >= 0) {
      sheetOf(item.run, item.k).then((sheet) => {
        const context = canvas.getContext("2d"), n = crops.size, size = canvas.width;
        context.imageSmoothingQuality = "high";
        context.drawImage(sheet, (place % crops.columns) * n, Math.floor(place / crops.columns) * n, n, n, 0, 0, size, size);
        context.beginPath(); context.arc(size / 2, size / 2, size / 4, 0, 2 * Math.PI);
        context.lineWidth = 1.5; context.strokeStyle = "rgba(255,255,255,.28)"; context.stroke();
      }).catch(() => undefined);
    }
    const text = item.score < 0 ? "never found" : shown(item.score);
    return make("button", { type: "button", title: `${runs[item.run].name}: ${o.name}, show it`, onclick: () => goTo(item) }, canvas, make("span", {}, text));
  };
  const goTo = async (item) => {
    if (item.run !== state.run) await showRun(item.run);
    select(item);
    $("tomograms").scrollIntoView({ behavior: "smooth" });
  };
  const drawGallery = () => {
    const k = state.gallery, among = $("gallery-runs").value === "this" ? [state.run] : runs.map((r, i) => i).filter((i) => state.inTotals[i]);
    const hasTruth = among.some((i) => runs[i].hasTruth), items = itemsOf(k, among);
    const strip = (key, title, note) => make("div", { className: "strip", id: `strip-${key}` },
      make("h3", { className: hasTruth ? key : "" }, `${title}: ${items[key].length}`), make("p", { className: "note" }, note),
      make("div", { className: "thumbs" }, items[key].slice(0, more[key]).map(thumbOf),
        items[key].length > more[key] && make("button", { type: "button", className: "more", onclick: () => { more[key] += 3 * STRIP_LENGTH; drawGallery(); } }, `${items[key].length - more[key]} more`)));
    fill($("strips"), hasTruth ? [
      strip("found", "Found", "True positives, the highest chance first."),
      strip("wrong", isEstimate(objects[k]) ? "Not annotated" : "Wrong", isEstimate(objects[k])
        ? "Picks where nobody marked a particle, the highest chance first: particles that were left out, and false positives."
        : "False positives, the highest chance first: check whether the truth is complete."),
      strip("missed", "Missed", "Particles of the truth without a pick; below, the threshold at which they would be found."),
    ] : [strip("found", "Picks", "The highest chance first; there is no truth to score them with.")]);
    $("strips").append(make("p", { className: "note" }, `Slabs half a radius thick at the tomogram’s own voxels, four radii wide; the ring is the object’s radius (${objects[k].radius} Å).`));
  };

  // ---------------------------------------------------------------- training
  const chart = (title, lines) => {
    const kept = lines.map((line) => ({ ...line, points: line.epoch.map((e, i) => [e, line.value[i]]).filter((p) => p[1] !== null) })).filter((l) => l.points.length);
    if (!kept.length) return null;
    const all = kept.flatMap((l) => l.points), xs = all.map((p) => p[0]), ys = all.map((p) => p[1]);
    const right = Math.max(1, ...xs), top = Math.max(...ys) <= 1 && lines[0].unit ? 1 : Math.max(...ys), bottom = Math.min(0, ...ys);
    const at = ([x, y]) => [34 + (x / right) * 260, 8 + (1 - (y - bottom) / (top - bottom || 1)) * 120];
    const svg = draw("svg", { viewBox: "0 0 300 158", role: "img", "aria-label": title });
    for (const share of [0, 0.5, 1]) {
      const value = bottom + share * (top - bottom), [, y] = at([0, value]);
      svg.append(draw("line", { class: "axis", x1: 34, x2: 294, y1: y, y2: y }));
      const label = draw("text", { x: 30, y: y + 3, "text-anchor": "end" });
      label.textContent = Number(value.toPrecision(3));
      svg.append(label);
    }
    for (const share of [0, 0.5, 1]) {
      const label = draw("text", { x: 34 + share * 260, y: 142, "text-anchor": "middle" });
      label.textContent = Math.round(share * right);
      svg.append(label);
    }
    const caption = draw("text", { x: 164, y: 155, "text-anchor": "middle" });
    caption.textContent = "epoch";
    svg.append(caption);
    for (const line of kept) {
      if (line.points.length === 1) { const [cx, cy] = at(line.points[0]); svg.append(draw("circle", { cx, cy, r: 3, fill: line.color })); }
      else svg.append(draw("path", { class: "line", stroke: line.color, d: `M${line.points.map((p) => at(p).map((v) => v.toFixed(1)).join(",")).join("L")}` }));
    }
    const keys = kept.length > 1 ? make("div", { className: "keys" }, kept.map((line) => { const i = make("i"); i.style.background = line.color; return make("span", {}, i, line.name); })) : null;
    return make("div", {}, make("h4", {}, title), svg, keys);
  };
  const WHEEL = ["#0b84c9", "#d9730d", "#2f9e5b", "#b5408f", "#8a6fd1", "#b8a000", "#5b8f9e", "#c04848"];
  const drawTraining = () => {
    const { metrics, note, splits, pictures } = data.training, folds = Object.keys(metrics);
    const named_ = (fold) => fold || "training";
    const series = (fold, key) => metrics[fold]?.[key];
    const across = (key) => folds.flatMap((fold, i) => (series(fold, key) ? [{ ...series(fold, key), name: named_(fold), color: WHEEL[i % WHEEL.length], unit: key !== "train_loss" }] : []));
    const within = (prefix) => objects.flatMap((o) => { const values = series($("fold").value, prefix + o.name); return values ? [{ ...values, name: o.name, color: inked(o.color), unit: true }] : []; });
    if (folds.some((fold) => Object.keys(metrics[fold]).length)) {
      $("curves").hidden = false;
      $("metrics-note").textContent = note;
      $("fold-choice").hidden = folds.length < 2;
      if (!$("fold").children.length) fill($("fold"), folds.map((fold) => make("option", { value: fold }, named_(fold))));
      fill($("charts"), [chart("loss", across("train_loss")), chart("validation: weighted F-beta of picks", across("object_fbeta")),
        chart(`F-beta of picks by object${folds.length > 1 ? `, ${$("fold").value}` : ""}`, within("object_fbeta_")), chart(`voxel F1 by object${folds.length > 1 ? `, ${$("fold").value}` : ""}`, within("f1_")), chart("learning rate", across("learning_rate").map((l) => ({ ...l, unit: false })))]);
    }
    const parts = Object.keys(splits);
    if (parts.length) {
      $("split").hidden = false;
      const names = [...new Set(parts.flatMap((p) => Object.values(splits[p]).flat()))].sort();
      const partOf = (name, fold) => ["train", "validation", "test"].find((part) => (splits[fold][part] || []).includes(name));
      fill($("split-table"), [make("tr", {}, make("th", {}, "run"), parts.map((p) => make("th", {}, named_(p)))),
        ...names.map((name) => make("tr", {}, make("td", {}, name), parts.map((p) => { const part = partOf(name, p); return make("td", {}, part ? make("span", { className: `part ${part}` }, part) : "–"); })))]);
    }
    if (pictures.length) {
      $("sweep").hidden = false;
      fill($("pictures"), pictures.map((p) => make("figure", {}, make("img", { src: p.picture, alt: p.name, loading: "lazy" }), make("figcaption", {}, p.name))));
    }
    $("training").hidden = $("curves").hidden && $("split").hidden && $("sweep").hidden;
  };

  // ---------------------------------------------------------------- commands to copy, provenance
  const copyBox = (id, title) => {
    const text = make("pre", { id });
    const button = make("button", { type: "button", onclick: async () => {
      try { await navigator.clipboard.writeText(text.textContent); }
      catch { const range = document.createRange(); range.selectNodeContents(text); getSelection().removeAllRanges(); getSelection().addRange(range); document.execCommand("copy"); }
      button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1200);
    } }, "Copy");
    return make("div", { className: "copy" }, make("div", { className: "row" }, make("h3", {}, title), button), text);
  };
  const drawCommands = () => {
    fill($("commands"), [copyBox("command-chimerax", "ChimeraX, with ChimeraX-copick: in its command line"), copyBox("command-napari", "napari, with napari-copick"),
      copyBox("command-localize", "octopi: the picks at the thresholds above, into the project"), copyBox("command-evaluate", "octopi: their scores")]);
    $("command-chimerax").textContent = data.commands.chimerax;
    $("command-napari").textContent = data.commands.napari;
    $("command-evaluate").textContent = `octopi evaluate ${data.commands.project}`;
    updateCommands();
  };
  const updateCommands = () => {
    const thresholds = objects.map((o, k) => `${o.name}:${Number(state.thresholds[k].toPrecision(7))}`).join(",");
    $("command-localize").textContent = ["octopi localize", data.commands.project, data.commands.checkpoint, `'thresholds={${thresholds.replaceAll("'", "'\\''")}}'`].filter(Boolean).join(" ");
  };

  // ---------------------------------------------------------------- start
  let waiting = false;
  const soon = () => { // draw once for many slider steps
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; refresh(); });
  };
  const refresh = () => {
    drawOverview(); drawLegend(); drawViewer(); updateCommands();
    if (state.selected) drawDetail();
    clearTimeout(refresh.later);
    refresh.later = setTimeout(drawGallery, 120);
  };
  const update = () => { objects.forEach((o, k) => drawPlots(k)); refresh(); };
  const recolour = () => { update(); drawReliability(); if (data.training) drawTraining(); };

  $("title").textContent = data.title;
  $("subtitle").textContent = data.subtitle;
  startTheme($("theme"), recolour);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  fill($("run"), runs.map((run, i) => make("option", { value: i }, `${run.name} (${run.role})`)));
  $("run").addEventListener("change", (e) => { showRun(Number(e.target.value)).then(drawGallery); });
  const turn = (by) => { showRun((state.run + by + runs.length) % runs.length).then(drawGallery); };
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("zoom").addEventListener("change", (e) => { state.zoom = Number(e.target.value); drawViewer(); });
  for (const id of ["show-picks", "show-truth", "show-scores", "strength"]) $(id).addEventListener("input", drawViewer);
  $("contrast").addEventListener("input", () => { drawViewer(); drawDetail(); });
  $("colour").addEventListener("change", (e) => { state.colour = e.target.value; drawViewer(); });
  for (const id of ["xy", "yz", "xz"]) {
    const canvas = $(`plane-${id}`).firstElementChild, planeOf = () => layout?.planes.find((plane) => plane.id === id);
    canvas.addEventListener("click", (event) => { const plane = planeOf(); if (plane) clicked(plane, event); });
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key], plane = planeOf();
      if (!by || !plane || !current) return;
      event.preventDefault();
      const { low, high, step } = current.frame, a = plane.normal;
      state.cursor[a] = Math.min(Math.max(state.cursor[a] + by * step[a], low[a] + step[a] / 2), high[a] - step[a] / 2);
      drawViewer();
    });
  }
  fill($("gallery-object"), objects.map((o, k) => make("option", { value: k }, o.name)));
  $("gallery-object").value = String(state.gallery);
  $("gallery-object").addEventListener("change", (e) => { state.gallery = Number(e.target.value); Object.assign(more, { found: STRIP_LENGTH, wrong: STRIP_LENGTH, missed: STRIP_LENGTH }); drawGallery(); });
  $("gallery-runs").addEventListener("change", drawGallery);
  $("fold").addEventListener("change", drawTraining);
  fill($("provenance-table"), data.provenance.map(([name, text]) => make("tr", {}, make("td", {}, name), make("td", {}, text))));
  drawReliability();
  if (data.training) drawTraining();
  fill($("nav"), [...document.querySelectorAll("section[data-nav]:not([hidden])")].map((s) => make("a", { href: `#${s.id}` }, s.dataset.nav)));
  drawOperatingPoints(); drawTotalsRuns(); drawCards(); drawCommands(); drawOverview();
  let resizing;
  new ResizeObserver(() => { clearTimeout(resizing); resizing = setTimeout(() => { measure(); drawViewer(); }, 60); }).observe($("planes").parentElement);
  const first = runs.findIndex((run) => run.inTotals && run.hasTruth);
  showRun(Math.max(0, first)).then(() => { drawGallery(); document.documentElement.dataset.ready = "yes"; });
})();
