// The view: previews at once, generated frames in their rhythm, each drawn as large as the stage allows.

const decoded = (bytes) => createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));

export class View {
  constructor(canvas) {
    Object.assign(this, { canvas, context: canvas.getContext("2d"), queue: [], drawn: 0, order: 0, shownOrder: 0, interval: 62, startKey: 0 });
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.hatch = hatching(this.context);
  }

  get playing() { return this.queue.length > 0; }

  // A preview: known cells as they are, unknown ones hatched. `mask` has a bit per cell.
  async preview({ grid, mask }, payload) {
    const order = ++this.order;
    const bits = new Uint8Array(payload, 0, mask).slice();
    const picture = await decoded(payload.slice(mask));
    if (order > this.shownOrder) this.show({ picture, bits, grid }, order);
    else picture.close();
  }

  // Generated frames, in order; `live`: they come while the chunk is being decoded, four at a time.
  async play(frames, fps, { live = false, key = 0, done } = {}) {
    const now = performance.now();
    this.interval = live && this.arrived ? Math.min(Math.max((now - this.arrived) / frames.length, 1000 / fps), 160) : 1000 / fps;
    this.arrived = live ? now : 0;
    if (!this.queue.length) this.startKey = key;
    this.queue.push(...frames.map((bytes, i) => ({ bytes, done: i === frames.length - 1 ? done : null })));
    if (!this.timer) this.next();
  }

  skip() { this.queue = []; }

  async next() {
    const item = this.queue.shift();
    if (!item) { this.timer = 0; return; }
    this.timer = setTimeout(() => this.next(), this.interval);
    const order = ++this.order;
    const picture = await decoded(item.bytes);
    if (order > this.shownOrder) this.show({ picture }, order);
    item.done?.();
  }

  async still(bytes) {
    this.skip();
    const order = ++this.order;
    this.show({ picture: await decoded(bytes) }, order);
  }

  show(what, order) {
    this.shownOrder = order;
    this.what?.picture.close();
    this.what = what;
    this.drawn++;
    this.draw();
  }

  resize() {
    const scale = devicePixelRatio || 1, { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.max(1, Math.round(clientWidth * scale));
    this.canvas.height = Math.max(1, Math.round(clientHeight * scale));
    this.draw();
  }

  draw() {
    if (!this.what) return;
    const { context, canvas } = this, { picture, bits, grid } = this.what;
    const { left, top, width, height } = fitted(canvas, picture);
    if (width < canvas.width - 2 || height < canvas.height - 2) fill(context, canvas, picture);
    context.imageSmoothingQuality = "medium";
    context.drawImage(picture, left, top, width, height);
    if (!bits) return;
    const [rows, columns] = grid, unknown = new Path2D();
    for (let row = 0, cell = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, cell++) {
        if (bits[cell >> 3] & (128 >> (cell & 7))) continue;
        const x = left + (column * width) / columns, y = top + (row * height) / rows;
        unknown.rect(Math.floor(x), Math.floor(y), Math.ceil(width / columns) + 1, Math.ceil(height / rows) + 1);
      }
    }
    context.save();
    context.beginPath(); context.rect(left, top, width, height); context.clip();
    context.fillStyle = "#10141d"; context.fill(unknown);
    context.fillStyle = this.hatch; context.fill(unknown);
    context.restore();
  }

  // What is shown, in its own pixels.
  async file() {
    const { picture } = this.what, copy = new OffscreenCanvas(picture.width, picture.height);
    copy.getContext("2d").drawImage(picture, 0, 0);
    return copy.convertToBlob({ type: "image/png" });
  }
}

export function fitted({ width, height }, picture) {
  const scale = Math.min(width / picture.width, height / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  return { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h };
}

// Around the picture: the same one, dim and soft, by way of a few pixels.
const few = new OffscreenCanvas(12, 9), soft = few.getContext("2d");

function fill(context, { width, height }, picture) {
  soft.filter = "brightness(.3)";
  soft.drawImage(picture, 0, 0, few.width, few.height);
  context.imageSmoothingQuality = "low";
  context.drawImage(few, 0, 0, width, height);
}

function hatching(context) {
  const tile = new OffscreenCanvas(14, 14), pen = tile.getContext("2d");
  pen.strokeStyle = "#7fb4e626"; pen.lineWidth = 1.4;
  pen.beginPath(); pen.moveTo(-2, 16); pen.lineTo(16, -2); pen.moveTo(-9, 9); pen.lineTo(9, -9); pen.moveTo(5, 23); pen.lineTo(23, 5); pen.stroke();
  return context.createPattern(tile, "repeat");
}

// Two walks side by side, frame by frame.
export class Compare {
  constructor(root) {
    this.root = root;
    this.sides = ["left", "right"].map((name) => ({ canvas: root.querySelector(`#${name}`), name: root.querySelector(`#${name}-name`) }));
    this.scrub = root.querySelector("#scrub");
    this.scrub.oninput = () => this.at(+this.scrub.value);
    root.querySelector("#compare-close").onclick = () => this.close();
    root.querySelector("#compare-play").onclick = () => this.toggle();
  }

  get open() { return !this.root.hidden; }

  show(walks) {
    this.walks = walks;
    walks.forEach(({ name }, i) => (this.sides[i].name.textContent = name));
    this.scrub.max = Math.max(...walks.map(({ frames }) => frames.length)) - 1;
    this.root.hidden = false;
    this.at(+(this.scrub.value = this.scrub.max));
  }

  async at(number) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const pictures = await Promise.all(this.walks.map(({ frames }) => decoded(frames[Math.min(number, frames.length - 1)])));
    if (turn !== this.turn || !this.open) return;
    pictures.forEach((picture, i) => {
      const { canvas } = this.sides[i], scale = devicePixelRatio || 1;
      canvas.width = canvas.clientWidth * scale; canvas.height = canvas.clientHeight * scale;
      const { left, top, width, height } = fitted(canvas, picture);
      canvas.getContext("2d").drawImage(picture, left, top, width, height);
      picture.close();
    });
  }

  toggle() {
    if (this.timer) { clearInterval(this.timer); this.timer = 0; return; }
    if (+this.scrub.value >= +this.scrub.max) this.scrub.value = 0;
    this.timer = setInterval(() => {
      if (+this.scrub.value >= +this.scrub.max) return this.toggle();
      this.at(+(this.scrub.value = +this.scrub.value + 1));
    }, 62);
  }

  close() {
    clearInterval(this.timer); this.timer = 0;
    this.root.hidden = true;
  }
}
