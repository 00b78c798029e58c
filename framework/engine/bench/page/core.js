// Data, state, elements, numbers. Texts of the data only ever become text nodes or attributes that
// hold text; nothing is parsed as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const { entries, datasets, size_buckets, pairs, pictures } = data;
const NONE = "–";

// --- State: what the reader has chosen; listeners of a key run when it changes.

const state = {
  size_bucket: 0,
  axis: "bytes",
  entry: -1,
  versus: -1, // beside it among the confusions
  against: -1, // who got right what it got wrong, among the pictures; -1: anybody or nobody
  dataset: 0,
  pair: null,
  find: "",
  hideUntrained: false,
  hideContaminated: false,
  sort: "rank",
  down: false,
  confused: null,
};
const listeners = [];

function onChange(keys, render) {
  listeners.push([keys, render]);
  render();
}

function choose(changes) {
  const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
  Object.assign(state, changes);
  for (const [keys, render] of listeners) if (keys.some((key) => changed.includes(key))) render();
}

// --- Elements

const SVG = "http://www.w3.org/2000/svg";

function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "css")
      for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

// --- Texts of the data

// Characters that are not seen or that turn the line around; a joiner inside emoji is harmless.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/;

// A text of the data as an element: apart from the line around it, hidden characters named.
function isolated(text) {
  const bdi = h("bdi");
  let run = "";
  for (const character of text) {
    if (!HIDDEN.test(character)) {
      run += character;
      if (!"_-./".includes(character)) continue;
      bdi.append(run, h("wbr")); // a long name breaks where its words end
      run = "";
      continue;
    }
    const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    bdi.append(run, h("mark", {}, `U+${code}`));
    run = "";
  }
  bdi.append(run);
  return bdi;
}

// The same where only text can stand: an option, a label, a title.
function plain(text, longest = 200) {
  const shown = Array.from(text, (c) => (HIDDEN.test(c) ? "\ufffd" : c));
  return shown.length > longest ? shown.slice(0, longest - 1).join("") + "…" : shown.join("");
}

// --- Numbers

const known = (value) => value !== null && value !== undefined;

