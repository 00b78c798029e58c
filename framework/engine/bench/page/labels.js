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
