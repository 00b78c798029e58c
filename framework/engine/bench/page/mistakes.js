// Pictures that an entry was wrong about, with what the others answered.

function mistakesPart() {
  if (!pictures.length) return null;
  const which = withConfusion();
  const mine = entrySelect("Entry", which, (entry) => choose({ entry, confused: null }));
  const other = select(
    "that",
    [[-1, "all mistakes"], ...which.map((i) => [i, `${plain(entries[i].name)} got right`])],
    (against) => choose({ against }),
  );
  const filter = h("p", { class: "filter" });
  const cards = h("div", { class: "cards" });
  const draw = () => {
    mine.pick(state.entry);
    other.pick(state.against);
    drawMistakes(cards, filter);
  };
  const element = h(
    "div",
    { id: "mistakes" },
    h("h3", {}, "Mistakes as pictures"),
    h(
      "p",
      { class: "note" },
      "A sample, the same pictures for all entries: from every class in turn, first those that" +
        " somebody got right, the surest mistakes first.",
    ),
    h("div", { class: "tools" }, mine, other, filter),
    cards,
  );
  onChange(["dataset", "entry", "confused", "against"], draw);
  return element;
}

const answerOf = (picture, i) => picture.answers.find((a) => a[0] === i);

// Pictures of a data set that one entry got wrong and the other right.
function onlyRight(right, wrong, d) {
  return pictures.filter((picture) => {
    const [good, bad] = [answerOf(picture, right), answerOf(picture, wrong)];
    return (
      picture.dataset === d && good && bad && good[1] === picture.label && bad[1] !== picture.label
    );
  });
}

function drawMistakes(cards, filter) {
  const own = state.confused && state.confused.split(" ").map(Number);
  const found = pictures
    .filter((picture) => {
      const mine = answerOf(picture, state.entry);
      if (picture.dataset !== state.dataset || !mine || mine[1] === picture.label) return false;
      if (own && (picture.label !== own[0] || mine[1] !== own[1])) return false;
      return true;
    })
    .filter(
      (picture) =>
        state.against < 0 || onlyRight(state.against, state.entry, state.dataset).includes(picture),
    );
  filter.replaceChildren(
    ...(own
      ? [
          h(
            "button",
            { type: "button", class: "chip", onclick: () => choose({ confused: null }) },
            isolated(className(state.dataset, own[0])),
            " → ",
            isolated(className(state.dataset, own[1])),
            h("span", { "aria-label": "show all" }, " ✕"),
          ),
        ]
      : []),
  );
  cards.replaceChildren(
    ...(found.length
      ? found.map((picture) => card(picture, answerOf(picture, state.entry)))
      : [h("p", { class: "empty" }, "No such picture is among the sample on this page.")]),
  );
}

function card(picture, [, answer, sure]) {
  const others = picture.answers.filter((a) => a[0] !== state.entry);
  const right = others.filter((a) => a[1] === picture.label).map((a) => a[0]);
  const name = (c) => (c < 0 ? "no answer" : isolated(className(picture.dataset, c)));
  return h(
    "figure",
    { title: plain(picture.id) },
    h(
      "div",
      { class: "photo" },
      h("img", {
        src: picture.source,
        loading: "lazy",
        alt: `shows ${plain(className(picture.dataset, picture.label))}`,
      }),
    ),
    h(
      "figcaption",
      {},
      h("p", { class: "truth" }, h("small", {}, "shows "), name(picture.label)),
      h(
        "p",
        { class: "predicted" },
        h("small", {}, "answer "),
        name(answer),
        known(sure) ? h("span", { class: "sure" }, ` ${number(100 * sure, 0)}\u00a0%`) : null,
      ),
      known(sure)
        ? h(
            "span",
            { class: "meter", "aria-hidden": "true" },
            h("i", { css: { width: `${100 * sure}%` } }),
          )
        : null,
      others.length
        ? h(
            "p",
            { class: "others" },
            right.length
              ? ["right: ", right.map((i, k) => [k ? ", " : "", isolated(entries[i].name)])]
              : "nobody else was right",
          )
        : null,
    ),
  );
}
