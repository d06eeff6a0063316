"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const raw = (id) => Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
  const unpack = async (id) => {
    const stream = new Blob([raw(id)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const utf8 = new TextDecoder();
  const meta = JSON.parse(utf8.decode(raw("meta")));
  const el = (tag, props, ...children) => {
    const node = Object.assign(document.createElement(tag), props || {});
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const count = (n) => Math.round(n).toLocaleString("en-US");
  // 99.96 % is not 100.0 %, nor 0.04 % nothing.
  const percent = (x, d = 1) => {
    if (!Number.isFinite(x)) return "–";
    const shown = (100 * x).toFixed(d), step = 10 ** -d;
    if (x > 0 && +shown === 0) return `<${step.toFixed(d)} %`;
    return (x < 1 && +shown >= 100 ? `>${(100 - step).toFixed(d)}` : shown) + " %";
  };

  // Columns of all problems: little-endian numbers, the low bytes of all, then the next ones; then the ids.
  const bytes = await unpack("columns");
  const total = meta.problems;
  let at = 0;
  const take = (Type) => {
    const width = Type.BYTES_PER_ELEMENT, mixed = new Uint8Array(total * width);
    for (let plane = 0; plane < width; plane++)
      for (let i = 0, from = at + plane * total; i < total; i++) mixed[i * width + plane] = bytes[from + i];
    at += total * width;
    return new Type(mixed.buffer);
  };
  const passes = take(Uint16Array), scored = take(Uint16Array), source = take(Uint16Array);
  const bucket = take(Uint8Array), flag = take(Uint8Array), tokens = take(Uint32Array);
  const cut = take(Uint16Array), samples = take(Uint16Array);
  const rate = Float64Array.from(passes, (k, i) => (scored[i] ? k / scored[i] : NaN));
  const statuses = meta.statuses.length ? take(Uint16Array) : null; // of the rollouts of a problem, a bit each
  const pairs = meta.rules && new Map(meta.rules.map(([k, n, bits]) => [k * 65536 + n, bits]));
  // Published rules that keep a problem, a bit each.
  const rules = pairs ? Uint32Array.from(passes, (k, i) => pairs.get(k * 65536 + scored[i])) : take(Uint32Array);
  const ids = meta.integer_ids ? Array.from(take(Int32Array)) : JSON.parse(utf8.decode(bytes.subarray(at)));
  if (meta.integer_ids) for (let i = 1; i < total; i++) ids[i] += ids[i - 1];
  const texts = new Map(JSON.parse(utf8.decode(await unpack("texts"))).map((text) => [text.number, text]));
  const search = (location.search.match(/[?&]token=([^&]*)/) || [])[1];
  const fetched = async (path) => (await fetch(`${path}&token=${search}`)).json();

  // ------------------------------------------------------------------ which problems to train on
  const low = $("low"), high = $("high");
  let rule = null; // a published rule, until a handle is moved
  const keeps = (i) => scored[i] && (rule ? (rules[i] >>> rule.bit) & 1 : rate[i] >= low.value / 100 - 1e-9 && rate[i] <= high.value / 100 + 1e-9);
  const kept = () => {
    const clean = $("unflagged").checked, found = [];
    for (let i = 0; i < total; i++) if (keeps(i) && !(clean && flag[i])) found.push(i);
    return found;
  };
  // New groups of 8 with passes and failures, as the analysis predicts them: the samples that a problem was chosen by
  // flatter it. Unknown where most problems have one sample.
  const informative = (chosen) => {
    let sum = 0, known = 0;
    for (const i of chosen) {
      const kind = `${passes[i]},${scored[i]}`, chance = meta.predicted[`${source[i]},${kind}`] ?? meta.predicted[`-1,${kind}`];
      if (chance !== undefined) { sum += chance; known++; }
    }
    return 2 * known > chosen.length ? sum / known : NaN;
  };
  const explore = () => {
    if (+low.value > +high.value) (document.activeElement === low ? high : low).value = document.activeElement === low ? low.value : high.value;
    const a = low.value / 100, b = high.value / 100, chosen = kept();
    $("low-shown").textContent = percent(a, 0);
    $("high-shown").textContent = percent(b, 0);
    $("kept").textContent = count(chosen.length);
    const all = Array.from({ length: total }, (_, i) => i).filter((i) => scored[i]);
    let sum = 0, every = 0;
    for (const i of chosen) sum += tokens[i] * scored[i];
    for (const i of all) every += tokens[i] * scored[i];
    $("kept-note").textContent =
      `of ${count(all.length)} problems kept (${percent(chosen.length / Math.max(all.length, 1))}); ` +
      `new groups of 8 with passes and failures: ${percent(informative(all), 0)} before, ${percent(informative(chosen), 0)} after` +
      (every ? `; ${percent(sum / every, 0)} of the tokens` : "");
    $("kept-bar").firstChild.style.width = `${(100 * chosen.length) / Math.max(all.length, 1)}%`;
    if (meta.sources.length > 1) {
      const by = new Float64Array(meta.sources.length), of = new Float64Array(meta.sources.length);
      for (const i of chosen) by[source[i]]++;
      for (const i of all) of[source[i]]++;
      $("kept-sources").textContent = meta.sources.map((name, s) => `${name}: ${count(by[s])} of ${count(of[s])}`).join("   ");
    }
    const range = rule ? rule.where : `${a} <= pass_rate <= ${b}`;
    const where = range + ($("unflagged").checked ? " and flag == ''" : "");
    $("command").textContent = `${meta.command} --output train.parquet --where "${where}"`;
  };
  // A published rule also shows as a range of the handles: the smallest and largest rate that it keeps.
  meta.recipes.forEach((recipe, bit) => {
    const button = el("button", { type: "button", textContent: recipe.name, title: `${recipe.where} (${recipe.source})` });
    button.addEventListener("click", () => {
      rule = { where: recipe.where, bit };
      const rates = [...rate].filter((_, i) => keeps(i));
      low.value = Math.floor(100 * rates.reduce((p, q) => Math.min(p, q), rates.length ? 1 : 0));
      high.value = Math.ceil(100 * rates.reduce((p, q) => Math.max(p, q), rates.length ? 0 : 1));
      for (const other of $("recipes").children) other.setAttribute("aria-pressed", other === button);
      explore();
    });
    $("recipes").append(button);
  });
  for (const input of [low, high])
    input.addEventListener("input", () => {
      rule = null;
      for (const other of $("recipes").children) other.setAttribute("aria-pressed", false);
      explore();
    });
  $("unflagged").addEventListener("change", explore);
  $("kept-bar").append(el("i"));
  $("copy").addEventListener("click", async () => {
    const range = document.createRange();
    range.selectNodeContents($("command"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    let done = false;
    try { await navigator.clipboard.writeText($("command").textContent); done = true; } catch { done = document.execCommand("copy"); }
    $("copy").textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => ($("copy").textContent = "Copy"), 1500);
  });

  // ------------------------------------------------------------------ the table: only the rows in sight exist
  const HEIGHT = 34, MOST = 8_000_000; // browsers cap the height of an element
  const columns = [
    ["id", "", (i, j) => (typeof ids[i] === "number" ? ids[i] - ids[j] : ids[i] < ids[j] ? -1 : ids[i] > ids[j] ? 1 : 0)],
    ["bucket", "", (i, j) => bucket[i] - bucket[j]],
    ["passes", "n", (i, j) => (rate[i] || 0) - (rate[j] || 0)],
    ["tokens", "n", (i, j) => tokens[i] - tokens[j]],
    ["cut off", "n", (i, j) => cut[i] - cut[j]],
    ["flag", "", (i, j) => flag[i] - flag[j]],
    ["data source", "", (i, j) => source[i] - source[j]],
  ];
  let order = Uint32Array.from({ length: total }, (_, i) => i), shown = order, sorted = [0, 1], current = -1;
  let hits = new Set(); // problems whose prompt the viewer's server found
  columns.forEach(([name, style], c) => {
    const button = el("button", { type: "button", textContent: name });
    const cell = el("div", { className: style }, button);
    cell.setAttribute("role", "columnheader");
    button.addEventListener("click", () => {
      sorted = sorted[0] === c ? [c, -sorted[1]] : [c, 1];
      const compare = columns[c][2], sign = sorted[1];
      order = Uint32Array.from({ length: total }, (_, i) => i).sort((i, j) => sign * compare(i, j) || i - j);
      [...$("head").children].forEach((head, h) => head.setAttribute("aria-sort", h !== c ? "none" : sign > 0 ? "ascending" : "descending"));
      filter();
    });
    $("head").append(cell);
  });
  const options = (id, names) => names.forEach((name, value) => name && $(id).append(el("option", { value: String(value), textContent: name })));
  options("f-bucket", meta.buckets); options("f-flag", meta.flags); options("f-source", meta.sources);
  meta.statuses.forEach((name, bit) => $("f-status").append(el("option", { value: `#${bit}`, textContent: `some ${name}` })));
  const filter = () => {
    const word = $("search").value.trim().toLowerCase(), b = $("f-bucket").value, f = $("f-flag").value, s = $("f-source").value;
    const only = $("f-texts").checked, st = $("f-status").value;
    const status = (i) => st === "" || (st === "all" ? scored[i] === samples[i] : st === "some" ? scored[i] < samples[i] : st === "none" ? scored[i] === 0 : (statuses[i] >> +st.slice(1)) & 1);
    shown = order.filter((i) =>
      (b === "" || bucket[i] === +b) && (f === "" || (f === "-" ? flag[i] === 0 : flag[i] === +f)) && (s === "" || source[i] === +s) &&
      (!only || texts.has(i)) && status(i) &&
      (!word || hits.has(i) || String(ids[i]).toLowerCase().includes(word) || (texts.has(i) && texts.get(i).prompt.toLowerCase().includes(word))));
    $("found").textContent = `${count(shown.length)} problem${shown.length === 1 ? "" : "s"}`;
    $("body").style.height = `${Math.min(shown.length * HEIGHT, MOST)}px`;
    $("table").scrollTop = 0;
    draw();
  };
  const draw = () => {
    const box = $("table"), room = Math.min(shown.length * HEIGHT, MOST) - box.clientHeight;
    const share = room > 0 ? Math.min(box.scrollTop / room, 1) : 0;
    const fits = Math.ceil(box.clientHeight / HEIGHT) + 1;
    const first = Math.max(0, Math.min(Math.floor(share * (shown.length - fits + 2)), shown.length - 1));
    $("rows").style.top = `${shown.length * HEIGHT > MOST ? box.scrollTop : first * HEIGHT}px`;
    $("rows").replaceChildren(...Array.from(shown.slice(first, first + fits), row));
  };
  const cellOf = (text, style, title) => { const c = el("div", { className: style || "", textContent: text, title: title || "" }); c.setAttribute("role", "cell"); return c; };
  const row = (i) => {
    const label = cellOf("", "");
    label.append(el("span", { className: `key ${meta.styles[bucket[i]]}`, textContent: meta.buckets[bucket[i]] }));
    const line = el("div", {}, cellOf(visible(String(ids[i])), texts.has(i) || meta.server ? "" : "dim"), label,
      cellOf(scored[i] ? `${passes[i]} of ${scored[i]}` : "–", "n"), cellOf(tokens[i] ? count(tokens[i]) : "–", "n"),
      cellOf(cut[i] ? count(cut[i]) : "", "n"), cellOf(meta.flags[flag[i]]), cellOf(meta.sources[source[i]] || ""));
    line.setAttribute("role", "row");
    line.setAttribute("aria-selected", i === current);
    line.addEventListener("click", () => go(i));
    return line;
  };
  $("table").addEventListener("scroll", () => requestAnimationFrame(draw));
  for (const id of ["search", "f-bucket", "f-flag", "f-source", "f-status", "f-texts"]) $(id).addEventListener("input", filter);
  if (meta.server) { // the prompts are searched by the server; ids are found at once
    let waiting = 0;
    $("f-texts").parentElement.hidden = true;
    $("search").addEventListener("input", () => {
      clearTimeout(waiting);
      hits = new Set();
      const word = $("search").value.trim();
      if (word.length < 2) return;
      waiting = setTimeout(async () => {
        const found = await fetched(`search?text=${encodeURIComponent(word)}`);
        if ($("search").value.trim() !== word) return;
        hits = new Set(found);
        filter();
      }, 250);
    });
  }

  // ------------------------------------------------------------------ texts: by textContent only, marks for what is invisible
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}]/u;
  const isHidden = (c) => c !== "\n" && c !== "\t" && HIDDEN.test(c);
  const name = (c) => `<U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`;
  const visible = (text) => Array.from(text, (c) => (isHidden(c) ? name(c) : c)).join("");
  const fill = (node, text, answer) => {
    const spot = answer && answer.length > 0 ? text.lastIndexOf(answer) : -1;
    const plain = (part) => {
      let run = "";
      for (const c of part)
        if (isHidden(c)) { node.append(run, el("span", { className: "mark", textContent: name(c) })); run = ""; }
        else run += c;
      node.append(run);
    };
    if (spot < 0) return plain(text), node;
    plain(text.slice(0, spot));
    node.append(el("mark", { textContent: visible(answer) }));
    plain(text.slice(spot + answer.length));
    return node;
  };
  const sampleCard = (s, i, place) => {
    const right = s.right;
    const facts = el("div", { className: "facts" });
    const fact = (k, v) => v !== null && v !== undefined && v !== "" && facts.append(el("span", {}, `${k} `, el("b", { textContent: visible(String(v)) })));
    fact("reward", s.reward === null ? "none" : +s.reward.toPrecision(6));
    if (s.status !== "ok") fact("status", s.status);
    fact("answer", s.answer); fact("tokens", s.tokens === null ? null : count(s.tokens)); fact("finish", s.finish);
    const card = el("article", { className: `sample ${s.status !== "ok" ? "" : right ? "ok-right" : "ok-wrong"}` }, facts);
    card.append(fill(el("pre", { tabIndex: 0 }), s.head, s.tail ? null : s.answer));
    if (s.tail) {
      const left = s.length - s.head.length - s.tail.length;
      const gap = el("p", { className: "gap", textContent: left > 0 ? `${count(left)} characters left out ` : "" });
      if (meta.server && left > 0) {
        const whole = el("button", { type: "button", textContent: "show all" });
        whole.addEventListener("click", async () => {
          const { text } = await fetched(`response?number=${i}&sample=${place}`);
          card.replaceChildren(facts, fill(el("pre", { tabIndex: 0 }), text, s.answer));
        });
        gap.append(whole);
      }
      card.append(gap);
      card.append(fill(el("pre", { tabIndex: 0 }), s.tail, s.answer));
    }
    return card;
  };
  const more = (i, from, of) => {
    const button = el("button", { type: "button", textContent: `more of the ${count(of)} responses` });
    button.addEventListener("click", async () => {
      const text = await fetched(`problem?number=${i}&first=${from}`);
      if (current !== i) return;
      button.replaceWith(...text.samples.map((s, place) => sampleCard(s, i, from + place)));
      if (from + text.samples.length < of) $("viewer").append(more(i, from + text.samples.length, of));
    });
    return button;
  };
  const responses = (text, i) => {
    const of = text.total || samples[i], here = text.samples.length;
    return (here < of ? `${count(here)} of ${count(of)}` : count(of)) + (of === 1 ? " response" : " responses");
  };
  let last = null;
  const open = async (i) => {
    if (!(i >= 0 && i < total)) return close(false);
    if ($("viewer").hidden) last = document.activeElement;
    current = i;
    const view = $("viewer");
    const tool = (label, act) => { const b = el("button", { type: "button", textContent: label }); b.addEventListener("click", act); return b; };
    const title = el("h3", { id: "viewer-title", textContent: visible(String(ids[i])) });
    view.replaceChildren(el("div", { className: "tools" }, tool("Previous", () => step(-1)), tool("Next", () => step(1)), tool("Close", () => close(true))), title,
      el("p", { className: "sub" }, el("span", { className: `key ${meta.styles[bucket[i]]}`, textContent: meta.buckets[bucket[i]] }),
        `  ${passes[i]} of ${scored[i]} pass` + (flag[i] ? `, flagged ${meta.flags[flag[i]]}` : "") + (cut[i] ? `, ${cut[i]} cut off` : "")));
    view.hidden = false;
    view.focus({ preventScroll: true });
    const text = meta.server ? await fetched(`problem?number=${i}`) : texts.get(i);
    if (current !== i) return;
    if (!text) view.append(el("p", {}, "The texts of this problem are not in this page. This command shows those of all: "), el("p", { className: "command" }, el("code", { textContent: meta.viewer })));
    else {
      view.append(el("h4", { textContent: "Prompt" }), fill(el("pre", { tabIndex: 0 }), text.prompt), el("h4", { textContent: "Ground truth" }), fill(el("pre", { tabIndex: 0 }), text.ground_truth || "(none)"),
        el("h4", { textContent: responses(text, i) }), ...text.samples.map((s, place) => sampleCard(s, i, place)));
      if (text.total > text.samples.length) view.append(more(i, text.samples.length, text.total));
    }
    view.scrollTop = 0;
    draw();
  };
  const close = (push) => {
    $("viewer").hidden = true; current = -1;
    if (push) history.replaceState(null, "", location.pathname + location.search);
    if (last && last.focus) last.focus({ preventScroll: true });
    draw();
  };
  const go = (i) => { location.hash = `p=${encodeURIComponent(String(ids[i]))}`; };
  const step = (by) => {
    const places = shown.indexOf(current), next = places + by;
    if (next >= 0 && next < shown.length) go(shown[next]);
  };
  const byId = new Map();
  ids.forEach((id, i) => byId.set(String(id), i));
  const follow = () => {
    const match = location.hash.match(/^#p=(.*)$/s);
    if (!match) return;
    let id = match[1];
    try { id = decodeURIComponent(id); } catch { /* not ours: looked up as it is */ }
    open(byId.has(id) ? byId.get(id) : -1);
  };
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range" && event.target.type !== "checkbox";
    if (event.key === "Escape") { if (!$("viewer").hidden) close(true); else event.target.blur(); }
    else if (typing) return;
    else if (event.key === "/") { event.preventDefault(); $("search").focus(); }
    else if (event.key === "j" || event.key === "k") { event.preventDefault(); if (current < 0) shown.length && go(shown[0]); else step(event.key === "j" ? 1 : -1); }
  });

  document.documentElement.classList.add("scripted");
  filter();
  explore();
  follow();
  document.documentElement.dataset.ready = "1";
})();
