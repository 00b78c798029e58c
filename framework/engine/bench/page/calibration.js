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
