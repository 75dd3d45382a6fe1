// Colours that colour-blind readers can tell apart: viridis, blue to red through the middle, Okabe and Ito's.

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const DIVERGING = ["#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b"];
const CLASSES = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000",
  "#332288", "#999933", "#882255", "#117733",
];
const RIGHT_WRONG = ["#0072b2", "#e69f00"];

const LIGHT = {
  background: "#ffffff", absent: "#ececec", hatch: "#b5b5b5", line: "rgba(255,255,255,.75)", ink: "#111111",
  halo: "#ffffff", black: "#000000", water: "#bcd9ea", road: "rgba(60,60,60,.75)", casing: "rgba(255,255,255,.8)", name: "#22262b",
};
const DARK = {
  background: "#1b1e23", absent: "#2a2e35", hatch: "#525963", line: "rgba(20,22,26,.7)", ink: "#ffffff",
  halo: "#000000", black: "#f2f2f2", water: "#24405a", road: "rgba(225,225,225,.75)", casing: "rgba(15,17,20,.75)", name: "#f1f3f5",
};

const STEPS = 64;

// `steps` colours, interpolated between `stops`.
function ramp(stops, steps = STEPS) {
  const rgb = stops.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: steps }, (_, i) => {
    const position = (i / (steps - 1)) * (stops.length - 1);
    const low = Math.min(Math.floor(position), stops.length - 2);
    const mixed = rgb[low].map((from, c) => Math.round(from + (rgb[low + 1][c] - from) * (position - low)));
    return `rgb(${mixed.join(",")})`;
  });
}

// The numbers of one layer with their colours: `bin(i)` is an index in `palette`, -1 without a value.
class Layer {
  constructor(facts, find, none) {
    Object.assign(this, facts);
    this.find = find;
    this.none = none;
  }

  get values() {
    this.decoded ??= this.less ? this.difference() : decode(this.data);
    return this.decoded;
  }

  difference() {
    const [of, from] = this.less.map((id) => this.find(id));
    const out = new Float32Array(of.values.length);
    for (let i = 0; i < out.length; i++) {
      if (of.absent(i) || from.absent(i)) out[i] = NaN;
      else out[i] = this.kind === "match" ? Number(of.values[i] !== from.values[i]) : of.values[i] - from.values[i];
    }
    return out;
  }

  absent(i) {
    if (this.kind === "class") return this.values[i] === this.none;
    if (this.kind === "count") return this.values[i] === 0;
    return Number.isNaN(this.values[i]);
  }

  get classified() {
    return this.kind === "class" || this.kind === "match";
  }

  get names() {
    return this.kind === "match" ? ["right", "wrong"] : this.classes;
  }

  // The value of a region with its unit; `plain` is without.
  text(i) {
    return this.plain(i) + (this.unit && !this.absent(i) && !this.classified ? ` ${this.unit}` : "");
  }

  plain(i) {
    if (this.kind === "count") return number(this.values[i]);
    if (this.absent(i)) return this.split ? "in no test part" : "no value";
    if (this.classified) return this.names[this.values[i]];
    const sign = this.kind === "difference" && this.values[i] > 0 ? "+" : "";
    return sign + number(this.values[i], this.kind === "difference" ? 3 : 4);
  }

  // The value of a region for the table: a number or a text, empty where there is none.
  exact(i) {
    if (this.classified) return this.absent(i) ? "" : this.names[this.values[i]];
    return this.values[i];
  }

  // Ends of the colour scale: symmetric about zero for differences, from the minimum for counts.
  get ends() {
    return this.common ?? this.own;
  }

  get own() {
    this.measured ??= this.scale ?? this.measure();
    return this.measured;
  }

  // Colours of its own again, not those that `align` gave it.
  alone() {
    this.common = this.colours = undefined;
  }

  measure() {
    const values = Float64Array.from(this.values).filter((value, i) => !this.absent(i));
    if (this.kind === "difference") {
      const far = quantile(values.map(Math.abs).sort(), 0.98) || 1;
      return { low: -far, high: far, log: false };
    }
    values.sort();
    const [low, middle, high] = [values[0] ?? 0, quantile(values, 0.5), quantile(values, 0.98)];
    return { low, high: high > low ? high : low + 1, log: high > 8 * middle || middle > 8 * low, constant: values.at(-1) === low };
  }

  position(value) {
    const { low, high, log } = this.ends;
    return log ? (Math.log1p(value) - Math.log1p(low)) / (Math.log1p(high) - Math.log1p(low)) : (value - low) / (high - low);
  }

  bin(i) {
    if (this.absent(i)) return -1;
    if (this.classified) return this.colourOf(this.values[i]);
    return Math.max(0, Math.min(STEPS - 1, Math.floor(this.position(this.values[i]) * STEPS)));
  }

  colourOf(code) {
    return (this.colours?.[code] ?? code) % this.palette(LIGHT).length;
  }

  palette(theme) {
    if (this.kind === "match") return RIGHT_WRONG;
    if (this.kind === "class") return CLASSES.map((colour) => (colour === "#000000" ? theme.black : colour));
    return this.kind === "difference" ? ramp(DIVERGING) : ramp(VIRIDIS);
  }
}

// Give two layers the same colours: one scale for both, and a cluster those of the cluster that shares most regions.
function align(left, right) {
  if (left.kind === "value" || left.kind === "difference" || left.kind === "count") {
    const [a, b] = [left.own, right.own];
    const [low, high] = [Math.min(a.low, b.low), Math.max(a.high, b.high)];
    left.common = right.common = { low, high, log: a.log && b.log, constant: a.constant && b.constant && a.low === b.low };
  } else if (left.id.startsWith("cluster:")) right.colours = matched(left, right);
}

// The code in `left` for every code in `right`, by the number of regions in common, the largest first.
function matched(left, right) {
  const shared = new Map();
  for (let i = 0; i < left.values.length; i++) {
    const pair = `${left.values[i]} ${right.values[i]}`;
    shared.set(pair, (shared.get(pair) ?? 0) + 1);
  }
  const [codes, taken] = [[], new Set()];
  for (const [pair] of [...shared].sort((a, b) => b[1] - a[1])) {
    const [to, from] = pair.split(" ").map(Number);
    if (codes[from] === undefined && !taken.has(to)) taken.add((codes[from] = to));
  }
  const rest = right.names.map((_, code) => code).filter((code) => !taken.has(code));
  return right.names.map((_, code) => codes[code] ?? rest.shift());
}
