// The columns of the leaderboard.

const percent = (of) => (i) => {
  const value = of(entries[i]);
  return known(value) ? number(value) : null;
};
const speed = (key) => (e) => e.speed && e.speed[key];

// What the metric that ranks says of itself.
const primary = () =>
  data.metrics.find((each) => each.name === data.primary) || {
    name: data.primary,
    heading: data.primary,
    meaning: data.primary,
    unit: "%",
    higherIsBetter: true,
    digits: 1,
  };

// A metric's own column, as it declares itself.
function metricColumn(metric) {
  const valueOf = (i) => entries[i].metrics[metric.name] || null;
  const unit = metric.unit ? `, ${metric.unit}` : "";
  return {
    key: `metric-${metric.name}`,
    head: `${metric.heading}${metric.unit && metric.unit !== "%" ? unit : ""}`,
    text: true,
    means: `${plain(metric.meaning)}${unit}; ${metric.higherIsBetter ? "higher" : "lower"} is better`,
    better: metric.higherIsBetter ? "more" : "less",
    of: (i) => valueOf(i) && valueOf(i)[0],
    cell: (i) => {
      const value = valueOf(i);
      if (!value) return null;
      const seeds = known(value[3]) ? `; ±${number(value[3], metric.digits)} over seeds` : "";
      const title = known(value[1])
        ? `95 % interval ${range([value[1], value[2]], metric.digits)}${seeds}`
        : seeds.slice(2);
      return h("span", { title: title || null }, number(value[0], metric.digits));
    },
  };
}

// key, heading, what it means, value by entry, cell (words or a node; null: nothing), which is better.
function columnsOf() {
  const place = (i) => size_buckets[state.size_bucket].ranks.find((p) => p[0] === i);
  const value = (key, head, means, of, better, words = null) => ({
    key,
    head,
    means,
    of: (i) => of(entries[i]),
    better,
    cell: words ? (i) => (known(of(entries[i])) ? words(of(entries[i])) : null) : percent(of),
  });
  return [
    {
      key: "rank",
      head: "rank",
      means: "place under the limit; 1-3: tied, the difference may be chance",
      of: (i) => {
        const p = place(i);
        return p ? p[1] * 1e6 + p[2] * 1e3 + size_buckets[state.size_bucket].ranks.indexOf(p) : null;
      },
      cell: (i) => {
        const p = place(i);
        return p
          ? h("span", { class: p[1] === 1 ? "rank first" : "rank" }, rankWords(p[1], p[2]))
          : null;
      },
    },
    {
      key: "entry",
      head: "entry",
      means: "the name; choose it to see how it was made",
      of: (i) => entries[i].name,
    },
    {
      ...metricColumn(primary()),
      key: "accuracy",
      head: `mean ${primary().heading}`,
      means: `${primary().meaning}; mean over the data sets, with its 95 % interval; ± over seeds`,
      text: false,
      of: (i) => entries[i].accuracy,
      cell: accuracyCell,
    },
    value(
      "bytes",
      "weights",
      "size of the file of weights; the exact bytes are in its tip",
      (e) => e.bytes,
      "less",
      (x) => h("span", { title: `${number(x, 0)} bytes` }, size(x)),
    ),
    value(
      "parameters",
      "parameters",
      "numbers that training can change",
      (e) => e.parameters,
      "less",
      (x) => h("span", { title: number(x, 0) }, many(x)),
    ),
    ...datasets.map((each, d) => ({
      key: `data-${d}`,
      head: each.name,
      text: true,
      better: "more",
      means: `accuracy on ${plain(each.name)}, percent; chance is ${number(100 / each.classes.length)}`,
      of: (i) => entries[i].cells[d] && entries[i].cells[d].accuracy,
      cell: (i) => dataCell(entries[i].cells[d]),
    })),
    ...data.metrics.filter((each) => each.name !== data.primary).map(metricColumn),
    value(
      "load",
      "load, s",
      "from reading the artifact to a model that answers, seconds",
      speed("load_seconds"),
      "less",
      short,
    ),
    value(
      "ms",
      "ms an image",
      "one image at a time, median, decoding not included",
      speed("image_ms"),
      "less",
      short,
    ),
    value(
      "textMs",
      "ms a text",
      "one class name at a time, median",
      speed("text_ms"),
      "less",
      short,
    ),
    value("rate", "images/s", "at the best batch", speed("images_per_second"), "more", short),
    value(
      "peak",
      "peak MB",
      "most memory of the process, 10^6 bytes",
      speed("peak_mb"),
      "less",
      (x) => number(x, 0),
    ),
  ].filter(
    (column) =>
      ["rank", "entry", "accuracy"].includes(column.key) ||
      entries.some((_, i) => known(column.of(i))),
  );
}

