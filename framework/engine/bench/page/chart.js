// Accuracy against what it costs: bytes, or milliseconds an image.

const AXES = {
  bytes: {
    title: "weights",
    of: (e) => e.bytes,
    front: "onBytesFront",
    words: size,
    than: "lighter",
  },
  ms: {
    title: "milliseconds an image, one at a time",
    of: (e) => e.speed && e.speed.image_ms,
    front: "onMsFront",
    words: (x) => `${short(x)} ms`,
    than: "faster",
  },
};

function chartSection() {
  const timed = evaluated.some((i) => known(AXES.ms.of(entries[i])));
  const holder = h("div", { class: "chart" });
  const tip = h("div", { class: "tip", hidden: true });
  const legend = h("ul", { class: "legend" });
  const missing = h("p", { class: "note" });
  const axis = switches(
    "Against",
    [
      ["bytes", "weights"],
      ["ms", "time"],
    ],
    (value) => choose({ axis: value }),
  );
  const note = h("span");
  const element = section(
    "picture",
    "Accuracy against cost",
    note,
    timed ? axis : null,
    h("div", { class: "holder" }, holder, tip),
    legend,
    missing,
  );
  const render = () => {
    const { title, than } = AXES[state.axis];
    axis.pick(state.axis);
    note.textContent =
      `Mean accuracy against ${title}, with 95 % intervals. On the line stand the entries` +
      ` that nothing ${than} beats. Choose a point to go to its row.`;
    drawChart(holder, tip);
    tell(legend, missing);
  };
  let before = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth !== before) requestAnimationFrame(() => drawChart(holder, tip));
    before = holder.clientWidth;
  }).observe(holder);
  onChange(["axis", "size_bucket", "entry", "find", "hideUntrained", "hideContaminated"], render);
  return element;
}

function pointsOf() {
  const { of, front } = AXES[state.axis];
  const over = size_buckets.length ? size_buckets[state.size_bucket].over : [];
  return byAccuracy
    .filter((i) => of(entries[i]) > 0 && wanted(i))
    .map((i) => ({
      i,
      entry: entries[i],
      cost: of(entries[i]),
      front: entries[i][front],
      over: over.includes(i),
      low: entries[i].interval ? entries[i].interval[0] : entries[i].accuracy,
      high: entries[i].interval ? entries[i].interval[1] : entries[i].accuracy,
    }));
}

const kindOf = (p) =>
  [
    p.front && !p.over ? "front" : "behind",
    p.over && "over",
    p.entry.untrained && "untrained",
    isContaminated(p.entry) && "contaminated",
  ]
    .filter(Boolean)
    .join(" ");

function drawChart(holder, tip) {
  const points = pointsOf();
  tip.hidden = true;
  if (!points.length || !holder.clientWidth) {
    holder.replaceChildren(
      points.length ? "" : h("p", { class: "empty" }, "Nothing here has a known size or was timed."),
    );
    return;
  }
  const width = holder.clientWidth;
  const frame = { left: 44, right: width - 14, top: 26, bottom: (width < 560 ? 340 : 430) - 44 };
  const costs = points.map((p) => p.cost);
  const pad = Math.max(0.12, 0.09 * Math.log10(Math.max(...costs) / Math.min(...costs)));
  const [from, to] = [Math.log10(Math.min(...costs)) - pad, Math.log10(Math.max(...costs)) + pad];
  const x = (cost) =>
    frame.left + ((Math.log10(cost) - from) / (to - from)) * (frame.right - frame.left);
  const lows = Math.min(...points.map((p) => p.low)),
    highs = Math.max(...points.map((p) => p.high));
  const room = Math.max(1, 0.08 * (highs - lows));
  const [low, high] = [Math.max(0, lows - room), Math.min(100, highs + room)];
  const y = (value) => frame.bottom - ((value - low) / (high - low)) * (frame.bottom - frame.top);
  const svg = s("svg", {
    viewBox: `0 0 ${width} ${frame.bottom + 44}`,
    width,
    height: frame.bottom + 44,
    role: "group",
    "aria-label": "accuracy against cost, a point for each entry",
  });
  svg.append(...grid(frame, x, y, [10 ** from, 10 ** to], [low, high]), ...limits(frame, x));
  svg.append(...frontLine(frame, points, x, y));
  for (const p of points)
    Object.assign(p, { x: x(p.cost), y: y(p.entry.accuracy), y0: y(p.high), y1: y(p.low) });
  svg.append(
    ...points.map((p) =>
      s("path", {
        class: `bar ${kindOf(p)}`,
        d: `M${p.x} ${p.y0}V${p.y1}M${p.x - 4} ${p.y0}h8M${p.x - 4} ${p.y1}h8`,
      }),
    ),
  );
  svg.append(...labels(frame, points), ...[...points].reverse().map((p) => dot(p, tip, holder)));
  holder.replaceChildren(svg);
}

