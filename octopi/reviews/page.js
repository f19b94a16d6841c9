"use strict";
(() => {
  // ---------------------------------------------------------------- data
  const data = JSON.parse(document.getElementById("content").textContent);
  const { objects, cards, pixels } = data;
  const mistakes = new Map(data.mistakes), runNames = [...mistakes.keys()]; // an object would sort numbers
  const numberOf = new Map(objects.map((o, k) => [o.name, k]));
  const cardsOf = new Map(runNames.map((name) => [name, []]));
  cards.forEach((card, i) => cardsOf.get(card.run_name).push(i));
  let pictures = null; // parsed once, decoded only around the place that is shown

  // ---------------------------------------------------------------- small helpers
  const $ = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key in node) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };
  const draw = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const rgb = (color) => `rgb(${color.map(Number).join(",")})`;
  const shown = (chance) => (chance > 0.995 ? "> 0.99" : chance < 0.005 ? "< 0.01" : chance.toFixed(2));
  const dot = (k) => { const node = make("span", { className: "dot" }); node.style.background = rgb(objects[k].color); return node; };

  // ---------------------------------------------------------------- what is decided, and kept
  const KEY = `octopi-review-${data.id}`, KINDS = ["accept", "reject", "relabel", "skip"];
  const state = { at: 0, decisions: new Map(), history: [], saved: false };
  const isDecision = (d) => d !== null && typeof d === "object" && KINDS.includes(d.kind) && (d.kind !== "relabel" || objects[d.to] !== undefined);
  const isCard = (i) => Number.isInteger(i) && i >= 0 && i < cards.length;
  const remember = () => {
    try {
      localStorage.setItem(KEY, JSON.stringify({ at: state.at, decisions: [...state.decisions], history: state.history.slice(-500), saved: state.saved }));
      return true;
    } catch { return false; }
  };
  const recall = () => {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY));
      for (const [i, decision] of stored.decisions) if (isCard(i) && isDecision(decision)) state.decisions.set(i, decision);
      state.history = stored.history.filter(([i, before]) => isCard(i) && (before === null || isDecision(before)));
      if (isCard(stored.at)) state.at = stored.at;
      state.saved = stored.saved === true;
    } catch { /* nothing is stored, or not by this page */ }
  };
  const decide = (kind, to = null) => {
    if (!cards.length) return;
    const decision = kind === "relabel" ? { kind, to } : { kind };
    state.history.push([state.at, state.decisions.get(state.at) ?? null]);
    state.decisions.set(state.at, decision);
    state.saved = false;
    const next = nextOpen(state.at, 1);
    if (next !== null) state.at = next;
    keep();
  };
  const relabel = (k) => { if (cards[state.at]) { if (objects[k].name === cards[state.at].object_name) decide("accept"); else decide("relabel", k); } };
  const undo = () => {
    const last = state.history.pop();
    if (!last) return;
    const [i, before] = last;
    if (before === null) state.decisions.delete(i); else state.decisions.set(i, before);
    state.at = i;
    state.saved = false;
    keep();
  };
  const nextOpen = (from, step) => {
    for (let n = 1; n < cards.length; n += 1) {
      const i = (from + n * step + n * cards.length) % cards.length;
      if (!state.decisions.has(i)) return i;
    }
    return null;
  };
  const go = (i) => { if (isCard(i)) { state.at = i; keep(); } };
  let stores = true;
  const keep = () => { stores = remember(); soon(); };

  // ---------------------------------------------------------------- pictures
  const decoded = new Map();
  const pictureOf = (i) => {
    if (!decoded.has(i)) {
      pictures ??= JSON.parse($("pictures").textContent);
      const image = new Image();
      image.src = `data:image/webp;base64,${pictures[i]}`;
      const entry = { image, ready: false };
      entry.done = image.decode().then(() => { entry.ready = true; }, () => undefined);
      decoded.set(i, entry);
    }
    return decoded.get(i);
  };
  const BEFORE = 6, AHEAD = 10;
  const forgetFar = () => {
    for (const i of decoded.keys()) if (i < state.at - 3 * BEFORE || i > state.at + 3 * AHEAD) decoded.delete(i);
  };
  const preload = () => { for (let i = state.at - BEFORE; i <= state.at + AHEAD; i += 1) if (isCard(i)) pictureOf(i); };
  /** Paint a plane of a picture; without it, leave the canvas dark until it is decoded. */
  const paint = (canvas, i, plane) => {
    const context = canvas.getContext("2d"), picture = pictureOf(i);
    canvas.dataset.shows = picture.ready ? i : "";
    if (picture.ready) context.drawImage(picture.image, plane * pixels, 0, pixels, pixels, 0, 0, canvas.width, canvas.height);
    else { context.clearRect(0, 0, canvas.width, canvas.height); picture.done.then(soon); }
  };

  // ---------------------------------------------------------------- the place
  const PLANES = [["XY", 0, 1, 2], ["XZ", 0, 2, 1], ["YZ", 1, 2, 0]]; // axes of a point: across, down, through
  const slices = PLANES.map(([name]) => {
    const canvas = make("canvas", { width: pixels, height: pixels }), marks = draw("svg", { "aria-hidden": "true" });
    $("slices").append(make("figure", { id: `slice-${name.toLowerCase()}` }, canvas, marks, make("figcaption", { textContent: name })));
    return { canvas, marks };
  });
  const roundLength = (length) => { const power = 10 ** Math.floor(Math.log10(length)); return [5, 2, 1].find((n) => n * power <= length) * power; };
  const bar = make("div", { className: "scale" });
  $("slice-xy").append(bar);
  const drawMarks = (card, own) => {
    const r = card.reach, radius = objects[own].radius, arm = Math.min(0.22 * radius, 0.06 * r), length = roundLength(0.6 * r);
    bar.style.width = `${(50 * length) / r}%`;
    bar.textContent = `${length} Å`;
    PLANES.forEach(([, across, down, through], p) => {
      const { marks } = slices[p];
      marks.setAttribute("viewBox", `${-r} ${-r} ${2 * r} ${2 * r}`);
      const nodes = [];
      if ($("show-picks").checked) {
        for (const [name, ...offset] of card.nearby) {
          const k = numberOf.get(name), size = k === undefined ? radius : objects[k].radius;
          const left = size ** 2 - offset[through] ** 2;
          if (left <= 0 || Math.hypot(...offset) < 0.25 * radius) continue;
          nodes.push(draw("circle", { class: "other", cx: offset[across], cy: offset[down], r: Math.sqrt(left), stroke: k === undefined ? "#fff" : rgb(objects[k].color) }));
        }
      }
      if ($("show-ring").checked) nodes.push(draw("circle", { class: "ring", cx: 0, cy: 0, r: radius }));
      nodes.push(draw("path", { class: "centre", d: `M${-2 * arm} 0H${-arm}M${arm} 0H${2 * arm}M0 ${-2 * arm}V${-arm}M0 ${arm}V${2 * arm}` }));
      marks.replaceChildren(...nodes);
    });
  };
  const REASONS = {
    uncertain: (card, o) => `The network is not sure: a chance of ${shown(card.chance)}, and picks begin at ${shown(o.threshold)}.`,
    unmarked: (card) => `The network is sure (${shown(card.chance)}), but none is annotated here.`,
    doubted: (card) => (card.chance > 0 ? `Annotated, but the network gives it a chance of ${shown(card.chance)} only.` : "Annotated, but the network sees none here."),
  };
  const VERDICTS = { accept: () => "accepted", reject: () => "rejected", skip: () => "skipped", relabel: (d) => `is ${objects[d.to].name}` };
  const drawChance = (card, o) => {
    const width = 200, x = (share) => share * width;
    const svg = draw("svg", { viewBox: `0 0 ${width} 40` });
    svg.append(
      draw("rect", { class: "track", x: 0, y: 16, width, height: 9, rx: 4.5 }),
      draw("path", { class: "pick", d: `M${x(o.threshold)} 16H${width - 4.5}a4.5 4.5 0 0 1 0 9H${x(o.threshold)}z` }),
      draw("line", { class: "threshold", x1: x(o.threshold), x2: x(o.threshold), y1: 12, y2: 29 }),
      draw("circle", { cx: x(card.chance), cy: 20.5, r: 6.5, fill: rgb(o.color) }),
    );
    const value = draw("text", { class: "value", x: Math.min(Math.max(x(card.chance), 30), width - 30), y: 9, "text-anchor": "middle" });
    value.textContent = `chance ${shown(card.chance)}`;
    const limit = draw("text", { x: Math.min(Math.max(x(o.threshold), 38), width - 38), y: 40, "text-anchor": "middle" });
    limit.textContent = `threshold ${shown(o.threshold)}`;
    svg.append(value, limit);
    $("chance").replaceChildren(svg);
    $("chance").setAttribute("aria-label", `chance ${shown(card.chance)}, threshold ${shown(o.threshold)}`);
  };
  const relabelButtons = objects.map((o, k) => {
    const button = make("button", { type: "button", onclick: () => relabel(k) }, dot(k), make("span", { textContent: o.name }));
    if (k < 9) button.append(make("kbd", { textContent: String(k + 1) }));
    return button;
  });
  $("relabel").append(...relabelButtons);
  const drawPlace = () => {
    const card = cards[state.at], own = numberOf.get(card.object_name), o = objects[own], decision = state.decisions.get(state.at);
    const stamp = decision ? [make("span", { className: `stamp ${decision.kind}`, textContent: VERDICTS[decision.kind](decision) })] : [];
    $("place").dataset.decision = decision ? decision.kind : "";
    $("question").replaceChildren(dot(own), make("span", { textContent: `Is this ${o.name}?` }), ...stamp);
    const other = card.other === null ? "" : ` Or perhaps ${card.other}?`;
    $("reason").textContent = REASONS[card.kind](card, o) + other;
    $("where").textContent = `${card.run_name} · x ${card.position[0].toFixed(0)}, y ${card.position[1].toFixed(0)}, z ${card.position[2].toFixed(0)} Å`;
    drawChance(card, o);
    slices.forEach(({ canvas }, p) => paint(canvas, state.at, p));
    drawMarks(card, own);
    relabelButtons.forEach((button, k) => {
      button.className = objects[k].name === card.other ? "likely" : "";
      button.setAttribute("aria-pressed", String((decision?.kind === "relabel" && decision.to === k) || (decision?.kind === "accept" && k === own)));
    });
    $("undo").disabled = state.history.length === 0;
  };

  // ---------------------------------------------------------------- the places around it
  const AROUND = 6;
  const thumbs = Array.from({ length: 2 * AROUND + 1 }, (_, n) => {
    const canvas = make("canvas", { width: 72, height: 72 });
    const button = make("button", { type: "button", onclick: () => go(state.at + n - AROUND) }, canvas);
    $("strip").append(button);
    return { button, canvas };
  });
  const drawStrip = () => {
    thumbs.forEach(({ button, canvas }, n) => {
      const i = state.at + n - AROUND;
      button.disabled = !isCard(i);
      if (button.disabled) return;
      button.title = `${i + 1}: ${cards[i].object_name}, ${cards[i].run_name}`;
      button.setAttribute("aria-current", String(n === AROUND));
      const kind = state.decisions.get(i)?.kind;
      if (kind) button.dataset.decision = kind; else delete button.dataset.decision;
      paint(canvas, i, 0);
    });
  };

  // ---------------------------------------------------------------- progress
  const COLOURS = { accept: "var(--found)", reject: "var(--wrong)", relabel: "var(--accent)", skip: "var(--grey)" };
  const NAMES = { accept: "accepted", reject: "rejected", relabel: "relabelled", skip: "skipped" };
  const bars = KINDS.map((kind) => { const bar = make("i"); bar.style.background = COLOURS[kind]; $("progress").append(bar); return bar; });
  const tallies = KINDS.map((kind) => {
    const mark = make("span", { className: "dot" }), number = make("b");
    mark.style.background = COLOURS[kind];
    $("tally").append(make("div", {}, make("span", {}, mark, NAMES[kind]), number));
    return number;
  });
  const runRows = runNames.map((name) => {
    const line = make("i"), counts = make("small");
    const button = make("button", { type: "button", title: name, onclick: () => { const of = cardsOf.get(name); go(of.find((i) => !state.decisions.has(i)) ?? of[0]); } },
      make("span", { className: "run-name", textContent: name }), counts, make("span", { className: "line" }, line));
    button.disabled = cardsOf.get(name).length === 0;
    $("runs").append(button);
    return { name, line, counts, button };
  });
  const drawProgress = () => {
    const counts = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
    for (const decision of state.decisions.values()) counts[decision.kind] += 1;
    KINDS.forEach((kind, n) => { bars[n].style.width = `${(100 * counts[kind]) / cards.length}%`; tallies[n].textContent = counts[kind]; });
    const total = state.decisions.size;
    $("count").textContent = `${total} of ${cards.length}`;
    $("progress").setAttribute("aria-label", `${total} of ${cards.length} decided`);
    $("done").hidden = total < cards.length;
    $("save").textContent = state.saved ? "Saved" : "Save";
    $("save").classList.toggle("saved", state.saved);
    $("save").disabled = total - counts.skip === 0;
    $("storage").textContent = stores ? "Progress is kept in this browser." : "This browser keeps nothing for this page: save before you close it.";
    for (const { name, line, counts: text, button } of runRows) {
      const of = cardsOf.get(name), done = of.filter((i) => state.decisions.has(i)).length;
      line.style.width = of.length ? `${(100 * done) / of.length}%` : "0";
      text.textContent = `${done} of ${of.length} · ≈ ${mistakes.get(name).toFixed(0)}`;
      button.setAttribute("aria-current", String(cards[state.at]?.run_name === name));
    }
  };

  // ---------------------------------------------------------------- the file of decisions
  const FILE = `octopi-review-${data.id}.json`;
  const decisionsFile = () => {
    const decided = [...state.decisions].filter(([, d]) => d.kind !== "skip").sort(([a], [b]) => a - b);
    const names = new Set(decided.map(([i]) => cards[i].run_name));
    const runs = Object.fromEntries(Object.entries(data.runs).filter(([name]) => names.has(name)));
    const decisions = decided.map(([i, { kind, to }]) => {
      const { run_name, object_name, position, chance } = cards[i];
      return { run: run_name, object: object_name, position, chance, decision: kind, relabelled: kind === "relabel" ? objects[to].name : null };
    });
    const { format, version, id, picks, annotations } = data;
    return `${JSON.stringify({ format, version, page: id, picks, annotations, objects: objects.map((o) => o.name), runs, num_decisions: decisions.length, decisions }, null, 1)}\n`;
  };
  const save = () => {
    const url = URL.createObjectURL(new Blob([decisionsFile()], { type: "application/json" }));
    const link = make("a", { href: url, download: FILE });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    state.saved = true;
    keep();
  };

  // ---------------------------------------------------------------- start
  let waiting = false;
  const soon = () => { // draw once for many keys
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawAll(); });
  };
  const drawAll = () => {
    drawProgress();
    if (!cards.length) return;
    preload();
    drawPlace();
    drawStrip();
    forgetFar();
  };
  const toggle = (id) => { $(id).checked = !$(id).checked; soon(); };
  const ACTIONS = {
    a: () => decide("accept"), r: () => decide("reject"), s: () => decide("skip"), u: undo, p: () => toggle("show-picks"),
    ArrowLeft: () => go(state.at - 1), ArrowRight: () => go(state.at + 1),
    ArrowUp: () => go(nextOpen(state.at, -1) ?? state.at), ArrowDown: () => go(nextOpen(state.at, 1) ?? state.at),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range") return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = ACTIONS[key] ?? (/^[1-9]$/.test(key) && objects[key - 1] ? () => relabel(key - 1) : null);
    if (!action) return;
    event.preventDefault();
    action();
  });
  startTheme($("theme"));
  $("title").textContent = `${data.title} · review`;
  $("origin").textContent = data.origin;
  $("command").textContent = `${data.command}${FILE}`;
  $("copy").addEventListener("click", async () => {
    const text = $("command");
    try { await navigator.clipboard.writeText(text.textContent); }
    catch { const range = document.createRange(); range.selectNodeContents(text); getSelection().removeAllRanges(); getSelection().addRange(range); document.execCommand("copy"); }
    $("copy").textContent = "Copied"; setTimeout(() => { $("copy").textContent = "Copy"; }, 1200);
  });
  for (const kind of ["accept", "reject", "skip"]) $(kind).addEventListener("click", () => decide(kind));
  $("undo").addEventListener("click", undo);
  $("save").addEventListener("click", save);
  for (const id of ["show-ring", "show-picks"]) $(id).addEventListener("input", soon);
  $("contrast").addEventListener("input", () => { $("slices").style.setProperty("--contrast", `${$("contrast").value}%`); });
  const HELP = [[["A"], "accept"], [["R"], "reject"], [["S"], "skip"], [["U"], "undo"], [["1", "…", "9"], "it is another object"], [["←", "→"], "before, after"], [["↑", "↓"], "not yet decided"], [["P"], "picks nearby"]];
  $("keys").append(...HELP.map(([keys, text]) => make("tr", {}, make("td", {}, ...keys.map((k) => (k === "…" ? " … " : make("kbd", { textContent: k })))), make("td", { textContent: text }))));
  addEventListener("beforeunload", (event) => { if (!stores && !state.saved && state.decisions.size) event.preventDefault(); });
  recall();
  stores = remember();
  drawAll();
  (cards.length ? pictureOf(state.at).done : Promise.resolve()).then(() => { drawAll(); document.documentElement.dataset.ready = "yes"; });
})();
