// The memory as points in raw WebGL2, with the path and the frusta; drawn only when something changed.

const POINTS = [`#version 300 es
  layout(location=0) in vec3 place; layout(location=1) in vec4 colour; uniform mat4 view; uniform float size; out vec4 ink;
  void main() { gl_Position = view * vec4(place, 1.0); gl_PointSize = clamp(size / gl_Position.w, 1.5, 14.0); ink = colour; }`,
`#version 300 es
  precision mediump float; in vec4 ink; out vec4 shown;
  void main() { vec2 at = gl_PointCoord - 0.5; if (dot(at, at) > 0.25) discard; shown = vec4(ink.rgb, 1.0); }`];
const LINES = [`#version 300 es
  layout(location=0) in vec3 place; uniform mat4 view; void main() { gl_Position = view * vec4(place, 1.0); }`,
`#version 300 es
  precision mediump float; uniform vec4 ink; out vec4 shown; void main() { shown = ink; }`];

export class Cloud {
  constructor(canvas) {
    this.canvas = canvas;
    this.count = 0; this.lines = []; this.turn = 0.5; this.tilt = 0.65; this.far = 6; this.target = [0, 0, 2];
    const gl = (this.gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true }));
    if (!gl) return;
    this.points = program(gl, POINTS); this.strokes = program(gl, LINES);
    this.places = gl.createBuffer(); this.colours = gl.createBuffer(); this.path = gl.createBuffer();
    new ResizeObserver(() => this.soon()).observe(canvas);
    canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.gl = null; });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.touched = true;
      canvas.onpointermove = ({ movementX, movementY }) => {
        this.turn += movementX * 0.008; this.tilt = Math.min(1.5, Math.max(-0.3, this.tilt + movementY * 0.008)); this.soon();
      };
      canvas.onpointerup = () => (canvas.onpointermove = null);
    });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.touched = true; this.far = Math.min(80, Math.max(0.5, this.far * Math.exp(event.deltaY * 0.001))); this.soon(); }, { passive: false });
  }

  // Points: positions [N,3] floats, colours [N,3] bytes.
  set(places, colours) {
    this.count = places.length / 3;
    if (!this.touched) this.frame(places);
    const gl = this.gl;
    if (!gl) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.places); gl.bufferData(gl.ARRAY_BUFFER, places, gl.DYNAMIC_DRAW);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.colours); gl.bufferData(gl.ARRAY_BUFFER, colours, gl.DYNAMIC_DRAW);
    this.soon();
  }

  // The middle of the points in the middle of the view, nine in ten of them in sight; until somebody turns or zooms it.
  frame(places) {
    const step = 3 * Math.max(1, Math.floor(this.count / 500)), some = [];
    for (let i = 0; i < places.length; i += step) some.push(places.slice(i, i + 3));
    if (!some.length) return;
    const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    this.target = [0, 1, 2].map((axis) => middle(some.map((place) => place[axis])));
    const far = some.map((place) => Math.hypot(...place.map((x, i) => x - this.target[i]))).sort((a, b) => a - b);
    this.far = Math.max(1, 2.6 * far[Math.floor(far.length * 0.9)]);
  }

  // Lines: [{ points: [x,y,z, ...] in pairs, ink: [r,g,b,a] }].
  trace(lines) { this.lines = lines; this.soon(); }

  soon() {
    if (!this.waits) this.waits = requestAnimationFrame(() => { this.waits = 0; this.draw(); });
  }

  draw() {
    const { gl, canvas } = this;
    if (!gl || !canvas.clientWidth) return;
    const scale = Math.min(devicePixelRatio || 1, 2);
    canvas.width = canvas.clientWidth * scale; canvas.height = canvas.clientHeight * scale;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.027, 0.035, 0.051, 1); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT); gl.enable(gl.DEPTH_TEST);
    const view = this.matrix(canvas.width / canvas.height);
    if (this.count) {
      gl.useProgram(this.points);
      gl.uniformMatrix4fv(gl.getUniformLocation(this.points, "view"), false, view);
      gl.uniform1f(gl.getUniformLocation(this.points, "size"), 0.075 * canvas.height);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.places); gl.enableVertexAttribArray(0); gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.colours); gl.enableVertexAttribArray(1); gl.vertexAttribPointer(1, 3, gl.UNSIGNED_BYTE, true, 0, 0);
      gl.drawArrays(gl.POINTS, 0, this.count);
      gl.disableVertexAttribArray(1);
    }
    gl.useProgram(this.strokes);
    gl.uniformMatrix4fv(gl.getUniformLocation(this.strokes, "view"), false, view);
    for (const { points, ink } of this.lines) {
      gl.uniform4fv(gl.getUniformLocation(this.strokes, "ink"), ink);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.path); gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(points), gl.DYNAMIC_DRAW);
      gl.enableVertexAttribArray(0); gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
      gl.drawArrays(gl.LINES, 0, points.length / 3);
    }
  }

  // From above (y points down), `turn` about the vertical, looking at the target from `far` away.
  matrix(aspect) {
    const yaw = this.turn, [ct, st] = [Math.cos(this.tilt), Math.sin(this.tilt)];
    const ahead = [Math.sin(yaw) * ct, st, Math.cos(yaw) * ct], right = [Math.cos(yaw), 0, -Math.sin(yaw)];
    const down = cross(ahead, right), eye = this.target.map((x, i) => x - this.far * ahead[i]);
    const f = 1.5, [near, far] = [0.05, 400];
    const rows = [right.map((x) => (x * f) / aspect), down.map((x) => -x * f), ahead];
    const m = new Float32Array(16);
    for (let i = 0; i < 3; i++) { m[4 * i] = rows[0][i]; m[4 * i + 1] = rows[1][i]; m[4 * i + 2] = (rows[2][i] * (far + near)) / (far - near); m[4 * i + 3] = rows[2][i]; }
    const dot = (row) => -row.reduce((sum, x, i) => sum + x * eye[i], 0);
    m[12] = dot(rows[0]); m[13] = dot(rows[1]); m[14] = (dot(rows[2]) * (far + near)) / (far - near) - (2 * far * near) / (far - near); m[15] = dot(rows[2]);
    return m;
  }
}

const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

// The pyramid of a pose (twelve numbers) and a lens (fx, fy, cx, cy of the unit square), as pairs of points.
export function frustum(pose, [fx, fy, cx, cy], depth = 0.3) {
  const corner = (u, v) => [0, 1, 2].map((i) => pose[i] + depth * (((u - cx) / fx) * pose[3 + i] + ((v - cy) / fy) * pose[6 + i] + pose[9 + i]));
  const eye = pose.slice(0, 3), corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([u, v]) => corner(u, v));
  return corners.flatMap((at, i) => [...eye, ...at, ...at, ...corners[(i + 1) % 4]]);
}

function program(gl, sources) {
  const made = gl.createProgram();
  [gl.VERTEX_SHADER, gl.FRAGMENT_SHADER].forEach((kind, i) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, sources[i].trim()); gl.compileShader(shader); gl.attachShader(made, shader);
  });
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  return made;
}
