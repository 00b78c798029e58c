// The page: its head, then the sections in order.

function headSection() {
  const cards = size_buckets.map((size_bucket, t) => [size_bucket, t]).map(([size_bucket, t]) => bestCard(size_bucket, t));
  const images = datasets.reduce((sum, each) => sum + each.images, 0);
  const ofAll = data.provenance
    .filter(([, value]) => value.length <= SHORT)
    .map(([key, value]) => [plain(key), isolated(value)]);
  const head = h(
    "header",
    {},
    h("p", { class: "kind" }, "Leaderboard: who is best under so many megabytes"),
    h("h1", {}, isolated(data.suite)),
    facts([
      ["entries", `${entries.length}`],
      ["data sets", `${datasets.length}`],
      ["images", number(images, 0)],
      ["comparisons", pairs.length ? number(pairs.length, 0) : null],
      ...ofAll,
    ]),
    h("div", { class: "best" }, cards),
    Object.entries(data.skipped).map(([name, why]) =>
      h(
        "p",
        { class: "warning", role: "note" },
        h("b", {}, "Left out "),
        isolated(name),
        ": ",
        isolated(why),
      ),
    ),
    data.notes.map((note) =>
      h("p", { class: "warning", role: "note" }, h("b", {}, "All entries "), isolated(note)),
    ),
  );
  onChange(["size_bucket"], () =>
    cards.forEach((card, t) => card.setAttribute("aria-pressed", t === state.size_bucket)),
  );
  return head;
}

const SHORT = 40; // characters of a fact that stands in the head; longer ones stand in the footer
const TIED = 3; // names of tied entries listed on a card

function bestCard(size_bucket, t) {
  const [first] = size_bucket.ranks;
  const winner = first && entries[first[0]];
  const tied = size_bucket.ranks
    .slice(1)
    .filter((p) => p[1] === 1)
    .map((p) => entries[p[0]].name);
  const body = winner
    ? [
        h("span", { class: "who" }, isolated(winner.name)),
        h("span", { class: "figure" }, number(winner.accuracy), h("small", {}, "%")),
        h("span", { class: "what" }, `${range(winner.interval)}, ${size(winner.bytes)}`),
        tied.length
          ? h(
              "span",
              { class: "tied", title: plain(tied.join(", "), 600) },
              "tied with ",
              tied.slice(0, TIED).map((name, i) => [i ? ", " : "", isolated(name)]),
              tied.length > TIED ? ` and ${tied.length - TIED} more` : "",
            )
          : null,
        h(
          "span",
          { class: "badges" },
          winner.badges.filter(([kind]) => kind !== "note").map(badge),
        ),
      ]
    : [
        h("span", { class: "who none" }, "nobody"),
        h(
          "span",
          { class: "what" },
          `${plural(size_bucket.over.length, "entry", "entries")} over the limit`,
        ),
      ];
  return h(
    "button",
    { type: "button", "aria-pressed": "false", onclick: () => choose({ size_bucket: t }) },
    h("span", { class: "limit" }, `Best ${known(size_bucket.limit) ? underWords(size_bucket) : "of all"}`),
    body,
  );
}

function navigation(sections) {
  return h(
    "nav",
    { "aria-label": "sections" },
    sections.map((each) => h("a", { href: `#${each.id}` }, each.querySelector("h2").textContent)),
  );
}

function footer() {
  return h(
    "footer",
    {},
    data.method ? h("p", {}, isolated(data.method)) : null,
    data.provenance
      .filter(([, value]) => value.length > SHORT)
      .map(([key, value]) => h("p", {}, isolated(key), ": ", isolated(value))),
    h(
      "p",
      {},
      "Ranks: an entry is behind another where the difference is significant at 5 % after" +
        " correction; else they are tied. The line of the picture is the Pareto front. This page" +
        " needs no network: it is one file, and its policy forbids everything else.",
    ),
  );
}

// At first the widest limit that somebody keeps.
state.size_bucket = size_buckets.length - 1;
for (const [t, size_bucket] of size_buckets.entries())
  if (known(size_bucket.limit) && size_bucket.ranks.length) state.size_bucket = t;
state.entry = byAccuracy.length
  ? size_buckets.length && size_buckets[state.size_bucket].ranks.length
    ? size_buckets[state.size_bucket].ranks[0][0]
    : byAccuracy[0]
  : 0;
const sections = [
  chartSection(),
  leaderboardSection(),
  pairsSection(),
  datasets.length ? datasetsSection() : null,
].filter(Boolean);
if (datasets.length)
  sections[sections.length - 1].append(...[confusionPart(), mistakesPart()].filter(Boolean));
if (entries.length) sections.push(entrySection());
document.body.append(headSection(), navigation(sections), h("main", {}, sections), footer());
