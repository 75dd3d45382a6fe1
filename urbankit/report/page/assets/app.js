// The page: the shown layer and the chosen region. Both are in the address, so that a link leads to the same view.

class Run {
  constructor(facts, none) {
    this.name = facts.name;
    this.byId = new Map();
    this.layers = facts.layers.map((layer) => new Layer(layer, (id) => this.byId.get(id), none));
    for (const layer of this.layers) this.byId.set(layer.id, layer);
    this.nearest = facts.nearest;
  }

  find(id) {
    return this.byId.get(id);
  }

  // The text of a value in the panel, without its unit. A prediction is followed by its residual.
  valueText(id, i) {
    const layer = this.find(id);
    if (!layer) return "–";
    const note = layer.kind === "class" && !layer.absent(i) ? layer.notes?.[layer.values[i]] : "";
    if (note) return `${layer.plain(i)} (${note})`;
    const residual = this.find(id.replace(/^prediction:/, "residual:"));
    if (!residual || residual === layer || residual.absent(i)) return layer.plain(i);
    return `${layer.plain(i)} (${residual.classified ? "" : "residual "}${residual.plain(i)})`;
  }

  near(i) {
    if (!this.nearest) return [];
    const { number: k, region, similarity } = this.nearest;
    this.regions ??= decode(region);
    this.similarities ??= decode(similarity);
    return Array.from({ length: k }, (_, rank) => [this.regions[i * k + rank], this.similarities[i * k + rank]]);
  }
}

// Images are decoded when the first region is chosen, because they are most of the page of a large city.
class Images {
  constructor(source, images, page) {
    this.name = source.name;
    this.title = source.title;
    this.bands = source.bands;
    this.images = images;
    this.begins = starts(decode(source.of));
    this.index = decode(source.image);
    this.page = page;
  }

  of(i) {
    const rows = this.index.subarray(this.begins[i], this.begins[i + 1]);
    return Array.from(rows, (row) => `data:image/webp;base64,${this.images[row]}`);
  }

  count(i) {
    return this.page.runs[0].find(`coverage:${this.name}`)?.values[i] ?? this.of(i).length;
  }
}

class Page {
  constructor(data) {
    this.ids = data.regions.ids;
    this.names = data.regions.names;
    this.areas = decode(data.regions.area);
    this.runs = data.runs.map((run) => new Run(run, data.none));
    this.run = this.runs[0];
    this.chosen = -1;
    this.indexOf = new Map(this.ids.map((id, i) => [id, i]));
    const at = (id) => document.getElementById(id);
    this.elements = Object.fromEntries(["layer", "run", "other", "legend", "panel", "tip", "live", "scale", "stage"].map((id) => [id, at(id)]));
    for (const box of document.querySelectorAll(".controls, .explorer")) box.hidden = false;
    this.panel = new Panel(this.elements.panel, this);
    this.map = new CityMap(this.elements.stage, at("base"), at("overlay"), new Shapes(data.outlines), data.base ? new BaseMap(data.base) : null);
    this.search = new Search(at("search"), at("found"), this);
    offerTable(at("csv"), this);
    if (this.runs.length > 1) this.divider = new Divider(this);
    this.listen(at);
    this.fillRuns();
    this.readAddress();
    this.drawScale();
    this.map.draw();
    document.documentElement.dataset.map = "drawn";
    performance.mark("map-drawn");
  }

  listen(at) {
    this.map.on = {
      hover: (i, x, y) => this.hover(i, x, y),
      pick: (i) => this.choose(i),
      focus: (i) => this.focused(i),
      view: () => this.drawScale(),
    };
    at("in").addEventListener("click", () => this.map.nearer(1.5));
    at("out").addEventListener("click", () => this.map.nearer(1 / 1.5));
    at("fit").addEventListener("click", () => (this.map.fit(), this.map.refresh()));
    this.elements.layer.addEventListener("change", () => this.show(this.elements.layer.value));
    const { run, other } = this.elements;
    run.addEventListener("change", () => this.selectRuns(this.runs[run.value], this.other));
    other?.addEventListener("change", () => this.selectRuns(this.run, this.runs[other.value]));
    at("ground")?.addEventListener("change", () => this.showGround(at("ground").checked));
    window.addEventListener("hashchange", () => this.readAddress());
    document.addEventListener("DOMContentLoaded", () => this.chosen >= 0 && this.panel.show(this.chosen));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
  }

