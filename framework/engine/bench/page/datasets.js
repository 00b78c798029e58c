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
// What an entry takes for what: a matrix of the classes confused most, and the pairs as a list.

const MATRIX = 12; // classes in the matrix
const PAIRS = 12; // pairs in the list

const withConfusion = () =>
  byAccuracy.filter((i) => entries[i].cells.some((cell) => cell && cell.confusion));

// Confusions of an entry on a data set: [class, answer, images], the most frequent first.
function confusionsOf(i, d) {
  const cell = entries[i].cells[d];
  if (!cell || !cell.confusion) return null;
  const flat = cell.confusion.wrong;
  const list = [];
  for (let k = 0; k < flat.length; k += 3) list.push([flat[k], flat[k + 1], flat[k + 2]]);
  return { list, right: cell.confusion.right, left: cell.confusion.left };
}

function confusionPart() {
  const which = withConfusion();
  if (!which.length) return null;
  const mine = entrySelect("Entry", which, (entry) => choose({ entry, confused: null }));
  const other = select(
    "beside",
    [[-1, "nobody"], ...which.map((i) => [i, plain(entries[i].name)])],
    (versus) => choose({ versus }),
  );
  const matrix = h("div", {
    class: "scroll",
    tabindex: 0,
    role: "region",
    "aria-label": "confusion matrix",
  });
  const list = h("ol", { class: "confused" });
  const note = h("p", { class: "note" });
  const element = h(
    "div",
    { id: "confusion" },
    h("h3", {}, "What is taken for what"),
    h("div", { class: "tools" }, mine, other),
    note,
    h("div", { class: "split" }, matrix, list),
  );
  onChange(["dataset", "entry", "versus", "confused"], () => {
    mine.pick(state.entry);
    other.pick(state.versus);
    drawConfusion(matrix, list, note);
  });
  return element;
}

function drawConfusion(matrix, list, note) {
  const d = state.dataset;
  const found = confusionsOf(state.entry, d);
  if (!found || !found.list.length) {
    note.textContent = found
      ? "Not one mistake."
      : "The answers of this entry are not on this page.";
    matrix.replaceChildren();
    list.replaceChildren();
    return;
  }
  const wrong = found.list.reduce((sum, pair) => sum + pair[2], 0);
  note.textContent =
    `${plural(wrong, "mistake")} of the first seed. Rows: what an image shows; columns: the answer.` +
    " Choose a pair to see its pictures below.";
  const classes = [];
  for (const [own, predicted] of found.list) {
    for (const c of [own, predicted])
      if (c >= 0 && !classes.includes(c) && classes.length < MATRIX) classes.push(c);
  }
  classes.sort((a, b) => a - b);
  matrix.replaceChildren(matrixOf(classes, found, d));
  const versus =
    state.versus >= 0 && state.versus !== state.entry ? confusionsOf(state.versus, d) : null;
  list.replaceChildren(
    ...found.list.slice(0, PAIRS).map((pair) => pairItem(pair, found, versus, d)),
  );
}

function matrixOf(classes, found, d) {
  const counts = new Map(found.list.map(([own, predicted, n]) => [`${own} ${predicted}`, n]));
  const totals = datasets[d].counts;
  const cell = (own, predicted) => {
    const n = own === predicted ? found.right[own] : counts.get(`${own} ${predicted}`) || 0;
    if (!n) return h("td", { class: "none" });
    const share = (totals ? n / totals[own] : 0) ** 0.5; // by the root, so that single mistakes can be seen
    const words = `${plain(className(d, own))} taken for ${plain(className(d, predicted))}: ${n}`;
    const kind = own === predicted ? "right" : "wrong";
    const css = { "--part": share.toFixed(2) };
    if (own === predicted) return h("td", { class: kind, css, title: words }, n);
    return h(
      "td",
      { class: kind, css },
      h(
        "button",
        {
          type: "button",
          title: words,
          "aria-label": words,
          "aria-pressed": state.confused === `${own} ${predicted}`,
          onclick: () => pickConfused(own, predicted),
        },
        n,
      ),
    );
  };
  return h(
    "table",
    { class: "matrix" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("td"),
        classes.map((c) =>
          h(
            "th",
            { scope: "col", title: plain(className(d, c)) },
            h("span", {}, isolated(className(d, c))),
          ),
        ),
      ),
    ),
    h(
      "tbody",
      {},
      classes.map((own) =>
        h(
          "tr",
          {},
          h("th", { scope: "row", title: plain(className(d, own)) }, isolated(className(d, own))),
          classes.map((predicted) => cell(own, predicted)),
        ),
      ),
    ),
  );
}

function pickConfused(own, predicted) {
  const pair = `${own} ${predicted}`;
  choose({ confused: state.confused === pair ? null : pair });
}

