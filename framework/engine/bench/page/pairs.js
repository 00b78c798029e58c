// Is a difference real: every pair of entries on the same images.

const between = new Map(
  pairs.flatMap((p) => [
    [`${p.a} ${p.b}`, [p, 1]],
    [`${p.b} ${p.a}`, [p, -1]],
  ]),
);

function pairsSection() {
  const order = byAccuracy.filter((i) => pairs.some((p) => p.a === i || p.b === i));
  if (order.length < 2) return null;
  const story = h("div", { class: "story", "aria-live": "polite" });
  const table = h("table", { class: "pairs" });
  const element = section(
    "real",
    "Is it real?",
    "The row's mean accuracy minus the column's, in points, on the same images. Grey: tied, the" +
      " difference may be chance. Choose a pair.",
    h(
      "div",
      { class: "split wide" },
      h(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": "pairs of entries" },
        table,
      ),
      story,
    ),
  );
  if (!state.pair) state.pair = `${order[0]} ${order[1]}`;
  drawPairs(table, order);
  onChange(["pair"], () => {
    for (const button of table.querySelectorAll("button")) {
      const on = button.dataset.pair === state.pair;
      button.setAttribute("aria-pressed", on);
      button.tabIndex = on ? 0 : -1;
    }
    showPair(story);
  });
  return element;
}

function drawPairs(table, order) {
  const move = (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[
      event.key
    ];
    if (!step || !event.target.dataset.pair) return;
    event.preventDefault();
    let [r, c] = event.target.dataset.pair.split(" ").map((i) => order.indexOf(Number(i)));
    do {
      r += step[0];
      c += step[1];
    } while (r === c);
    if (order[r] === undefined || order[c] === undefined) return;
    choose({ pair: `${order[r]} ${order[c]}` });
    table.querySelector('[aria-pressed="true"]').focus();
  };
  table.append(
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("td"),
        order.map((i) =>
          h(
            "th",
            { scope: "col", title: plain(entries[i].name) },
            h("span", {}, isolated(entries[i].name)),
          ),
        ),
      ),
    ),
    h(
      "tbody",
      { onkeydown: move },
      order.map((i) =>
        h(
          "tr",
          {},
          h(
            "th",
            { scope: "row", title: plain(entries[i].name) },
            h("span", {}, isolated(entries[i].name)),
          ),
          order.map((j) => pairCell(i, j)),
        ),
      ),
    ),
  );
}

function pairCell(i, j) {
  const found = between.get(`${i} ${j}`);
  if (!found) return h("td", { class: "same", "aria-label": i === j ? "itself" : "not compared" });
  const [pair, sign] = found;
  const value = sign * pair.difference;
  const kind = !pair.real ? "tie" : value > 0 ? "ahead" : "behind";
  const which = `${plain(entries[i].name)} minus ${plain(entries[j].name)}: `;
  const verdict = `p ${chance(pair.corrected)}, ${pair.real ? "real" : "tied"}`;
  const words = `${which}${signed(value)} points, ${verdict}`;
  return h(
    "td",
    {},
    h(
      "button",
      {
        type: "button",
        class: kind,
        "data-pair": `${i} ${j}`,
        title: words,
        css: { "--part": `${Math.min(100, 25 + 4 * pair.difference)}%` },
        onclick: () => choose({ pair: `${i} ${j}` }),
      },
      h("span", { class: "away" }, which),
      h("b", {}, signed(value)),
      " ",
      h("small", {}, pair.real ? `p ${chance(pair.corrected)}`.replace("= ", "") : "tie"),
    ),
  );
}

function showPair(story) {
  const [i, j] = state.pair.split(" ").map(Number);
  const [pair] = between.get(`${i} ${j}`);
  const [a, b] = [entries[pair.a], entries[pair.b]];
  const bold = (entry) => h("strong", {}, isolated(entry.name));
  const verdict = pair.real
    ? h("p", { class: "verdict real" }, "The difference is real")
    : h("p", { class: "verdict tie" }, "Tied");
  const summary = h(
    "p",
    {},
    bold(a),
    " is ahead of ",
    bold(b),
    ` by ${number(pair.difference)} points`,
    ` (95 % interval ${range(pair.interval)}). `,
    pair.real
      ? `Were they equally good, so large a difference would come by chance with p ${chance(pair.corrected)}, after` +
          ` Holm's correction for ${plural(pairs.length, "comparison")}: less than 5\u00a0%.`
      : `That may be chance: p ${chance(pair.corrected)} after Holm's correction for ${plural(pairs.length, "comparison")},` +
          " not less than 5\u00a0%.",
    chance(pair.p) !== chance(pair.corrected) ? ` Uncorrected, p ${chance(pair.p)}.` : "",
  );
  const weights =
    known(a.bytes) && known(b.bytes) && a.bytes !== b.bytes
      ? h("p", {}, bold(a), ` has ${size(a.bytes)} of weights, `, bold(b), ` ${size(b.bytes)}.`)
      : null;
  const counted = datasets
    .map((_, d) => d)
    .filter((d) => known(pair.onlyA[d]) && known(pair.onlyB[d]));
  const largest = Math.max(1, ...counted.flatMap((d) => [pair.onlyA[d], pair.onlyB[d]]));
  const only = counted.length
    ? h(
        "table",
        { class: "only" },
        h("caption", {}, "Images that only one of them got right"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "only ", isolated(a.name)),
            h("th", { scope: "col" }, "data set"),
            h("th", { scope: "col" }, "only ", isolated(b.name)),
          ),
        ),
        h(
          "tbody",
          {},
          counted.map((d) =>
            h(
              "tr",
              {},
              h(
                "td",
                { class: "left" },
                h("span", {}, number(pair.onlyA[d], 0)),
                h("i", { css: { width: `${(70 * pair.onlyA[d]) / largest}%` } }),
              ),
              h("th", { scope: "row" }, isolated(datasets[d].name)),
              h(
                "td",
                { class: "right" },
                h("i", { css: { width: `${(70 * pair.onlyB[d]) / largest}%` } }),
                h("span", {}, number(pair.onlyB[d], 0)),
              ),
            ),
          ),
        ),
      )
    : null;
  story.replaceChildren(...[verdict, summary, weights, only, seePart(pair)].filter(Boolean));
}

// Ways to the pictures that only one of the two got right.
function seePart(pair) {
  const ways = [
    [pair.a, pair.b],
    [pair.b, pair.a],
  ]
    .map(([right, wrong]) => {
      const counts = datasets.map((_, d) => onlyRight(right, wrong, d).length);
      const dataset = counts.indexOf(Math.max(...counts));
      if (!(counts[dataset] > 0)) return null;
      return h(
        "button",
        {
          type: "button",
          class: "chip",
          onclick: () => {
            choose({ dataset, entry: wrong, against: right, confused: null });
            goTo(document.getElementById("mistakes"), "start");
          },
        },
        `${plural(counts[dataset], "picture")} that only `,
        isolated(entries[right].name),
        " got right",
      );
    })
    .filter(Boolean);
  return ways.length ? h("div", { class: "see" }, ways) : null;
}