  // The images are last in the file: a region in the address is chosen before they are loaded.
  get images() {
    if (!this.pictures && document.readyState !== "loading") {
      const data = readJSON("images");
      this.pictures = data ? data.sources.map((source) => new Images(source, data.images, this)) : [];
    }
    return this.pictures ?? [];
  }

  get theme() {
    return matchMedia("(prefers-color-scheme: dark)").matches && !this.map.printing ? DARK : LIGHT;
  }

  near(i) {
    return this.run.near(i);
  }

  facts(i) {
    return { name: this.names?.[i] ?? "", area: `${number(this.areas[i])} km²` };
  }

  // Layers and runs

  fillRuns() {
    const { run, other } = this.elements;
    const options = () => this.runs.map((one, i) => make("option", { value: String(i) }, one.name));
    run.replaceChildren(...options());
    other?.replaceChildren(make("option", { value: "" }, "no other run"), ...options());
    run.closest("label").hidden = this.runs.length < 2;
  }

  // Show one run, or two that have a layer in common; the second is right of the divider.
  selectRuns(run, other) {
    this.run = run;
    this.other = other !== run && this.layersOf(run, other).length ? other : undefined;
    this.elements.run.value = String(this.runs.indexOf(run));
    if (this.elements.other) this.elements.other.value = this.other ? String(this.runs.indexOf(this.other)) : "";
    this.fillLayers();
    const layers = this.layersOf(this.run, this.other);
    // The values that were measured are the same in both runs.
    const first = this.other && layers.find((layer) => layer.id.startsWith("prediction:"));
    this.show((layers.find((layer) => layer.id === this.layer?.id) ?? first ?? layers[0]).id);
    this.choose(this.chosen);
  }

  layersOf(run, other) {
    return other ? run.layers.filter((layer) => other.find(layer.id)?.kind === layer.kind) : run.layers;
  }

  // The runs on the map: one, or the left and the right of the divider.
  get shown() {
    return this.other ? [this.run, this.other] : [this.run];
  }

  fillLayers() {
    const groups = new Map();
    for (const layer of this.layersOf(this.run, this.other)) {
      if (!groups.has(layer.group)) groups.set(layer.group, make("optgroup", { label: layer.group }));
      groups.get(layer.group).append(make("option", { value: layer.id }, layer.task ? `${layer.title}: ${layer.label}` : layer.label));
    }
    this.elements.layer.replaceChildren(...groups.values());
  }

  show(id) {
    this.layer = this.run.find(id);
    for (const run of this.runs) run.find(id)?.alone();
    if (this.other) align(this.layer, this.other.find(id));
    this.elements.layer.value = id;
    this.redraw();
    if (this.chosen >= 0) this.panel.show(this.chosen);
    this.writeAddress();
  }

  redraw() {
    const { theme } = this;
    const layers = this.shown.map((run) => run.find(this.layer.id));
    this.map.show(layers, theme);
    this.divider?.show(this.shown.map((run) => run.name));
    drawLegend(this.elements.legend, layers, theme, this.other ? this.shown.map((run) => run.name) : []);
  }

  showGround(shown) {
    if (!this.map.ground) return;
    this.map.ground.shown = document.getElementById("ground").checked = shown;
    this.map.refresh();
    this.writeAddress();
  }

  // Regions

  choose(i, reveal = false) {
    this.chosen = i;
    this.map.mark({ chosen: i, focus: i, hover: -1, near: i < 0 ? [] : this.near(i).map(([j]) => j) });
    if (i >= 0 && reveal) this.map.reveal(i);
    this.panel.show(i);
    if (i >= 0) this.announce(`Chosen: ${this.describe(i)}`);
    this.writeAddress();
  }

  focused(i) {
    this.announce(this.describe(i));
    const [x, y] = [this.map.shapes.centres[2 * i], this.map.shapes.centres[2 * i + 1]];
    this.tip(i, this.map.scale * x + this.map.left, this.map.scale * y + this.map.top);
  }

  hover(i, x, y) {
    this.map.mark({ hover: i });
    this.map.overlay.style.cursor = i < 0 ? "" : "pointer";
    this.tip(i, x, y);
    if (i >= 0 && i !== this.last) this.announce(this.describe(i));
    this.last = i;
  }

  describe(i) {
    return [this.ids[i], this.names?.[i], `${this.layer.label}: ${this.values(i)}`].filter(Boolean).join(", ");
  }

