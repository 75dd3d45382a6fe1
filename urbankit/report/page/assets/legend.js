// The legend below the map.

function drawLegend(box, layer, theme, counts) {
  const heading = make("h3", {}, [layer.group, layer.label].filter(Boolean).join(": "));
  const elements = layer.classified || layer.ends.constant ? swatches(layer, theme, counts) : [bar(layer, theme)];
  const absent = counts.get(-1);
  if (absent) elements.push(make("ul", { className: "swatches" }, swatch(hatched(theme), absentText(layer), absent)));
  const about = layer.description ? [make("p", { className: "quiet" }, layer.description)] : [];
  box.replaceChildren(heading, ...about, ...elements);
}

const CLUSTER_NOTE = "Each cluster is described by the data in which its mean is furthest from the city's, at least half a standard deviation.";

function absentText(layer) {
  if (layer.kind === "count") return "none";
  return layer.id.startsWith("truth") ? "no value" : "no value, or in no test part";
}

function hatched(theme) {
  return `repeating-linear-gradient(135deg, ${theme.absent} 0 3px, ${theme.hatch} 3px 4px)`;
}

function swatches(layer, theme, counts) {
  const palette = layer.palette(theme);
  if (!layer.classified) {
    const [bin, count] = [...counts].find(([bin]) => bin >= 0);
    return [make("ul", { className: "swatches" }, swatch(palette[bin], number(layer.ends.low), count))];
  }
  const sizes = new Map();
  for (let i = 0; i < layer.values.length; i++)
    if (!layer.absent(i)) sizes.set(layer.values[i], (sizes.get(layer.values[i]) ?? 0) + 1);
  const items = layer.names.map((name, i) => swatch(palette[i % palette.length], name, sizes.get(i) ?? 0, layer.notes?.[i]));
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
