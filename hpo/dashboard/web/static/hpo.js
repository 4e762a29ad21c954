"use strict";
// Refreshes the parts of a page that the server marked as live, and draws learning curves.

const EVERY_MS = 3000;
const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

async function refreshParts() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) throw new Error(response.statusText);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const found = fresh.getElementById(part.id);
    const isRead = part.contains(document.activeElement) || part.contains(getSelection().anchorNode) && !getSelection().isCollapsed;
    if (!found || isRead || found.innerHTML === part.innerHTML) continue;
    for (const open of part.querySelectorAll("details[open]")) found.querySelector("#" + CSS.escape(open.id))?.setAttribute("open", "");
    part.replaceChildren(...found.childNodes);
  }
}

class Curves {
  constructor(place) {
    this.place = place;
    this.select = document.createElement("select");
    this.select.ariaLabel = "metric";
    this.train = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    this.told = document.createElement("output");
    const label = document.createElement("label");
    label.append(this.train, " training, dashed");
    const form = document.createElement("form");
    form.append(this.select, label, this.told);
    this.drawing = document.createElement("div");
    place.replaceChildren(form, this.drawing);
    form.addEventListener("input", () => this.draw());
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  async refresh() {
    const response = await fetch(this.place.dataset.curves);
    if (!response.ok) throw new Error(response.statusText);
    this.data = await response.json();
    const bases = [...new Set(this.data.curves.flatMap((c) => Object.keys(c.points)).map(baseOf))].sort();
    if (bases.join() !== [...this.select.options].map((o) => o.value).join()) {
      const chosen = this.select.value || baseOf(this.data.metric);
      this.select.replaceChildren(...bases.map((b) => new Option(b)));
      if (bases.includes(chosen)) this.select.value = chosen;
    }
    this.draw();
  }

  draw() {
    const base = this.select.value;
    const lines = this.data.curves.flatMap((curve) => [["val_" + base, ""], [base, ""], ["train_" + base, " train"]]
      .filter(([name, kind]) => curve.points[name] && (!kind || this.train.checked))
      .map(([name, kind]) => ({ curve, kind, ...curve.points[name] })));
    const values = lines.flatMap((l) => l.y).filter((y) => y !== null).sort((a, b) => a - b);
    if (!values.length) {
      this.drawing.textContent = "No epoch has been reported yet.";
      return;
    }
    // A few diverged curves must not flatten the others.
    const [q1, q3] = [values[Math.floor(values.length * 0.25)], values[Math.floor(values.length * 0.75)]];
    const reach = Math.max(3 * (q3 - q1), 1e-9);
    const low = Math.max(values[0], q1 - reach), high = Math.min(values.at(-1), q3 + reach);
    const span = high - low || Math.abs(high) || 1;
    const xs = lines.flatMap((l) => l.x), first = Math.min(...xs), last = Math.max(...xs);
    const width = Math.max(320, this.drawing.clientWidth || 900), height = Math.min(380, Math.max(220, width * 0.4));
    const [left, right, top, bottom] = [56, 10, 10, 26];
    const X = (x) => left + (width - left - right) * (last === first ? 0.5 : (x - first) / (last - first));
    const Y = (y) => top + (height - top - bottom) * (1 - Math.min(1.02, Math.max(-0.02, (y - low) / span)));
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${base} of ${this.data.curves.length} trials` });
    for (let i = 0; i <= 4; i++) {
      const y = low + (span * i) / 4;
      svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: Y(y), y2: Y(y) }),
        make("text", { x: left - 6, y: Y(y) + 4, "text-anchor": "end" }, Number(y.toPrecision(3)).toString()));
    }
    for (const x of new Set([first, Math.round((first + last) / 2), last])) {
      svg.append(make("text", { x: X(x), y: height - 8, "text-anchor": x === last && last > first ? "end" : "middle" }, (x === last ? "epoch " : "") + x));
    }
    lines.sort((a, b) => this.rank(a.curve) - this.rank(b.curve));
    for (const line of lines) {
      const number = line.curve.number;
      const kind = number === this.data.best ? "best" : line.curve.state === "RUNNING" ? "running" : "";
      // Of a single epoch, a short stroke.
      const d = line.y.map((y, i) => y === null ? "" : `${i && line.y[i - 1] !== null ? "L" : "M"}${X(line.x[i]).toFixed(1)} ${Y(y).toFixed(1)}${line.y.length === 1 ? "h4" : ""}`).join("");
      const path = make("path", { class: `${kind}${line.kind}`, d });
      const link = make("a", { href: this.place.dataset.trials + number }, make("path", { class: "hit", d }), path);
      link.addEventListener("mouseenter", () => { path.classList.add("shown"); this.tell(line.curve, base); });
      link.addEventListener("mouseleave", () => { path.classList.remove("shown"); this.tell(); });
      svg.append(link);
    }
    this.drawing.replaceChildren(svg);
    this.tell();
  }

  rank(curve) {
    return curve.number === this.data.best ? 2 : curve.state === "RUNNING" ? 1 : 0;
  }

  tell(curve, base) {
    const n = this.data.curves.length;
    if (!curve) {
      this.told.value = n === 1 ? "" : `${n} trials${this.data.best === null ? "" : `, best is trial ${this.data.best}`}`;
      return;
    }
    const of = (name) => curve.points[name] ? ` ${name} ${Number(curve.points[name].y.at(-1)?.toPrecision(4))}` : "";
    this.told.value = `trial ${curve.number}:${of("val_" + base)}${of(base)}${of("train_" + base)}`;
  }
}

function baseOf(name) {
  return name.replace(/^(val|train)_/, "");
}

const curves = [...document.querySelectorAll("[data-curves]")].map((place) => new Curves(place));

async function refresh(parts) {
  const live = document.getElementById("live");
  try {
    if (!document.hidden) {
      await Promise.all([...curves.map((each) => each.refresh()), ...(parts ? [refreshParts()] : [])]);
      live.textContent = "live";
    }
  } catch (error) {
    live.textContent = `not live: ${error.message || "the dashboard does not answer"}`;
  }
  setTimeout(() => refresh(true), EVERY_MS);
}

if (document.querySelector("[data-live]")) refresh(false);