  values(i) {
    if (!this.other) return this.layer.text(i);
    return this.shown.map((run) => `${run.name} ${run.find(this.layer.id).text(i)}`).join(", ");
  }

  // For a layer of a target, the tip lists all layers of that target; of two runs, the shown layer of both.
  tip(i, x, y) {
    const { tip } = this.elements;
    tip.hidden = i < 0;
    if (i < 0) return;
    const name = this.names?.[i];
    const lines = (this.other ? this.rowsOfRuns(i, x) : this.rowsOfLayers(i)).map(([label, value, shown]) =>
      make("div", { className: shown ? "shown" : "" }, make("span", {}, label), make("b", {}, value)),
    );
    if (this.layer.task) lines.unshift(make("em", {}, this.layer.group));
    tip.replaceChildren(make("strong", {}, this.ids[i]), ...(name ? [make("em", {}, name)] : []), ...lines);
    const { width, height } = this.map;
    const left = x + 14 + tip.offsetWidth > width ? x - tip.offsetWidth - 14 : x + 14;
    const top = y + 14 + tip.offsetHeight > height ? y - tip.offsetHeight - 14 : y + 14;
    tip.style.left = `${Math.max(2, left)}px`;
    tip.style.top = `${Math.max(2, top)}px`;
  }

  rowsOfLayers(i) {
    const layers = this.run.layers.filter((layer) => (this.layer.task ? layer.task === this.layer.task && !layer.less : layer === this.layer));
    const shown = this.layer.less?.at(-1) ?? this.layer.id;
    return layers.map((layer) => [layer.label, this.run.valueText(layer.id, i), layer.id === shown]);
  }

  rowsOfRuns(i, x) {
    const truth = this.layer.task && this.run.find(`truth:${this.layer.task}`);
    const rows = this.shown.map((run, side) => [run.name, run.valueText(this.layer.id, i), side === this.map.sideAt(x)]);
    return truth && truth !== this.layer ? [[truth.label, truth.plain(i), false], ...rows] : rows;
  }

  // Announce to screen readers, but only the region on which the mouse rests.
  announce(text) {
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => (this.elements.live.textContent = text), 250);
  }

  drawScale() {
    const metres = this.map.shapes.unit / this.map.scale;
    const most = metres * Math.min(160, this.map.width / 3);
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((k) => k * power).find((size) => size <= most);
    const [text, line] = this.elements.scale.children;
    text.textContent = length >= 1000 ? `${number(length / 1000)} km` : `${number(length)} m`;
    line.style.width = `${(100 * length) / metres / this.map.width}%`; // on paper the map has another width
  }

  // The address: #region=…&layer=…&run=…&with=…&at=…&base=off

  readAddress() {
    const state = new URLSearchParams(location.hash.slice(1));
    const named = (key) => this.runs.find((one) => one.name === state.get(key));
    const run = named("run") ?? this.run;
    // A page of several runs opens with two of them.
    const other = state.has("run") ? named("with") : (this.other ?? (this.opened ? undefined : this.runs[1]));
    if (run !== this.run || other !== this.other || !this.layer) this.selectRuns(run, other);
    this.showGround(state.get("base") !== "off");
    if (state.has("at")) this.divider?.move(Number(state.get("at")));
    if (this.layersOf(this.run, this.other).some((layer) => layer.id === state.get("layer"))) this.show(state.get("layer"));
    const region = this.indexOf.get(state.get("region"));
    if (region !== undefined && region !== this.chosen) this.choose(region, true);
    this.opened = true;
  }

  writeAddress() {
    if (!this.opened) return;
    const state = new URLSearchParams();
    if (this.chosen >= 0) state.set("region", this.ids[this.chosen]);
    state.set("layer", this.layer.id);
    if (this.runs.length > 1) state.set("run", this.run.name);
    if (this.map.ground && !this.map.ground.shown) state.set("base", "off");
    if (this.other) {
      state.set("with", this.other.name);
      state.set("at", String(Math.round(100 * this.map.divided)));
    }
    try {
      history.replaceState(null, "", `#${state}`);
    } catch {
      // The preview of an e-mail may forbid this; only the address is missing then.
    }
  }

  // Print the map in light colours, and all details open.
  print(begins) {
    if (begins) this.folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of this.folded ?? []) one.open = begins;
    this.elements.tip.hidden = true;
    this.map.printing = begins;
    this.redraw();
    this.map.draw();
    if (!begins) this.map.resize();
  }
}

window.page = new Page(readJSON("map"));
