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
