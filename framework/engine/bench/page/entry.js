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
