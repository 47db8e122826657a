// Chunks with their thumbnails; a branch is a row of its own below the chunk that it leaves.

export class Timeline {
  constructor(root, { go, compare }) {
    Object.assign(this, { root, go, compare, moments: new Map(), current: null, making: null });
  }

  add(moment) {
    const before = this.moments.get(moment.moment);
    if (before) URL.revokeObjectURL(before.url);
    this.moments.set(moment.moment, { ...before, ...moment });
    this.draw();
  }

  at(number) { this.current = number; this.draw(); }

  clear() {
    for (const { url } of this.moments.values()) URL.revokeObjectURL(url);
    this.moments.clear(); this.current = null; this.making = null; this.draw();
  }

  // Numbers from the beginning to a moment.
  line(number) {
    const line = [];
    for (let at = number; at !== null && this.moments.has(at); at = this.moments.get(at).parent) line.unshift(at);
    return line;
  }

  draw() {
    const line = new Set(this.line(this.current)), kids = new Map();
    for (const { moment, parent } of this.moments.values()) kids.set(parent, [...(kids.get(parent) ?? []), moment]);
    if (this.making !== null) kids.set(this.current, [...(kids.get(this.current) ?? []), this.making]);
    const rows = [], place = (number, depth, row) => {
      row.push(number);
      const next = kids.get(number) ?? [];
      next.forEach((kid, i) => {
        if (i === 0) return place(kid, depth + 1, row);
        const other = []; rows.push({ depth: depth + 1, chunks: other }); place(kid, depth + 1, other);
      });
    };
    for (const root of kids.get(null) ?? []) { const row = []; rows.push({ depth: 0, chunks: row }); place(root, 0, row); }
    this.root.replaceChildren(...rows.map(({ depth, chunks }) => {
      const row = document.createElement("div");
      row.className = "branch";
      for (let i = 0; i < depth; i++) row.append(Object.assign(document.createElement("span"), { className: i === depth - 1 ? "gap turn" : "gap" }));
      row.append(...chunks.map((number) => (this.moments.has(number) ? this.chunk(this.moments.get(number), line) : pending())));
      return row;
    }));
    this.root.querySelector(".here")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  chunk({ moment, url, report, count }, line) {
    const made = document.createElement("button");
    made.className = `chunk${line.has(moment) ? " line" : ""}${moment === this.current ? " here" : ""}${report.held ? "" : " faded"}`;
    made.dataset.moment = moment;
    made.title = moment === 0 ? "The beginning" : `Chunk ${moment}: ${count} frames${report.prompt ? `, “${report.prompt}”` : ""}. Click to go back to it.`;
    made.innerHTML = "<img alt=''><b></b><s title='Compare with where you stand'>⇄</s>";
    made.querySelector("img").src = url;
    made.querySelector("b").textContent = moment === 0 ? "start" : moment;
    made.onclick = () => moment !== this.current && this.go(moment);
    made.querySelector("s").onclick = (event) => { event.stopPropagation(); this.compare(moment); };
    return made;
  }
}

function pending() {
  return Object.assign(document.createElement("div"), { className: "chunk new", textContent: "being drawn" });
}
