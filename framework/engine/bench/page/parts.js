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
