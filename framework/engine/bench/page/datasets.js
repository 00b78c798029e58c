// One data set: accuracy against chance, and recall of each class.

const withCell = (d) => byAccuracy.filter((i) => entries[i].cells[d]);

function datasetsSection() {
  const panel = fresh("panel");
  const strip = tabs(
    "data set",
    datasets.map((each) => isolated(each.name)),
    panel,
    (dataset) => choose({ dataset, confused: null }),
  );
  const body = h("div", { id: panel, role: "tabpanel" });
  const bars = h("div", { class: "bars" });
  const about = h("p", { class: "note" });
  const heat = heatPart();
  body.append(about, h("h3", {}, "Accuracy against chance"), bars, heat);
  onChange(["dataset", "entry"], () => {
    strip.pick(state.dataset);
    const each = datasets[state.dataset];
    about.replaceChildren(
      `${plural(each.images, "image")} of ${plural(each.classes.length, "class", "classes")}`,
      ...(each.described ? [": ", isolated(each.described)] : []),
    );
    drawBars(bars);
  });
  return section("data", "By data set", null, strip, body);
}

function drawBars(holder) {
  const d = state.dataset;
  const which = withCell(d);
  const low = 0;
  const high = Math.min(
    100,
    10 * Math.ceil(Math.max(10, ...which.map((i) => entries[i].cells[d].interval[1])) / 10),
  );
  const chanceOf = which.length ? entries[which[0]].cells[d].chance : null;
  holder.replaceChildren(
    ...which.map((i) => {
      const cell = entries[i].cells[d];
      const times = cell.accuracy / cell.chance;
      const words =
        cell.interval[0] <= cell.chance ? "no better than chance" : `${number(times)} × chance`;
      return h(
        "div",
        { class: `line${state.entry === i ? " chosen" : ""}` },
        h(
          "span",
          { class: "who" },
          isolated(entries[i].name),
          cell.contamination ? badge(["contaminated", cell.contamination]) : null,
          cell.notes.map((n) => badge(["note", n])),
        ),
        track(cell.accuracy, cell.interval, low, high, cell.chance),
        h(
          "span",
          { class: "value" },
          h("strong", {}, number(cell.accuracy)),
          h("small", {}, ` ${range(cell.interval)}`),
        ),
        h("span", { class: "times" }, words),
      );
    }),
    h(
      "p",
      { class: "key" },
      h("i", { "aria-hidden": "true" }),
      known(chanceOf) ? `chance, ${number(chanceOf)} %; the scale goes to ${high} %` : "",
    ),
  );
}

// --- Recall of each class, a row a class, a column an entry

function heatPart() {
  let order = "hard",
    find = "";
  const scroll = h("div", {
    class: "scroll heat",
    tabindex: 0,
    role: "region",
    "aria-label": "recall of each class",
  });
  const box = h("input", {
    type: "search",
    placeholder: "class",
    oninput: () => {
      find = box.value.trim().toLowerCase();
      draw();
    },
  });
  const by = switches(
    "Order",
    [
      ["hard", "hardest first"],
      ["apart", "most unlike"],
      ["own", "as listed"],
    ],
    (value) => {
      order = value;
      draw();
    },
  );
  by.pick(order);
  function draw() {
    drawHeat(scroll, order, find);
  }
  onChange(["dataset"], () => {
    find = box.value = "";
    draw();
  });
  return h(
    "div",
    {},
    h("h3", {}, "Recall of each class"),
    h(
      "p",
      { class: "note" },
      "Percent of a class's images that got the right answer, mean over seeds.",
    ),
    h("div", { class: "tools" }, by, h("label", { class: "find" }, h("span", {}, "Find"), box)),
    scroll,
  );
}

function drawHeat(holder, order, find) {
  const d = state.dataset;
  const { classes, counts } = datasets[d];
  const which = withCell(d).filter((i) => entries[i].cells[d].recall.length);
  const values = classes.map((_, c) => which.map((i) => entries[i].cells[d].recall[c]));
  const means = values.map((row) => {
    const r = row.filter(known);
    return r.length ? r.reduce((a, b) => a + b) / r.length : Infinity;
  });
  const apart = values.map((row) => {
    const r = row.filter(known);
    return r.length ? Math.max(...r) - Math.min(...r) : -1;
  });
  const rows = classes.map((_, c) => c).filter((c) => classes[c].toLowerCase().includes(find));
  if (order === "hard") rows.sort((a, b) => (means[a] === means[b] ? a - b : means[a] - means[b]));
  if (order === "apart") rows.sort((a, b) => apart[b] - apart[a] || a - b);
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      h("th", { scope: "col" }, "class"),
      counts ? h("th", { scope: "col", class: "n" }, "images") : null,
      which.map((i) =>
        h(
          "th",
          { scope: "col", title: plain(entries[i].name) },
          h("span", {}, isolated(entries[i].name)),
        ),
      ),
    ),
  );
  const body = rows.map((c) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", title: plain(classes[c]) }, isolated(classes[c])),
      counts ? h("td", { class: "n" }, number(counts[c], 0)) : null,
      values[c].map((value) =>
        h(
          "td",
          known(value) ? { class: "cell", css: { "--part": value / 100 } } : { class: "cell none" },
          known(value) ? number(value, 0) : NONE,
        ),
      ),
    ),
  );
  holder.replaceChildren(
    rows.length && which.length
      ? h("table", {}, head, h("tbody", {}, body))
      : h("p", { class: "empty" }, "No class has this name."),
  );
}
