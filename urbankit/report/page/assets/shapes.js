// The regions' outlines in steps of the grid, y downwards, and a grid of cells that finds the region at a point.

class Shapes {
  constructor(packed) {
    this.unit = packed.unit;
    this.width = packed.width;
    this.height = packed.height;
    this.rings = starts(decode(packed.rings)); // of each region, into `points`
    this.points = starts(decode(packed.points)); // of each ring, into `xy`
    this.xy = summed(decode(packed.steps));
    this.n = this.rings.length - 1;
    this.measure();
    this.index();
  }

  // Boxes (x, y, x, y), and the centre of the largest ring of each region.
  measure() {
    this.boxes = new Int32Array(4 * this.n);
    this.centres = new Float32Array(2 * this.n);
    for (let i = 0; i < this.n; i++) {
      let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
      let [most, cx, cy] = [0, 0, 0];
      for (let r = this.rings[i]; r < this.rings[i + 1]; r++) {
        let [area, sx, sy] = [0, 0, 0];
        const [begin, end] = [this.points[r], this.points[r + 1]];
        for (let p = begin, q = end - 1; p < end; q = p++) {
          const [x, y, u, v] = [this.xy[2 * p], this.xy[2 * p + 1], this.xy[2 * q], this.xy[2 * q + 1]];
          if (x < left) left = x;
          if (x > right) right = x;
          if (y < top) top = y;
          if (y > bottom) bottom = y;
          const cross = u * y - x * v;
          area += cross;
          sx += (x + u) * cross;
          sy += (y + v) * cross;
        }
        if (Math.abs(area) > most) [most, cx, cy] = [Math.abs(area), sx / (3 * area), sy / (3 * area)];
      }
      this.boxes.set([left, top, right, bottom], 4 * i);
      this.centres.set([cx, cy], 2 * i);
    }
  }

  index() {
    this.side = Math.max(1, Math.ceil(Math.sqrt(this.n)));
    this.cell = (Math.max(this.width, this.height) + 1) / this.side;
    const count = new Uint32Array(this.side * this.side);
    this.eachCell((cell) => count[cell]++);
    this.cells = starts(count);
    const next = this.cells.slice();
    this.members = new Uint32Array(this.cells.at(-1));
    this.eachCell((cell, i) => (this.members[next[cell]++] = i));
  }

  eachCell(visit) {
    for (let i = 0; i < this.n; i++) {
      if (this.rings[i] === this.rings[i + 1]) continue;
      const [left, top, right, bottom] = Array.from(this.boxes.subarray(4 * i, 4 * i + 4), (v) => Math.floor(v / this.cell));
      for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++) visit(y * this.side + x, i);
    }
  }

  // The region at a point of the grid, or -1; of overlapping regions the last, which is drawn on top.
  at(x, y) {
    const [column, row] = [Math.floor(x / this.cell), Math.floor(y / this.cell)];
    if (column < 0 || row < 0 || column >= this.side || row >= this.side) return -1;
    const cell = row * this.side + column;
    for (let m = this.cells[cell + 1] - 1; m >= this.cells[cell]; m--) {
      const i = this.members[m];
      const [left, top, right, bottom] = this.boxes.subarray(4 * i, 4 * i + 4);
      if (x >= left && x <= right && y >= top && y <= bottom && this.inside(i, x, y)) return i;
    }
    return -1;
  }

  inside(i, x, y) {
    let odd = false;
    for (let r = this.rings[i]; r < this.rings[i + 1]; r++) {
      const [begin, end] = [this.points[r], this.points[r + 1]];
      for (let p = begin, q = end - 1; p < end; q = p++) {
        const [py, qy] = [this.xy[2 * p + 1], this.xy[2 * q + 1]];
        if (py > y === qy > y) continue;
        const px = this.xy[2 * p];
        if (x < px + ((this.xy[2 * q] - px) * (y - py)) / (qy - py)) odd = !odd;
      }
    }
    return odd;
  }

  // Regions whose box touches a rectangle.
  touching(left, top, right, bottom) {
    const regions = [];
    for (let i = 0; i < this.n; i++) {
      const b = 4 * i;
      if (this.boxes[b] <= right && this.boxes[b + 2] >= left && this.boxes[b + 1] <= bottom && this.boxes[b + 3] >= top)
        regions.push(i);
    }
    return regions;
  }

  // The region whose centre is nearest to a point, or -1.
  nearest(x, y) {
    let [best, least] = [-1, Infinity];
    for (let i = 0; i < this.n; i++) {
      if (this.rings[i] === this.rings[i + 1]) continue;
      const far = Math.hypot(this.centres[2 * i] - x, this.centres[2 * i + 1] - y);
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  // The nearest region in the direction of an arrow key, or the region itself.
  beside(i, dx, dy) {
    const [cx, cy] = [this.centres[2 * i], this.centres[2 * i + 1]];
    let [best, least] = [i, Infinity];
    for (let j = 0; j < this.n; j++) {
      if (j === i || this.rings[j] === this.rings[j + 1]) continue;
      const [x, y] = [this.centres[2 * j] - cx, this.centres[2 * j + 1] - cy];
      const [along, across] = [x * dx + y * dy, Math.abs(x * dy - y * dx)];
      const cost = along + 3 * across;
      if (along > 0 && across <= 2 * along && cost < least) [best, least] = [j, cost];
    }
    return best;
  }

  trace(path, i, step = 0) {
    for (let r = this.rings[i]; r < this.rings[i + 1]; r++) {
      let p = 2 * this.points[r];
      let [x, y] = [this.xy[p], this.xy[p + 1]];
      path.moveTo(x, y);
      for (const end = 2 * this.points[r + 1]; (p += 2) < end; ) {
        const [u, v] = [this.xy[p], this.xy[p + 1]];
        if (Math.abs(u - x) < step && Math.abs(v - y) < step) continue;
        path.lineTo((x = u), (y = v));
      }
      path.closePath();
    }
  }
}