let span = [0, 100];

function accuracyCell(i) {
  const { accuracy, interval, spread } = entries[i];
  if (!known(accuracy)) return null;
  return h(
    "span",
    { class: "measured", title: `95 % interval ${range(interval)}` },
    track(accuracy, interval, ...span),
    h(
      "span",
      { class: "number" },
      h("strong", {}, number(accuracy)),
      known(spread)
        ? h("small", { title: "standard deviation over seeds" }, ` ±${number(spread)}`)
        : null,
      h(
        "small",
        { class: "below" },
        h("span", { class: "away" }, ", 95 % interval "),
        range(interval).replace(" to ", "–"),
      ),
    ),
  );
}

function dataCell(cell) {
  if (!cell) return null;
  const seeds = known(cell.spread) ? `; ±${number(cell.spread)} over seeds` : "";
  const title = `95 % interval ${range(cell.interval)}${seeds}`;
  return h(
    "span",
    { title: cell.contamination ? `${title}; ${plain(cell.contamination)}` : title, class: cell.contamination ? "seen" : null },
    number(cell.accuracy),
    cell.contamination ? h("sup", {}, "saw it") : null,
  );
}
// The leaderboard: ranked under the chosen limit; over it, without a model, failed: apart.

function leaderboardSection() {
  const panel = fresh("panel");
  const strip = tabs(
    "limit",
    size_buckets.map((size_bucket) => (known(size_bucket.limit) ? `≤ ${size_bucket.words}` : "no limit")),
    panel,
    (size_bucket) => choose({ size_bucket }),
  );
  const find = h("input", {
    type: "search",
    placeholder: "name, plugin, note",
    oninput: () => choose({ find: find.value }),
  });
  const untrained = check("hide random weights", (on) => choose({ hideUntrained: on }));
  const contaminated = check("hide entries that saw the data", (on) => choose({ hideContaminated: on }));
  const count = h("p", { class: "count", role: "status" });
  const table = h("table", { class: "leaderboard" });
  const about = h(
    "details",
    { class: "about" },
    h("summary", {}, "What the columns mean"),
    h(
      "dl",
      {},
      columnsOf().map((c) =>
        h("div", {}, h("dt", {}, c.text ? isolated(c.head) : c.head), h("dd", {}, c.means)),
      ),
    ),
  );
  span = spanOf(evaluated.map((i) => entries[i].interval || [entries[i].accuracy]));
  const element = section(
    "leaderboard",
    "The leaderboard",
    null,
    strip,
    h(
      "div",
      { class: "tools" },
      h("label", { class: "find" }, h("span", {}, "Find"), find),
      untrained,
      contaminated,
      count,
    ),
    h(
      "div",
      { class: "scroll", id: panel, role: "tabpanel", tabindex: 0, "aria-label": "leaderboard" },
      table,
    ),
    about,
  );
  const keys = ["size_bucket", "find", "hideUntrained", "hideContaminated", "sort", "down", "entry"];
  onChange(keys, () => {
    strip.pick(state.size_bucket);
    find.value = state.find === find.value.trim().toLowerCase() ? find.value : state.find;
    untrained.firstChild.checked = state.hideUntrained;
    contaminated.firstChild.checked = state.hideContaminated;
    drawLeaderboard(table, count);
  });
  return element;
}