function pairItem([own, predicted, n], found, versus, d) {
  const total = datasets[d].counts ? datasets[d].counts[own] : null;
  const theirs = versus && versus.list.find((pair) => pair[0] === own && pair[1] === predicted);
  const name = (c) => (c < 0 ? h("em", {}, "no answer") : isolated(className(d, c)));
  const share = (count) =>
    (total ? ` of ${total}` : "") + (total ? ` (${number((100 * count) / total, 0)} %)` : "");
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        "aria-pressed": state.confused === `${own} ${predicted}`,
        onclick: () => pickConfused(own, predicted),
      },
      h(
        "span",
        { class: "what" },
        name(own),
        h("span", { class: "to", "aria-label": "taken for" }, " → "),
        name(predicted),
      ),
      h("span", { class: "how" }, `${n}${share(n)}`),
      h(
        "span",
        { class: "meter", "aria-hidden": "true" },
        h("i", { css: { width: `${total ? (100 * n) / total : 0}%` } }),
      ),
      versus
        ? h(
            "span",
            { class: "theirs" },
            isolated(entries[state.versus].name),
            theirs ? `: ${theirs[2]}${share(theirs[2])}` : versus.left ? ": seldom" : ": never",
          )
        : null,
    ),
  );
}
// Pictures that an entry was wrong about, with what the others answered.

function mistakesPart() {
  if (!pictures.length) return null;
  const which = withConfusion();
  const mine = entrySelect("Entry", which, (entry) => choose({ entry, confused: null }));
  const other = select(
    "that",
    [[-1, "all mistakes"], ...which.map((i) => [i, `${plain(entries[i].name)} got right`])],
    (against) => choose({ against }),
  );
  const filter = h("p", { class: "filter" });
  const cards = h("div", { class: "cards" });
  const draw = () => {
    mine.pick(state.entry);
    other.pick(state.against);
    drawMistakes(cards, filter);
  };
  const element = h(
    "div",
    { id: "mistakes" },
    h("h3", {}, "Mistakes as pictures"),
    h(
      "p",
      { class: "note" },
      "A sample, the same pictures for all entries: from every class in turn, first those that" +
        " somebody got right, the surest mistakes first.",
    ),
    h("div", { class: "tools" }, mine, other, filter),
    cards,
  );
  onChange(["dataset", "entry", "confused", "against"], draw);
  return element;
}

const answerOf = (picture, i) => picture.answers.find((a) => a[0] === i);

// Pictures of a data set that one entry got wrong and the other right.
function onlyRight(right, wrong, d) {
  return pictures.filter((picture) => {
    const [good, bad] = [answerOf(picture, right), answerOf(picture, wrong)];
    return (
      picture.dataset === d && good && bad && good[1] === picture.label && bad[1] !== picture.label
    );
  });
}

function drawMistakes(cards, filter) {
  const own = state.confused && state.confused.split(" ").map(Number);
  const found = pictures
    .filter((picture) => {
      const mine = answerOf(picture, state.entry);
      if (picture.dataset !== state.dataset || !mine || mine[1] === picture.label) return false;
      if (own && (picture.label !== own[0] || mine[1] !== own[1])) return false;
      return true;
    })
    .filter(
      (picture) =>
        state.against < 0 || onlyRight(state.against, state.entry, state.dataset).includes(picture),
    );
  filter.replaceChildren(
    ...(own
      ? [
          h(
            "button",
            { type: "button", class: "chip", onclick: () => choose({ confused: null }) },
            isolated(className(state.dataset, own[0])),
            " → ",
            isolated(className(state.dataset, own[1])),
            h("span", { "aria-label": "show all" }, " ✕"),
          ),
        ]
      : []),
  );
  cards.replaceChildren(
    ...(found.length
      ? found.map((picture) => card(picture, answerOf(picture, state.entry)))
      : [h("p", { class: "empty" }, "No such picture is among the sample on this page.")]),
  );
}

function card(picture, [, answer, sure]) {
  const others = picture.answers.filter((a) => a[0] !== state.entry);
  const right = others.filter((a) => a[1] === picture.label).map((a) => a[0]);
  const name = (c) => (c < 0 ? "no answer" : isolated(className(picture.dataset, c)));
  return h(
    "figure",
    { title: plain(picture.id) },
    h(
      "div",
      { class: "photo" },
      h("img", {
        src: picture.source,
        loading: "lazy",
        alt: `shows ${plain(className(picture.dataset, picture.label))}`,
      }),
    ),
    h(
      "figcaption",
      {},
      h("p", { class: "truth" }, h("small", {}, "shows "), name(picture.label)),
      h(
        "p",
        { class: "predicted" },
        h("small", {}, "answer "),
        name(answer),
        known(sure) ? h("span", { class: "sure" }, ` ${number(100 * sure, 0)}\u00a0%`) : null,
      ),
      known(sure)
        ? h(
            "span",
            { class: "meter", "aria-hidden": "true" },
            h("i", { css: { width: `${100 * sure}%` } }),
          )
        : null,
      others.length
        ? h(
            "p",
            { class: "others" },
            right.length
              ? ["right: ", right.map((i, k) => [k ? ", " : "", isolated(entries[i].name)])]
              : "nobody else was right",
          )
        : null,
    ),
  );
}
