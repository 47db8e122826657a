// The world from above: x to the right, the first view's forward up; points, walks, where one stands and is about to.

export class Minimap {
  constructor(canvas) {
    Object.assign(this, { canvas, context: canvas.getContext("2d"), places: new Float32Array(), colours: new Uint8Array(), walks: [] });
    new ResizeObserver(() => this.soon()).observe(canvas);
  }

  set(places, colours) { Object.assign(this, { places, colours }); this.soon(); }

  // walks: [{ line: [[x,y,z], ...], on: bool }]; here, tip: poses of twelve numbers
  trace(walks, here, tip, lens) { Object.assign(this, { walks, here, tip, lens }); this.soon(); }

  soon() {
    if (!this.waits) this.waits = requestAnimationFrame(() => { this.waits = 0; this.draw(); });
  }

  draw() {
    const { canvas, context, here } = this, scale = devicePixelRatio || 1;
    if (!canvas.clientWidth) return;
    const [width, height] = [(canvas.width = canvas.clientWidth * scale), (canvas.height = canvas.clientHeight * scale)];
    if (!here) return;
    const spread = this.extent(here), unit = Math.min(width, height) / (2 * spread);
    const at = (x, z) => [width / 2 + (x - here[0]) * unit, height / 2 - (z - here[2]) * unit];
    const step = Math.max(1, Math.floor(this.places.length / 3 / 12000)), dot = Math.max(1.5 * scale, 0.03 * unit);
    for (let i = 0; i < this.places.length / 3; i += step) {
      const [x, y] = at(this.places[3 * i], this.places[3 * i + 2]);
      if (x < 0 || y < 0 || x > width || y > height) continue;
      context.fillStyle = `rgb(${this.colours[3 * i]} ${this.colours[3 * i + 1]} ${this.colours[3 * i + 2]} / .75)`;
      context.fillRect(x - dot / 2, y - dot / 2, dot, dot);
    }
    context.lineWidth = 2 * scale; context.lineJoin = "round";
    for (const { line, on } of this.walks) {
      context.strokeStyle = on ? "#f2b880" : "#646e82aa";
      context.beginPath(); line.forEach(([x, , z]) => context.lineTo(...at(x, z))); context.stroke();
    }
    if (this.tip) this.wedge(this.tip, at, unit * spread, "#7fb4e6", 0.28);
    this.wedge(here, at, unit * spread, "#f2b880", 0.34);
  }

  wedge(pose, at, reach, ink, share) {
    const { context, lens } = this, [x, y] = at(pose[0], pose[2]), half = lens ? Math.atan(0.5 / lens[0]) : 0.6;
    const facing = Math.atan2(pose[9], pose[11]), end = (angle) => [x + Math.sin(angle) * reach * share, y - Math.cos(angle) * reach * share];
    context.beginPath(); context.moveTo(x, y); context.lineTo(...end(facing - half)); context.lineTo(...end(facing + half)); context.closePath();
    context.fillStyle = ink + "40"; context.fill();
    context.beginPath(); context.arc(x, y, 4 * (devicePixelRatio || 1), 0, 7); context.fillStyle = ink; context.fill();
  }

  // So far from where one stands that nine in ten points and the whole walk fit.
  extent(here) {
    const far = [];
    for (let i = 0; i < this.places.length; i += 3 * Math.max(1, Math.floor(this.places.length / 3 / 400))) far.push(Math.hypot(this.places[i] - here[0], this.places[i + 2] - here[2]));
    far.sort((a, b) => a - b);
    const walked = this.walks.flatMap(({ line }) => line.map(([x, , z]) => Math.hypot(x - here[0], z - here[2])));
    return Math.max(1, far[Math.floor(far.length * 0.9)] ?? 1, ...walked) * 1.15;
  }
}
