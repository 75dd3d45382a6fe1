// The map is drawn into a buffer larger than the stage. Panning moves the buffer; it is redrawn when its edge is reached.

const MARGIN = 0.25; // of the stage, on each side of it
const MOST_ZOOM = 60;
const BEYOND = 0.1; // how far the base map reaches beyond the regions, as a share of their longer side

class CityMap {
  constructor(stage, base, overlay, shapes, ground) {
    Object.assign(this, { stage, base, overlay, shapes, ground }); // `ground`: the base map, or null
    this.sides = []; // one layer, or two that the divider separates
    this.divided = 0.5; // where the divider is, as a share of the width
    this.theme = LIGHT;
    this.marks = { hover: -1, focus: -1, chosen: -1, near: [] };
    this.on = { hover() {}, pick() {}, focus() {}, view() {} };
    this.printing = false;
    new ResizeObserver(() => this.resize()).observe(stage);
    this.listen();
    this.resize();
  }

  // Colours and outlines

  show(layers, theme) {
    this.theme = theme;
    this.sides = layers.map((layer, k) => ({
      layer,
      bins: Int16Array.from({ length: this.shapes.n }, (_, i) => layer.bin(i)),
      buffer: this.sides[k]?.buffer ?? document.createElement("canvas"),
    }));
    this.refresh();
  }

  divide(share) {
    this.divided = share;
    this.request();
  }

  // Which of the sides is at x of the stage.
  sideAt(x) {
    return this.sides.length > 1 && x > this.divided * this.width ? 1 : 0;
  }

  refresh() {
    this.stale = true;
    this.request();
  }

  mark(marks) {
    Object.assign(this.marks, marks);
    this.request();
  }

  // View: a point (x, y) of the grid is at (scale · x + left, scale · y + top) of the stage, in CSS pixels.

  resize() {
    if (this.printing) return;
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || (width === this.width && height === this.height)) return;
    const fitted = !this.width || this.fitted;
    const middle = fitted ? null : this.toGrid(this.width / 2, this.height / 2);
    Object.assign(this, { width, height, ratio: Math.min(2, window.devicePixelRatio || 1) });
    for (const canvas of [this.base, this.overlay]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    if (fitted) this.fit();
    else this.centre(...middle);
    this.refresh();
  }

  get fullScale() {
    return 0.94 * Math.min(this.width / this.shapes.width, this.height / this.shapes.height);
  }

  get fitted() {
    return this.scale <= this.fullScale * 1.001;
  }

  fit() {
    this.scale = this.fullScale;
    this.centre(this.shapes.width / 2, this.shapes.height / 2);
  }

  centre(x, y) {
    this.left = this.width / 2 - this.scale * x;
    this.top = this.height / 2 - this.scale * y;
    this.moved();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(this.fullScale * MOST_ZOOM, Math.max(this.fullScale, this.scale * factor));
    this.left = x - (x - this.left) * (scale / this.scale);
    this.top = y - (y - this.top) * (scale / this.scale);
    this.scale = scale;
    this.moved();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.moved();
  }

  // Keep a part of the city on the stage.
  moved() {
    const [w, h] = [this.scale * this.shapes.width, this.scale * this.shapes.height];
    const [x, y] = [this.width / 2, this.height / 2];
    this.left = Math.min(x, Math.max(x - w, this.left));
    this.top = Math.min(y, Math.max(y - h, this.top));
    // One finger scrolls the page while the map shows the whole city, and moves the map when it is zoomed in.
    this.overlay.style.touchAction = this.fitted ? "pan-y" : "none";
    this.on.view();
    this.request();
  }

  reveal(i) {
    const x = this.scale * this.shapes.centres[2 * i] + this.left;
    const y = this.scale * this.shapes.centres[2 * i + 1] + this.top;
    if (x < 20 || y < 20 || x > this.width - 20 || y > this.height - 20)
      this.centre(this.shapes.centres[2 * i], this.shapes.centres[2 * i + 1]);
  }

  toGrid(x, y) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  at(x, y) {
    return this.shapes.at(...this.toGrid(x, y));
  }

  // Drawing

