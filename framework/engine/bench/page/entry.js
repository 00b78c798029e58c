// One entry: how far its probabilities can be believed, the size of its parts, how it was made.

function entrySection() {
  const mine = entrySelect(
    "Entry",
    entries.map((_, i) => i),
    (entry) => choose({ entry }),
  );
  const body = h("div", { class: "entry" });
  const element = section("entry", "One entry", null, h("div", { class: "tools" }, mine), body);
  onChange(["entry", "dataset"], () => {
    mine.pick(state.entry);
    const i = state.entry;
    body.replaceChildren(
      ...[
        headPart(i),
        h("div", { class: "split even" }, calibrationPart(i), sizePart(i)),
        provenancePart(i),
      ]
        .flat()
        .filter(Boolean),
    );
  });
  return element;
}

function headPart(i) {
  const entry = entries[i];
  const where = size_buckets
    .map((size_bucket) => [size_bucket, size_bucket.ranks.find((p) => p[0] === i)])
    .filter((pair) => pair[1]);
  return [
    h("h3", { class: "title" }, isolated(entry.name)),
    entry.badges.length ? h("p", { class: "badges" }, entry.badges.map(badge)) : null,
    facts([
      ["mean accuracy", known(entry.accuracy) ? `${number(entry.accuracy)} %` : null],
      ["95 % interval", entry.interval && range(entry.interval)],
      [
        "over seeds",
        known(entry.spread) ? `± ${number(entry.spread)} (${entry.seeds.length} seeds)` : null,
      ],
      ["weights", known(entry.bytes) ? `${number(entry.bytes, 0)} bytes` : null],
      ["parameters", known(entry.parameters) ? number(entry.parameters, 0) : null],
      ["buffers", entry.buffers ? number(entry.buffers, 0) : null],
      ...where.map(([size_bucket, place]) => [underWords(size_bucket), `rank ${rankWords(place[1], place[2])}`]),
    ]),
    entry.results
      .filter((r) => r.failure)
      .map((r) =>
        h(
          "details",
          { class: "failure", open: !known(entry.accuracy) },
          h("summary", {}, `Seed ${r.seed} failed: `, isolated(r.failure.what)),
          r.failure.details ? h("pre", {}, say2(r.failure.details)) : null,
        ),
      ),
  ];
}

// Text of many lines: line ends and tabs stay, whatever else is hidden is named.
const say2 = (text) =>
  text.split(/(\n|\t)/).map((part) => (part === "\n" || part === "\t" ? part : isolated(part)));

// --- Size

function sizePart(i) {
  const entry = entries[i];
  const head = h("h4", {}, "Size of its parts");
  if (!entry.parts.length)
    return h(
      "div",
      {},
      head,
      h(
        "p",
        { class: "note" },
        known(entry.bytes)
          ? `${size(entry.bytes)}; its parts are not known.`
          : "Nobody has seen its model.",
      ),
      speedPart(entry),
    );
  const total = entry.parts.reduce((sum, part) => sum + part[3], 0);
  return h(
    "div",
    {},
    head,
    h(
      "div",
      { class: "stack", "aria-hidden": "true" },
      entry.parts.map((part, k) =>
        h("i", { class: `k${k % 6}`, css: { width: `${(100 * part[3]) / total}%` } }),
      ),
    ),
    h(
      "table",
      { class: "parts" },
      h(
        "tbody",
        {},
        entry.parts.map(([name, plugin, parameters, bytes, storage], k) =>
          h(
            "tr",
            {},
            h(
              "th",
              { scope: "row" },
              h("i", { class: `dot k${k % 6}`, "aria-hidden": "true" }),
              isolated(name),
            ),
            h("td", { class: "plugin" }, isolated(plugin)),
            h("td", {}, many(parameters)),
            h("td", { class: "plugin" }, isolated(storage)),
            h("td", {}, size(bytes)),
            h("td", {}, `${number((100 * bytes) / total, 0)} %`),
          ),
        ),
      ),
    ),
    speedPart(entry),
  );
}

