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