function grid(frame, x, y, [smallest, largest], [low, high]) {
  const parts = [];
  for (const value of ticks(low, high, 5)) {
    parts.push(
      s("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(value), y2: y(value) }),
      s(
        "text",
        { class: "tick", x: frame.left - 8, y: y(value) + 4, "text-anchor": "end" },
        `${Number(value.toFixed(1))}`,
      ),
    );
  }
  let last = -Infinity;
  for (const cost of costTicks(smallest, largest)) {
    const at = x(cost);
    if (at < frame.left || at > frame.right || at - last < 56) continue;
    last = at;
    parts.push(
      s("line", { class: "grid", x1: at, x2: at, y1: frame.bottom, y2: frame.bottom + 5 }),
      s(
        "text",
        { class: "tick", x: at, y: frame.bottom + 20, "text-anchor": "middle" },
        tickWords(cost),
      ),
    );
  }
  parts.push(
    s("line", {
      class: "base",
      x1: frame.left,
      x2: frame.right,
      y1: frame.bottom,
      y2: frame.bottom,
    }),
    s("text", { class: "tick", x: frame.left - 36, y: 12 }, "mean accuracy, %"),
    s(
      "text",
      { class: "tick", x: frame.right, y: frame.bottom + 40, "text-anchor": "end" },
      `${AXES[state.axis].title} →`,
    ),
  );
  return parts;
}

// 1, 2, 5 of every power of ten; evenly spaced numbers where the costs lie too near for those.
function costTicks(smallest, largest) {
  const found = [];
  for (let k = Math.floor(Math.log10(smallest)); k <= Math.log10(largest); k++) {
    found.push(
      ...[1, 2, 5].map((m) => m * 10 ** k).filter((cost) => cost >= smallest && cost <= largest),
    );
  }
  return found.length > 2 ? found : ticks(smallest, largest, 6);
}

function tickWords(cost) {
  const value = (v) => `${Number(v.toPrecision(3))}`;
  if (state.axis === "ms") return `${value(cost)} ms`;
  for (const [unit, one] of [
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ]) {
    if (cost >= one) return `${value(cost / one)} ${unit}`;
  }
  return `${value(cost)} B`;
}

// A line for each limit, and what lies beyond the chosen one.
function limits(frame, x) {
  if (state.axis !== "bytes") return [];
  const parts = [];
  const now = size_buckets[state.size_bucket];
  if (now && known(now.limit) && x(now.limit) < frame.right) {
    const at = Math.max(frame.left, x(now.limit));
    parts.push(
      s("rect", {
        class: "beyond",
        x: at,
        y: frame.top,
        width: frame.right - at,
        height: frame.bottom - frame.top,
      }),
    );
  }
  let last = Infinity;
  for (const [k, size_bucket] of [...size_buckets.entries()].reverse()) {
    if (!known(size_bucket.limit)) continue;
    const at = x(size_bucket.limit);
    if (at < frame.left || at > frame.right) continue;
    parts.push(
      s("line", {
        class: k === state.size_bucket ? "limit now" : "limit",
        x1: at,
        x2: at,
        y1: frame.top,
        y2: frame.bottom,
      }),
    );
    if (last - at < 54 || at - frame.left < 58) continue;
    last = at;
    parts.push(
      s(
        "text",
        {
          class: k === state.size_bucket ? "tick now" : "tick",
          x: at - 5,
          y: frame.top + 10,
          "text-anchor": "end",
        },
        size_bucket.words,
      ),
    );
  }
  return parts;
}

// The best accuracy for at most so much: stairs through the front.
function frontLine(frame, points, x, y) {
  const front = points.filter((p) => p.front).sort((a, b) => a.cost - b.cost);
  if (!front.length) return [];
  let line = `M${x(front[0].cost)} ${y(front[0].entry.accuracy)}`;
  for (const p of front.slice(1)) line += `H${x(p.cost)}V${y(p.entry.accuracy)}`;
  line += `H${frame.right}`;
  return [
    s("path", { class: "under", d: `${line}V${frame.bottom}H${x(front[0].cost)}Z` }),
    s("path", { class: "frontline", d: line }),
  ];
}

function dot(p, tip, holder) {
  const show = () => {
    tip.replaceChildren(
      h(
        "div",
        {},
        h("strong", {}, isolated(p.entry.name)),
        h(
          "span",
          {},
          `${number(p.entry.accuracy)} %`,
          h("small", {}, ` ${range(p.entry.interval)}`),
        ),
        h("span", {}, `${size(p.entry.bytes)}, ${many(p.entry.parameters)} parameters`),
        p.entry.speed ? h("span", {}, `${short(p.entry.speed.image_ms)} ms an image`) : null,
        p.over ? h("span", {}, "over the limit") : null,
        p.entry.badges.map(badge),
      ),
    );
    tip.hidden = false;
    const beside =
      p.x + 16 + tip.offsetWidth > holder.clientWidth ? p.x - 16 - tip.offsetWidth : p.x + 16;
    tip.style.setProperty("left", `${Math.max(0, beside)}px`);
    tip.style.setProperty(
      "top",
      `${Math.max(0, Math.min(p.y - 20, holder.clientHeight - tip.offsetHeight))}px`,
    );
  };
  const hide = () => {
    tip.hidden = true;
  };
  const go = (event) => {
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    showRow(p.i);
  };
  const words =
    `${plain(p.entry.name)}: ${number(p.entry.accuracy)} %, ${AXES[state.axis].words(p.cost)}` +
    `${p.over ? ", over the limit" : ""}${p.entry.badges.map((b) => `, ${plain(b[1])}`).join("")}`;
  const shape = p.entry.untrained
    ? s("path", { class: "mark", d: `M${p.x} ${p.y - 8}l8 8l-8 8l-8 -8z` })
    : s("circle", { class: "mark", cx: p.x, cy: p.y, r: 6.5 });
  return s(
    "g",
    {
      class: `dot ${kindOf(p)}${state.entry === p.i ? " chosen" : ""}`,
      role: "link",
      tabindex: 0,
      "aria-label": words,
      "data-entry": p.i,
      onmouseenter: show,
      onfocus: show,
      onmouseleave: hide,
      onblur: hide,
      onclick: go,
      onkeydown: go,
    },
    s("circle", { class: "hit", cx: p.x, cy: p.y, r: 15 }),
    s("circle", { class: "ring", cx: p.x, cy: p.y, r: 11 }),
    shape,
  );
}

function tell(legend, missing) {
  const points = pointsOf();
  const kinds = [
    ["front", `nothing ${AXES[state.axis].than} is better`, points.some((p) => p.front && !p.over)],
    [
      "behind",
      `something ${AXES[state.axis].than} is better`,
      points.some((p) => !p.front && !p.over),
    ],
    ["over", "over the limit", points.some((p) => p.over)],
    ["contaminated", "saw test data in training", points.some((p) => isContaminated(p.entry))],
    ["untrained", "random weights", points.some((p) => p.entry.untrained)],
  ];
  legend.replaceChildren(
    ...kinds
      .filter((kind) => kind[2])
      .map(([kind, words]) => h("li", { class: kind }, h("i", { "aria-hidden": "true" }), words)),
  );
  const named = (which) => listed(which.map((i) => plain(entries[i].name)));
  const { of } = AXES[state.axis];
  const absent = evaluated.filter((i) => !(of(entries[i]) > 0)),
    hidden = evaluated.filter((i) => of(entries[i]) > 0 && !wanted(i));
  missing.textContent = [
    absent.length
      ? `Not drawn: ${named(absent)} (${state.axis === "bytes" ? "size not known" : "not timed"}).`
      : "",
    hidden.length ? `Hidden by the leaderboard's filter: ${named(hidden)}.` : "",
  ].join(" ");
}
// Names beside the points of the picture: none over another or over a point; over an interval or the
// line only where there is no other room.

const pen = document.createElement("canvas").getContext("2d");

function labels(frame, points) {
  pen.font = `600 13px ${getComputedStyle(document.body).fontFamily}`;
  const taken = points.map((p) => ({
    left: p.x - 9,
    right: p.x + 9,
    top: p.y - 9,
    bottom: p.y + 9,
  }));
  const lines = points
    .map((p) => ({ left: p.x - 3, right: p.x + 3, top: p.y0, bottom: p.y1 }))
    .concat(stairs(frame, points));
  const parts = [];
  for (const p of points) {
    const name = plain(p.entry.name, 26);
    const width = pen.measureText(name).width + 4;
    const box = free(frame, p, width, [...taken, ...lines]) || free(frame, p, width, taken);
    if (!box) continue; // no room: its point still tells it
    taken.push(box);
    const [cx, cy] = [Math.min(Math.max(p.x, box.left), box.right), (box.top + box.bottom) / 2];
    if (Math.hypot(cx - p.x, cy - p.y) > 24) {
      parts.push(
        s("line", { class: "lead", x1: p.x, y1: p.y, x2: cx, y2: cy > p.y ? box.top : box.bottom }),
      );
    }
    parts.push(s("text", { class: `name ${kindOf(p)}`, x: box.left + 2, y: box.bottom - 4 }, name));
  }
  return parts;
}

// The front's line as narrow boxes.
function stairs(frame, points) {
  const front = points.filter((p) => p.front).sort((a, b) => a.x - b.x);
  return front.flatMap((p, k) => {
    const next = front[k + 1] || { x: frame.right, y: p.y };
    return [
      { left: p.x, right: next.x, top: p.y - 1, bottom: p.y + 1 },
      { left: next.x - 1, right: next.x + 1, top: next.y, bottom: p.y },
    ];
  });
}

function free(frame, p, width, taken) {
  const height = 17;
  for (const far of [0, 10, 22, 36, 52, 72, 96]) {
    const d = 11 + far;
    const spots = [
      [d, -height / 2],
      [-d - width, -height / 2],
      [d * 0.7, -d - height / 2],
      [-d * 0.7 - width, -d - height / 2],
      [d * 0.7, d - height / 2],
      [-d * 0.7 - width, d - height / 2],
      [-width / 2, -d - height],
      [-width / 2, d],
    ];
    for (const [dx, dy] of spots) {
      const box = {
        left: p.x + dx,
        right: p.x + dx + width,
        top: p.y + dy,
        bottom: p.y + dy + height,
      };
      const inside =
        box.left >= frame.left &&
        box.right <= frame.right + 10 &&
        box.top >= frame.top + 12 &&
        box.bottom <= frame.bottom;
      if (
        inside &&
        !taken.some(
          (t) =>
            t.left < box.right && box.left < t.right && t.top < box.bottom && box.top < t.bottom,
        )
      )
        return box;
    }
  }
  return null;
}