function speedPart(entry) {
  const { speed: found, contest } = entry;
  const rows = [];
  if (found) {
    rows.push(
      ["load", `${short(found.load_seconds)} s`],
      ["an image", `${short(found.image_ms)} ms`],
      ["a text", `${short(found.text_ms)} ms`],
      ["images", `${short(found.images_per_second)}/s, batch ${found.image_batch}`],
      ["texts", `${short(found.texts_per_second)}/s, batch ${found.text_batch}`],
      ["peak memory", `${number(found.peak_mb, 0)} MB`],
      ["threads", `${found.threads}`],
    );
  }
  const contestRows = contest
    ? [
        ["time", `${short(contest.seconds)} s`],
        ["images", number(contest.images, 0)],
        ["images/s", short(contest.images_per_second)],
        ["peak memory", `${number(contest.peak_mb, 0)} MB`],
        ["no network", isolated(contest.sockets)],
      ]
    : [];
  return [
    found ? [h("h4", {}, "Speed"), facts(rows)] : null,
    contest ? [h("h4", {}, "Under the contest's conditions"), facts(contestRows)] : null,
  ];
}

// --- How it was made

function provenancePart(i) {
  const entry = entries[i];
  const first = entry.results[0];
  if (!first) return null;
  const { provenance } = first;
  const words = {
    config: "a config, built and trained here",
    artifact: "a finished artifact",
    predictions: "a file of predictions",
  };
  const pairs_ = (mapping) =>
    Object.entries(mapping).map(([key, value]) => [plain(key), isolated(String(value))]);
  return h(
    "div",
    { class: "provenance" },
    h("h4", {}, "How it was made"),
    provenance.warnings.map((w) =>
      h("p", { class: "warning", role: "note" }, h("b", {}, "Note "), isolated(w)),
    ),
    facts([
      ["from", words[provenance.source]],
      ["path", isolated(provenance.path)],
      ["trained", provenance.source === "predictions" ? "not known" : provenance.trained ? "yes" : "no"],
      ...pairs_(provenance.versions),
      ...pairs_(provenance.machine),
    ]),
    provenance.overrides.length
      ? h(
          "p",
          { class: "overrides" },
          "laid over it: ",
          provenance.overrides.map((o) => h("code", {}, isolated(o))),
        )
      : null,
    seedsTable(entry),
    stagesTable(first.stages),
    provenance.plugins.length
      ? h(
          "details",
          {},
          h("summary", {}, plural(provenance.plugins.length, "plugin")),
          h(
            "div",
            { class: "scroll" },
            h(
              "table",
              { class: "plain" },
              h(
                "tbody",
                {},
                provenance.plugins.map((p) =>
                  h(
                    "tr",
                    {},
                    h("th", { scope: "row" }, isolated(p.name ?? "")),
                    h("td", {}, isolated(p.kind ?? "")),
                    h("td", {}, isolated(`${p.distribution ?? ""} ${p.version ?? ""}`)),
                  ),
                ),
              ),
            ),
          ),
        )
      : null,
    provenance.config ? configPart(provenance.config) : null,
  );
}

function seedsTable(entry) {
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "plain" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["seed", "mean accuracy", "training", "result"].map((name) =>
            h("th", { scope: "col" }, name),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        entry.results.map((r) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, r.seed),
            h("td", {}, r.failure ? "failed" : number(r.accuracy)),
            h(
              "td",
              {},
              known(r.provenance.train_seconds) ? `${number(r.provenance.train_seconds, 0)} s` : NONE,
            ),
            h("td", {}, h("code", {}, plain(r.key, 16))),
          ),
        ),
      ),
    ),
  );
}

function stagesTable(stages) {
  if (!stages.length) return null;
  return h(
    "details",
    {},
    h("summary", {}, plural(stages.length, "stage"), " of training"),
    stages.map((stage) =>
      facts(
        stage.map(([key, value]) => [
          plain(key),
          isolated(value.length > 400 ? `${value.slice(0, 399)}…` : value),
        ]),
      ),
    ),
  );
}

function configPart(config) {
  const code = h("pre", { tabindex: 0, role: "region", "aria-label": "config" }, say2(config));
  const button = h(
    "button",
    {
      type: "button",
      class: "copy",
      onclick: async () => {
        const done = await copy(config, code);
        button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
        setTimeout(() => {
          button.textContent = "Copy";
        }, 2500);
      },
    },
    "Copy",
  );
  return h(
    "details",
    { class: "config", open: true },
    h("summary", {}, "Config, as it was resolved"),
    button,
    code,
  );
}