function number(value, digits = 1) {
  if (!known(value)) return NONE;
  return even(value, digits).toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

// Where a value lies exactly between two decimals: to the even one, as Python does, so that the page
// and the terminal never differ.
function even(value, digits) {
  const ten = 10 ** digits,
    below = Math.floor(value * ten);
  const tie = value * ten - below === 0.5 && Number.isInteger(value * 2 ** (digits + 1));
  return tie ? (below + (below % 2 ? 1 : 0)) / ten : value;
}

const signed = (value) => (value < 0 ? "−" : "+") + number(Math.abs(value));
const range = (pair, digits = 1) =>
  pair ? `${number(pair[0], digits)} to ${number(pair[1], digits)}` : NONE;

// Bytes with three digits, in powers of ten, as limits are written.
function size(count) {
  if (!known(count)) return NONE;
  return three(
    count,
    [
      ["GB", 1e9],
      ["MB", 1e6],
      ["kB", 1e3],
    ],
    " B",
  );
}

function many(count) {
  if (!known(count)) return NONE;
  return three(
    count,
    [
      ["B", 1e9],
      ["M", 1e6],
      ["k", 1e3],
    ],
    "",
  );
}

function three(count, units, none) {
  for (const [unit, one] of units) {
    if (count < one) continue;
    const value = count / one;
    return `${value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(value))))}\u00a0${unit}`;
  }
  return `${count}${none}`;
}

// Milliseconds and seconds: three digits.
function short(value) {
  if (!known(value)) return NONE;
  const digits = value <= 0 ? 0 : Math.min(3, Math.max(0, 2 - Math.floor(Math.log10(value))));
  return number(value, digits);
}

function chance(p) {
  return p < 0.0001 ? "< 0.0001" : `= ${Number(p.toPrecision(2))}`;
}

const plural = (count, one, more = `${one}s`) => `${number(count, 0)} ${count === 1 ? one : more}`;

function listed(names) {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

const isContaminated = (entry) => entry.cells.some((cell) => cell && cell.contamination);
const underWords = (size_bucket) => (known(size_bucket.limit) ? `under ${size_bucket.words}` : "no limit");
const rankWords = (best, worst) => (best === worst ? `${best}` : `${best}-${worst}`);
const evaluated = entries.map((_, i) => i).filter((i) => known(entries[i].accuracy));
const byAccuracy = [...evaluated].sort((a, b) => entries[b].accuracy - entries[a].accuracy);
const className = (dataset, index) =>
  index < 0 ? "no answer" : (datasets[dataset].classes[index] ?? `#${index}`);
// Parts that several sections use.

let ids = 0;
const fresh = (stem) => `${stem}-${++ids}`;

function section(id, title, note, ...children) {
  return h(
    "section",
    { class: "card", id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title),
    note ? h("p", { class: "note" }, note) : null,
    children,
  );
}

// Tabs: arrow keys move among them, as in every desktop program.
// `names` are nodes; the element gets `.pick(i)`, which shows which one is chosen.
function tabs(label, names, panel, chosen) {
  const buttons = names.map((name, i) =>
    h(
      "button",
      { type: "button", role: "tab", "aria-controls": panel, onclick: () => chosen(i) },
      name,
    ),
  );
  const list = h(
    "div",
    {
      class: "tabs",
      role: "tablist",
      "aria-label": label,
      onkeydown: (event) => {
        const now = buttons.indexOf(document.activeElement);
        const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: buttons.length - 1 }[
          event.key
        ];
        if (to === undefined || now < 0) return;
        event.preventDefault();
        const next = (to + buttons.length) % buttons.length;
        chosen(next);
        buttons[next].focus();
      },
    },
    buttons,
  );
  list.pick = (i) =>
    buttons.forEach((button, k) => {
      button.setAttribute("aria-selected", k === i);
      button.tabIndex = k === i ? 0 : -1;
      if (k === i)
        requestAnimationFrame(() => {
          list.scrollLeft = button.offsetLeft - (list.clientWidth - button.offsetWidth) / 2;
        });
    });
  return list;
}

// A choice of one, drawn as a row of buttons.
function switches(label, choices, chosen) {
  const name = fresh("switch");
  const inputs = choices.map(([value]) =>
    h("input", { type: "radio", name, id: `${name}-${value}`, onchange: () => chosen(value) }),
  );
  const box = h(
    "fieldset",
    { class: "switch" },
    h("legend", {}, label),
    choices.map(([value, words], i) => [inputs[i], h("label", { for: `${name}-${value}` }, words)]),
  );
  box.pick = (value) =>
    inputs.forEach((input, i) => {
      input.checked = choices[i][0] === value;
    });
  return box;
}

function select(label, choices, chosen) {
  const id = fresh("select");
  const field = h(
    "select",
    { id, onchange: () => chosen(Number(field.value)) },
    choices.map(([value, words]) => h("option", { value }, words)),
  );
  const box = h("div", { class: "field" }, h("label", { for: id }, label), field);
  box.pick = (value) => {
    field.value = value;
  };
  return box;
}

const entrySelect = (label, which, chosen) =>
  select(
    label,
    which.map((i) => [i, plain(entries[i].name)]),
    chosen,
  );

function check(label, chosen) {
  const box = h("input", { type: "checkbox", onchange: () => chosen(box.checked) });
  return h("label", { class: "check" }, box, label);
}

const badge = ([kind, words]) =>
  h("span", { class: `badge ${kind}`, title: plain(words, 400) }, isolated(words));

// A value with its interval on a track from `low` to `high`.
function track(value, interval, low, high, mark) {
  const at = (x) => `${Math.min(100, Math.max(0, (100 * (x - low)) / (high - low || 1)))}%`;
  const bar = h("span", { class: "range", "aria-hidden": "true" });
  if (interval) {
    const width = (100 * (interval[1] - interval[0])) / (high - low || 1);
    bar.append(h("i", { css: { left: at(interval[0]), width: `${Math.min(100, width)}%` } }));
  }
  if (known(mark)) bar.append(h("u", { css: { left: at(mark) } }));
  if (known(value)) bar.append(h("b", { css: { left: at(value) } }));
  return bar;
}

// From the lowest low to the highest high of what is shown, in steps of five.
function spanOf(values) {
  const all = values.flat().filter(known);
  if (!all.length) return [0, 100];
  const low = Math.max(0, 5 * Math.floor(Math.min(...all) / 5));
  const high = Math.min(100, 5 * Math.ceil(Math.max(...all) / 5));
  return high > low ? [low, high] : [Math.max(0, low - 5), Math.min(100, high + 5)];
}

// Round numbers from low to high.
function ticks(low, high, most) {
  const raw = (high - low) / most;
  const ten = 10 ** Math.floor(Math.log10(raw));
  const step = ten * [1, 2, 5, 10].find((m) => m * ten >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k++) found.push(k * step);
  return found;
}

function facts(rows) {
  return h(
    "dl",
    { class: "facts" },
    rows
      .filter(([, value]) => known(value) && value !== "")
      .map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))),
  );
}

function goTo(node, block = "center") {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.scrollIntoView({ behavior: calm ? "auto" : "smooth", block });
}

// To an entry's row on the leaderboard, whatever the filters hide.
function showRow(i) {
  choose({ find: "", hideUntrained: false, hideContaminated: false, entry: i });
  const row = document.getElementById(`row-${i}`);
  goTo(row);
  row.querySelector("button").focus({ preventScroll: true });
  row.classList.remove("flash");
  void row.offsetWidth; // so that it flashes again
  row.classList.add("flash");
}
