// Keys, mouse, touch and buttons become one state (metres and degrees per second are the server's) and summed degrees.

const MOVES = {
  KeyW: ["forward", 1], KeyS: ["forward", -1], KeyD: ["right", 1], KeyA: ["right", -1], KeyE: ["up", 1], KeyQ: ["up", -1],
  ArrowRight: ["yaw", 1], ArrowLeft: ["yaw", -1], ArrowUp: ["pitch", 1], ArrowDown: ["pitch", -1],
};
const MOUSE = 0.12, TOUCH = 0.22; // degrees per pixel
const typing = (target) => target.matches?.("input, textarea, dialog *");

export class Controls {
  constructor({ stage, send, act, onKey }) {
    Object.assign(this, { stage, send, act, onKey, held: new Set(), fast: false, number: 0, yaw: 0, pitch: 0 });
    addEventListener("keydown", (event) => this.down(event));
    addEventListener("keyup", (event) => this.up(event));
    addEventListener("blur", () => this.letGo());
    document.addEventListener("visibilitychange", () => document.hidden && this.letGo());
    for (const button of document.querySelectorAll("[data-key]")) {
      const key = button.dataset.key;
      button.addEventListener("pointerdown", (event) => { event.preventDefault(); button.setPointerCapture(event.pointerId); this.hold(key, true); });
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(end, () => this.hold(key, false));
      button.addEventListener("contextmenu", (event) => event.preventDefault());
    }
    stage.addEventListener("pointerdown", (event) => this.press(event));
    document.addEventListener("pointerlockchange", () => stage.classList.toggle("locked", document.pointerLockElement === stage));
    document.addEventListener("mousemove", (event) => document.pointerLockElement === stage && this.turn(event.movementX * MOUSE, -event.movementY * MOUSE));
  }

  down(event) {
    if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Shift") return this.pace(true);
    if (MOVES[event.code]) { event.preventDefault(); if (!event.repeat) this.hold(event.code, true); return; }
    const command = { Space: "stop", KeyZ: "undo", Slash: "prompt", KeyM: "side", Escape: "close" }[event.code] ?? (event.key === "?" && "help");
    if (event.key === "?") { event.preventDefault(); this.act("help"); } else if (command) { event.preventDefault(); this.act(command); }
  }

  up(event) {
    if (event.key === "Shift") this.pace(false);
    if (this.held.has(event.code)) this.hold(event.code, false);
  }

  hold(key, down) {
    if (this.held.has(key) === down) return;
    down ? this.held.add(key) : this.held.delete(key);
    document.querySelector(`[data-key=${key}]`)?.classList.toggle("down", down);
    this.tell(down);
  }

  pace(fast) {
    if (this.fast !== fast) { this.fast = fast; if (this.held.size) this.tell(false); }
  }

  letGo() {
    for (const key of [...this.held]) this.hold(key, false);
  }

  tell(down) {
    const keys = { n: ++this.number, pace: this.fast ? 2 : 1 };
    for (const key of this.held) { const [name, sign] = MOVES[key]; keys[name] = (keys[name] ?? 0) + sign; }
    this.send({ keys });
    if (down) this.onKey(this.number);
  }

  // Mouse: a click takes the pointer, its deltas turn the view. Touch: dragging does.
  press(event) {
    if (event.target.closest("button, input, #compare")) return;
    this.stage.focus();
    if (event.pointerType === "mouse") { this.stage.requestPointerLock?.()?.catch?.(() => {}); return; }
    this.stage.setPointerCapture(event.pointerId);
    let [x, y] = [event.clientX, event.clientY];
    const move = (next) => { this.turn((x - next.clientX) * TOUCH, (next.clientY - y) * TOUCH); [x, y] = [next.clientX, next.clientY]; };
    const end = () => { this.stage.removeEventListener("pointermove", move); };
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener("pointerup", end, { once: true });
  }

  turn(yaw, pitch) {
    if (!this.yaw && !this.pitch) requestAnimationFrame(() => { this.send({ mouse: [this.yaw, this.pitch] }); this.yaw = this.pitch = 0; });
    this.yaw += yaw; this.pitch += pitch;
  }
}