async function copy(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node); // the browser gives a page from disk no clipboard
    return false;
  }
}
// How far an entry's probabilities can be believed.

function calibrationPart(i) {
  const cell = entries[i].cells[state.dataset];
  const bins = cell ? cell.bins.filter((bin) => bin[2] > 0 && known(bin[3]) && known(bin[4])) : [];
  const head = h("h4", {}, "Can its probabilities be believed?");
  if (!datasets.length) return null;
  const name = isolated(datasets[state.dataset].name);
  if (!bins.length)
    return h(
      "div",
      {},
      head,
      h("p", { class: "note" }, "Not known on ", name, ": it gives no probabilities."),
    );
  const images = bins.reduce((sum, bin) => sum + bin[2], 0);
  const promised = (100 * bins.reduce((sum, bin) => sum + bin[2] * bin[3], 0)) / images;
  const is = bins.reduce((sum, bin) => sum + bin[2] * bin[4], 0) / images;
  const error = bins.reduce((sum, bin) => sum + bin[2] * Math.abs(100 * bin[3] - bin[4]), 0) / images;
  const verdict =
    Math.abs(promised - is) < 1
      ? "as sure as it should be"
      : promised > is
        ? "surer than it should be"
        : "less sure than it should be";
  return h(
    "div",
    {},
    head,
    h(
      "p",
      {},
      "On ",
      name,
      ` it is on average ${number(promised, 0)} % sure and right in ${number(is, 0)} %: ${verdict}.` +
        ` Expected calibration error ${number(error)} points (first seed).`,
    ),
    calibrationChart(cell.bins, images),
  );
}

function binWords(from, to, count, right) {
  const sure = `${number(100 * from, 0)} to ${number(100 * to, 0)} % sure`;
  return `${sure}: ${plural(count, "image")}, ${number(right)} % right`;
}

function calibrationChart(bins, images) {
  const [left, top, side, low] = [40, 8, 240, 48];
  const x = (p) => left + side * p,
    y = (p) => top + side * (1 - p);
  const svg = s("svg", {
    class: "calibration",
    viewBox: `0 0 ${left + side + 12} ${top + side + low + 46}`,
    role: "img",
    "aria-label": "share of right answers by probability",
  });
  for (const t of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(
      s("line", { class: "grid", x1: left, x2: left + side, y1: y(t), y2: y(t) }),
      s("text", { class: "tick", x: left - 6, y: y(t) + 4, "text-anchor": "end" }, 100 * t),
      s(
        "text",
        { class: "tick", x: x(t), y: top + side + low + 26, "text-anchor": "middle" },
        100 * t,
      ),
    );
  }
  svg.append(s("path", { class: "ideal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }));
  const filled = bins.filter((bin) => bin[2] > 0 && known(bin[4]));
  const largest = Math.max(...bins.map((bin) => bin[2]));
  for (const [from, to, count, sure, right] of filled) {
    const words = binWords(from, to, count, right);
    svg.append(
      s("path", { class: "gap", d: `M${x(sure)} ${y(sure)}V${y(right / 100)}` }),
      s(
        "rect",
        {
          class: "count",
          x: x(from) + 1,
          width: Math.max(1, side * (to - from) - 2),
          y: top + side + 10 + low * (1 - count / largest),
          height: (low * count) / largest,
        },
        s("title", {}, words),
      ),
    );
  }
  svg.append(
    s("path", {
      class: "line",
      d: filled
        .map(([, , , sure, right], k) => `${k ? "L" : "M"}${x(sure)} ${y(right / 100)}`)
        .join(""),
    }),
  );
  svg.append(
    ...filled.map(([from, to, count, sure, right]) =>
      s(
        "circle",
        { cx: x(sure), cy: y(right / 100), r: 3 + 5 * Math.sqrt(count / images) },
        s("title", {}, binWords(from, to, count, right)),
      ),
    ),
  );
  svg.append(
    s(
      "text",
      { class: "tick", x: left + side, y: top + side + low + 42, "text-anchor": "end" },
      "sure, % (bars: images) →",
    ),
    s("text", { class: "tick", x: left + 6, y: top + 12 }, "↑ right, %"),
  );
  return svg;
}
