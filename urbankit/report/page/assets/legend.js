// The legend below the map.

// One layer, or those of two runs with their `names`: they share a scale, and have numbers of regions of their own.
function drawLegend(box, layers, theme, names) {
  const [layer] = layers;
  const heading = make("h3", {}, [layer.group, layer.label].filter(Boolean).join(": "));
  const about = layer.description ? [make("p", { className: "quiet" }, layer.description)] : [];
  const listed = layer.classified || layer.ends.constant;
  const of = (one, k) => [...(names.length ? [make("h4", {}, names[k])] : []), ...swatches(one, theme)];
  const elements = listed ? layers.flatMap(of) : [bar(layer, theme)];
  if (names.length && layer.id.startsWith("cluster:")) elements.push(make("p", { className: "quiet" }, COLOUR_NOTE));
  layers.forEach((one, k) => {
    let absent = 0;
    for (let i = 0; i < one.values.length; i++) absent += one.absent(i);
    const text = [names[k], absentText(one)].filter(Boolean).join(": ");
    if (absent) elements.push(make("ul", { className: "swatches" }, swatch(hatched(theme), text, absent)));
  });
  box.replaceChildren(heading, ...about, ...elements);
}

const COLOUR_NOTE = "A cluster on the right has the colour of the cluster on the left with which it shares most regions.";

const CLUSTER_NOTE = "Each cluster is described by the data in which its mean is furthest from the city's, at least half a standard deviation.";

function absentText(layer) {
  if (layer.kind === "count") return "none";
  return layer.id.startsWith("truth") ? "no value" : "no value, or in no test part";
}

function hatched(theme) {
  return `repeating-linear-gradient(135deg, ${theme.absent} 0 3px, ${theme.hatch} 3px 4px)`;
}

function swatches(layer, theme) {
  const palette = layer.palette(theme);
  if (!layer.classified) {
    const bins = Array.from(layer.values, (_, i) => layer.bin(i)).filter((bin) => bin >= 0);
    return [make("ul", { className: "swatches" }, swatch(palette[bins[0]], number(layer.ends.low), bins.length))];
  }
  const sizes = new Map();
  for (let i = 0; i < layer.values.length; i++)
    if (!layer.absent(i)) sizes.set(layer.values[i], (sizes.get(layer.values[i]) ?? 0) + 1);
  const items = layer.names.map((name, i) => swatch(palette[layer.colourOf(i)], name, sizes.get(i) ?? 0, layer.notes?.[i]));
  const described = layer.notes?.some(Boolean);
  const list = make("ul", { className: described ? "swatches described" : "swatches" }, ...items);
  return described && layer.id.startsWith("cluster") ? [list, make("p", { className: "quiet" }, CLUSTER_NOTE)] : [list];
}

function swatch(background, text, count, note = "") {
  const colour = make("i", { ariaHidden: "true" });
  colour.style.background = background;
  return make("li", {}, colour, text, make("span", { className: "quiet" }, ` ${number(count)}`), ...(note ? [make("span", { className: "note" }, note)] : []));
}

function bar(layer, theme) {
  const strip = make("div", { className: "strip" });
  strip.style.background = `linear-gradient(90deg, ${layer.palette(theme).join(",")})`;
  const axis = make("div", { className: "axis" });
  for (const value of ticks(layer)) {
    const tick = make("span", {}, layer.kind === "difference" && value > 0 ? `+${number(value)}` : number(value));
    tick.style.left = `${100 * layer.position(value)}%`;
    axis.append(tick);
  }
  const ends = layer.kind === "difference"
    ? "measured less predicted: red is underestimated, blue overestimated; 98 % of the regions lie within the ends"
    : layer.kind === "count" ? "" : "colours end at the 2nd and 98th percentile";
  const note = [layer.unit, layer.ends.log ? "logarithmic colours" : "", ends].filter(Boolean).join("; ");
  return make("div", { className: "bar" }, strip, axis, make("p", { className: "quiet" }, note));
}

// Round values with enough room between them: multiples of 1, 2 or 5 times a power of ten.
function ticks(layer) {
  const { low, high, log } = layer.ends;
  const candidates = log ? decades(low, high) : even(low, high);
  const selected = [];
  for (const value of candidates)
    if (!selected.length || layer.position(value) - layer.position(selected.at(-1)) > 0.13) selected.push(value);
  return selected;
}

function even(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => size >= rough);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}

function decades(low, high) {
  const out = low <= 0 ? [0] : [];
  for (let power = -3; power < 12; power++)
    for (const k of [1, 2, 5]) {
      const value = Number((k * 10 ** power).toPrecision(12));
      if (value >= low && value <= high) out.push(value);
    }
  return out;
}