  request() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = null;
    if (!this.width || !this.sides.length) return;
    if (this.printing) return this.drawDirectly();
    const drawn = this.drawn;
    const zoomed = drawn && drawn.scale !== this.scale;
    if (this.stale || !drawn || (!zoomed && !this.covers(drawn))) this.fill();
    else if (zoomed) this.settle();
    const { scale, left, top } = this.drawn;
    const k = this.scale / scale;
    const context = this.base.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const [x, y] = [this.left - left * k, this.top - top * k];
    const [width, height] = [this.drawn.width * k, this.drawn.height * k];
    for (const [k, side] of this.sides.entries())
      this.within(context, k, () => context.drawImage(side.buffer, x, y, width, height));
    const above = this.overlay.getContext("2d");
    above.setTransform(1, 0, 0, 1, 0, 0);
    above.clearRect(0, 0, this.overlay.width, this.overlay.height);
    this.drawNames(above);
    this.drawMarks(above);
  }

  // Draw the side `k` on its part of the stage.
  within(context, k, draw) {
    if (this.sides.length < 2) return draw();
    const middle = this.divided * this.width;
    context.save();
    context.beginPath();
    context.rect(k * middle, 0, k ? this.width - middle : middle, this.height);
    context.clip();
    draw();
    context.restore();
  }

  // Print the map as shapes, not pixels, into one canvas. Setting its size empties it: in a PDF, clearRect would paint
  // white over the layers below.
  drawDirectly() {
    this.base.width = Math.round(this.width * this.ratio);
    const context = this.base.getContext("2d");
    const drawn = { scale: this.scale, left: this.left, top: this.top, width: this.width, height: this.height };
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    for (const [k, side] of this.sides.entries()) this.within(context, k, () => this.paint(context, drawn, side));
    this.drawNames(context);
    this.drawMarks(context);
  }

  drawNames(context) {
    if (!this.ground?.shown) return;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.ground.drawNames(context, this.theme, this);
  }

  // Whether the buffer covers the visible part of the city and its base map, with their lines.
  covers(drawn) {
    const [w, h] = [this.scale * this.shapes.width, this.scale * this.shapes.height];
    const more = 3 + (this.ground?.shown ? BEYOND * Math.max(w, h) : 0);
    const [x, y] = [this.left - drawn.left, this.top - drawn.top];
    if (x > Math.max(0, this.left - more) || y > Math.max(0, this.top - more)) return false;
    const [right, bottom] = [Math.min(this.width, this.left + w + more), Math.min(this.height, this.top + h + more)];
    return x + drawn.width >= right && y + drawn.height >= bottom;
  }

  // The buffer is stretched during a zoom, and redrawn when the gesture pauses.
  settle() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.refresh(), 90);
  }

  fill() {
    clearTimeout(this.resting);
    const [mx, my] = [Math.round(MARGIN * this.width), Math.round(MARGIN * this.height)];
    const [width, height] = [this.width + 2 * mx, this.height + 2 * my];
    const drawn = { scale: this.scale, left: this.left + mx, top: this.top + my, width, height };
    this.drawn = drawn;
    this.stale = false;
    for (const side of this.sides) {
      side.buffer.width = Math.round(width * this.ratio);
      side.buffer.height = Math.round(height * this.ratio);
      this.paint(side.buffer.getContext("2d"), drawn, side);
    }
  }

  paint(context, drawn, side) {
    const k = drawn.scale * this.ratio;
    context.setTransform(k, 0, 0, k, drawn.left * this.ratio, drawn.top * this.ratio);
    context.lineJoin = "round";
    if (this.ground?.shown) this.ground.drawBelow(context, this.theme);
    const palette = side.layer.palette(this.theme);
    const paths = this.visible(drawn, side);
    // Lines between large regions; small regions are stroked in their fill colour, which closes the hairlines between.
    const apart = drawn.scale * Math.sqrt((this.shapes.width * this.shapes.height) / this.shapes.n) > 9;
    for (const [bin, path] of paths) {
      const colour = bin < 0 ? this.hatch(context, k) : palette[bin];
      context.fillStyle = colour;
      context.fill(path);
      if (!apart) this.stroke(context, path, colour, 0.5 / drawn.scale);
    }
    if (apart) for (const path of paths.values()) this.stroke(context, path, this.theme.line, 0.7 / drawn.scale);
    if (this.ground?.shown) this.ground.drawAbove(context, this.theme, drawn.scale);
  }

  stroke(context, path, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
  }

  // One path per colour: of all regions, cached until colours or detail change, or, when zoomed in, of visible regions.
  // Points nearer to each other than `step`, a fraction of a pixel, are merged.
  visible(drawn, side) {
    const step = 0.6 / (drawn.scale * this.ratio);
    const [left, top] = [-drawn.left / drawn.scale, -drawn.top / drawn.scale];
    const sight = this.shapes.touching(left, top, left + drawn.width / drawn.scale, top + drawn.height / drawn.scale);
    if (sight.length < 0.6 * this.shapes.n) return this.traced(sight, step, side.bins);
    if (!side.paths || step < side.detail / 2 || step > 4 * side.detail) {
      side.paths = this.traced(Array.from({ length: this.shapes.n }, (_, i) => i), step, side.bins);
      side.detail = step;
    }
    return side.paths;
  }

  traced(regions, step, bins) {
    const paths = new Map();
    for (const i of regions) {
      let path = paths.get(bins[i]);
      if (!path) paths.set(bins[i], (path = new Path2D()));
      this.shapes.trace(path, i, step);
    }
    return paths;
  }

  // The fill of a region without a value: stripes, unlike every colour of a scale.
  hatch(context, k) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const pen = tile.getContext("2d");
    pen.fillStyle = this.theme.absent;
    pen.fillRect(0, 0, 6, 6);
    pen.strokeStyle = this.theme.hatch;
    for (const at of [-3, 3, 9]) {
      pen.moveTo(at - 4, 7);
      pen.lineTo(at + 4, -1);
    }
    pen.stroke();
    const pattern = context.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix([1 / k, 0, 0, 1 / k, 0, 0]));
    return pattern;
  }

  drawMarks(context) {
    const k = this.scale * this.ratio;
    context.setTransform(k, 0, 0, k, this.left * this.ratio, this.top * this.ratio);
    context.lineJoin = "round";
    const { near, hover, focus, chosen } = this.marks;
    for (const i of near) this.outline(context, i, 1.4, [3, 2]);
    if (hover >= 0) this.outline(context, hover, 1.6);
    if (focus >= 0 && document.activeElement === this.overlay) this.outline(context, focus, 2, [5, 3]);
    if (chosen >= 0) this.outline(context, chosen, 2.6);
  }

  outline(context, i, width, dashes = []) {
    const path = new Path2D();
    this.shapes.trace(path, i);
    context.setLineDash([]);
    this.stroke(context, path, this.theme.halo, (width + 2.4) / this.scale);
    context.setLineDash(dashes.map((length) => length / this.scale));
    this.stroke(context, path, this.theme.ink, width / this.scale);
  }

  // Mouse, fingers and keys

  listen() {
    const canvas = this.overlay;
    this.pointers = new Map();
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("pointerleave", () => this.on.hover(-1));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.request());
  }

  point(event) {
    const box = this.overlay.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  down(event) {
    if (event.button) return;
    this.overlay.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.point(event));
    if (this.pointers.size === 1) this.pressed = { ...this.point(event), dragged: false };
    else this.pressed.dragged = true;
  }

  move(event) {
    const now = this.point(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.on.hover(this.at(now.x, now.y), now.x, now.y);
      return;
    }
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, now);
    else {
      if (Math.hypot(now.x - this.pressed.x, now.y - this.pressed.y) > 4) this.pressed.dragged = true;
      if (this.pressed.dragged) this.pan(now.x - before.x, now.y - before.y);
    }
    this.pointers.set(event.pointerId, now);
  }

  pinch(id, before, now) {
    const [, other] = [...this.pointers].find(([key]) => key !== id);
    const stretch = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
    this.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.zoom(stretch, (now.x + other.x) / 2, (now.y + other.y) / 2);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (event.type === "pointerup" && !this.pressed.dragged) {
      const { x, y } = this.point(event);
      this.on.pick(this.at(x, y));
    }
  }

  // The wheel scrolls the page until the map has the focus.
  wheel(event) {
    if (document.activeElement !== this.overlay && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { x, y } = this.point(event);
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), x, y);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way && event.shiftKey) this.step(...way);
    else if (way) this.pan(-60 * way[0], -60 * way[1]);
    else if (event.key === "+" || event.key === "=") this.nearer(1.5);
    else if (event.key === "-" || event.key === "_") this.nearer(1 / 1.5);
    else if (event.key === "0") this.fit();
    else if (event.key === "Enter" || event.key === " ") this.on.pick(this.marks.focus);
    else if (event.key === "Escape") this.on.pick(-1);
    else return;
    event.preventDefault();
  }

  nearer(factor) {
    this.zoom(factor);
    this.refresh();
  }

  // Move the focus to the next region in a direction; it starts at the middle of the stage.
  step(dx, dy) {
    let { focus, chosen } = this.marks;
    const from = focus >= 0 ? focus : chosen;
    if (from >= 0) focus = this.shapes.beside(from, dx, dy);
    else focus = this.shapes.nearest(...this.toGrid(this.width / 2, this.height / 2));
    if (focus < 0) return;
    this.mark({ focus });
    this.reveal(focus);
    this.on.focus(focus);
  }
}
