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
      return h("td", { class: `c-${column.key}${top ? " top" : ""}` }, cell === null ? NONE : cell);
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
