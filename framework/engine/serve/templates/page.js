"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const most = Number(at("settings").dataset.most);
  let picture = null;

  function say(id, text, bad) {
    at(id).textContent = text;
    at(id).classList.toggle("bad", Boolean(bad));
  }

  function headers() {
    const found = { "Content-Type": "application/json" };
    const key = at("key");
    if (key && key.value) found.Authorization = "Bearer " + key.value;
    return found;
  }

  async function call(path, body) {
    let response;
    try {
      response = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body) });
    } catch {
      throw new Error("the service does not answer");
    }
    const answer = await response.json().catch(() => null);
    if (!response.ok) {
      const why = (answer && answer.error && answer.error.message) || "error " + response.status;
      const wait = response.headers.get("Retry-After");
      throw new Error(wait ? why + " (try again in " + wait + " s)" : why);
    }
    return answer;
  }

  function read(file) {
    return new Promise((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = () => failed(new Error("the file cannot be read"));
      reader.readAsDataURL(file);
    });
  }

  async function take(file) {
    if (!file) return;
    say("state1", "");
    try {
      if (file.size > most) throw new Error("the picture has more than " + Math.floor(most / 1e6) + " MB");
      if (!file.size) throw new Error("the file is empty");
      let uri = await read(file);
      if (!/^data:image\//i.test(uri)) uri = uri.replace(/^data:[^;,]*/, "data:image/unknown");
      picture = uri;
      const image = new Image();
      image.alt = "the chosen picture";
      image.src = uri;
      image.onerror = () => { image.remove(); at("prompt").hidden = false; at("prompt").textContent = file.name; };
      at("drop").querySelectorAll("img").forEach((each) => each.remove());
      at("prompt").hidden = true;
      at("drop").append(image);
    } catch (error) {
      say("state1", error.message, true);
    }
  }

  async function working(button, state, work) {
    const started = performance.now();
    at(button).disabled = true;
    say(state, "…");
    try {
      const words = await work();
      say(state, words + " in " + ((performance.now() - started) / 1000).toFixed(2) + " s");
    } catch (error) {
      say(state, error.message, true);
    } finally {
      at(button).disabled = false;
    }
  }

  function line(name, share) {
    const item = document.createElement("li");
    const label = document.createElement("span");
    const value = document.createElement("b");
    const track = document.createElement("div");
    const bar = document.createElement("i");
    label.textContent = name;
    value.textContent = (100 * share).toFixed(1) + " %";
    track.className = "track";
    bar.style.width = 100 * share + "%";
    track.append(bar);
    item.append(label, value, track);
    return item;
  }

  async function classify() {
    at("answers").replaceChildren();
    if (!picture) throw new Error("choose a picture first");
    const classes = at("classes").value.split(/[,\n]/).map((each) => each.trim()).filter(Boolean);
    if (!classes.length) throw new Error("type at least one class name");
    const answer = await call("v1/classify", { images: [picture], classes, top: Math.min(20, classes.length) });
    if (answer.data[0].error) throw new Error(answer.data[0].error);
    for (const each of answer.data[0].answers) at("answers").append(line(each.name, each.probability));
    return answer.data[0].answers.length + " answers";
  }

  async function image(id) {
    const response = await fetch("v1/pictures/" + id, { headers: headers() });
    if (!response.ok) return "";
    return URL.createObjectURL(await response.blob());
  }

  function card(hit) {
    const figure = document.createElement("figure");
    const frame = document.createElement("div");
    const caption = document.createElement("figcaption");
    const name = document.createElement("p");
    frame.className = "photo";
    name.textContent = hit.score.toFixed(3) + "  " + hit.path.split("/").pop() + (hit.member ? " / " + hit.member : "");
    name.title = hit.path;
    caption.append(name);
    figure.append(frame, caption);
    image(hit.id).then((source) => {
      if (!source) return;
      const shown = new Image();
      shown.alt = "";
      shown.onload = () => URL.revokeObjectURL(source);
      shown.src = source;
      frame.append(shown);
    });
    return figure;
  }

  async function search() {
    at("hits").replaceChildren();
    const texts = [at("query").value.trim()].filter(Boolean);
    const minus = [at("minus").value.trim()].filter(Boolean);
    const images = at("like").checked ? [picture].filter(Boolean) : [];
    if (!texts.length && !images.length) throw new Error("type what the pictures show, or choose a picture");
    const answer = await call("v1/search", { texts, minus, images, top: 24 });
    if (answer.problems.length) throw new Error(answer.problems.join("; "));
    for (const hit of answer.data) at("hits").append(card(hit));
    return answer.data.length + " pictures";
  }

  const drop = at("drop");
  at("file").addEventListener("change", (event) => take(event.target.files[0]));
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  }
  drop.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
  document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
  at("classify").addEventListener("click", () => working("classify", "state1", classify));
  at("search").addEventListener("click", () => working("search", "state2", search));
  at("query").addEventListener("keydown", (event) => { if (event.key === "Enter") at("search").click(); });
})();