function wanted(i) {
  const entry = entries[i];
  if (state.hideUntrained && entry.untrained) return false;
  if (state.hideContaminated && isContaminated(entry)) return false;
  const words = state.find.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const sources = entry.results.flatMap((r) => [r.provenance.path, ...r.provenance.plugins.map((p) => p.name)]);
  const text = [entry.name, ...entry.badges.flat(), ...sources, ...entry.parts.map((p) => p[1])]
    .join("\n")
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

function blocksOf() {
  const size_bucket = size_buckets[state.size_bucket];
  const failed = entries.map((_, i) => i).filter((i) => !known(entries[i].accuracy));
  return [
    ["ranked", null, size_bucket.ranks.map((p) => p[0])],
    ["over", `Larger than ${size_bucket.words}: not ranked`, size_bucket.over],
    ["without_model", "Predictions without a model: size not known, not ranked", size_bucket.without_model],
    ["failed", "Failed", failed],
  ];
}

function drawLeaderboard(table, count) {
  const columns = columnsOf();
  const blocks = blocksOf();
  const ranked = blocks[0][2];
  const tops = new Map(
    columns
      .filter((c) => c.better)
      .map((c) => {
        const values = ranked.map(c.of).filter(known);
        return [
          c.key,
          values.length > 1 ? (c.better === "more" ? Math.max : Math.min)(...values) : null,
        ];
      }),
  );
  const focused =
    document.activeElement && table.contains(document.activeElement)
      ? document.activeElement.dataset.focus
      : null;
  const bodies = blocks.map(([kind, title, all]) => {
    const shown = sorted(all.filter(wanted), columns);
    if (!shown.length && !(kind === "ranked")) return null;
    const empty =
      kind === "ranked" && !shown.length
        ? h(
            "tr",
            {},
            h(
              "td",
              { class: "empty", colspan: columns.length },
              all.length ? "No entry here fits the filter." : "No entry keeps this limit.",
            ),
          )
        : null;
    return h(
      "tbody",
      { class: kind },
      title
        ? h(
            "tr",
            { class: "block" },
            h("th", { colspan: columns.length, scope: "rowgroup" }, h("span", {}, title)),
          )
        : null,
      empty,
      shown.map((i) => (kind === "failed" ? failedRow(i, columns) : row(i, columns, tops, kind))),
    );
  });
  table.replaceChildren(
    h("thead", {}, h("tr", {}, columns.map(heading))),
    ...bodies.filter(Boolean),
  );
  if (focused) {
    const again = table.querySelector(`[data-focus="${focused}"]`);
    if (again) again.focus();
  }
  const all = blocks.flatMap((b) => b[2]);
  const shown = all.filter(wanted).length;
  count.textContent =
    shown === all.length
      ? plural(all.length, "entry", "entries")
      : `${shown} of ${plural(all.length, "entry", "entries")}`;
}

function sorted(list, columns) {
  const column = columns.find((c) => c.key === state.sort) || columns[0];
  const order = new Map(list.map((i, place) => [i, place]));
  return [...list].sort((a, b) => {
    const [x, y] = [column.of(a), column.of(b)];
    if (!known(x) || !known(y)) return known(y) - known(x) || order.get(a) - order.get(b);
    const sign = typeof x === "string" ? x.localeCompare(y) : x - y;
    return (state.down ? -sign : sign) || order.get(a) - order.get(b);
  });
}

function heading(column) {
  const on = state.sort === column.key;
  const first = column.better === "more"; // the better end first
  const press = () => choose({ sort: column.key, down: on ? !state.down : first });
  return h(
    "th",
    {
      scope: "col",
      class: `c-${column.key}`,
      "aria-sort": on ? (state.down ? "descending" : "ascending") : "none",
    },
    h(
      "button",
      { type: "button", title: column.means, onclick: press, "data-focus": `sort-${column.key}` },
      column.text ? isolated(column.head) : column.head,
      h("span", { class: "arrow", "aria-hidden": "true" }, on ? (state.down ? "↓" : "↑") : "↕"),
    ),
  );
}

function nameOf(i) {
  const entry = entries[i];
  return [
    h(
      "button",
      {
        type: "button",
        class: "link",
        "data-focus": `entry-${i}`,
        title: plain(entry.name),
        onclick: () => {
          choose({ entry: i });
          goTo(document.getElementById("entry-title"));
        },
      },
      isolated(entry.name),
    ),
    entry.badges.length ? h("span", { class: "badges" }, entry.badges.map(badge)) : null,
  ];
}

function row(i, columns, tops, kind) {
  return h(
    "tr",
    { id: `row-${i}`, class: state.entry === i ? "chosen" : null },
    columns.map((column) => {
      if (column.key === "entry") return h("th", { scope: "row", class: "c-entry" }, nameOf(i));
      const cell = column.cell(i);
      const top = kind === "ranked" && known(column.of(i)) && column.of(i) === tops.get(column.key);
      return h("td", { class: `c-${column.key}${top ? " leading" : ""}` }, cell === null ? NONE : cell);
    }),
  );
}

function failedRow(i, columns) {
  const failures = entries[i].failed.map(([seed, why]) =>
    h("p", {}, h("b", {}, `seed ${seed}: `), isolated(why)),
  );
  return h(
    "tr",
    { id: `row-${i}`, class: state.entry === i ? "chosen" : null },
    h("th", { scope: "row", colspan: columns.length }, h("div", { class: "why" }, nameOf(i), failures)),
  );
}
