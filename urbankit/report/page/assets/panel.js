// The chosen region: its values, its images, and the regions most like it.

class Panel {
  constructor(box, page) {
    this.box = box;
    this.page = page;
  }

  show(i) {
    if (i < 0) {
      const text = "Choose a region on the map to see its values, its images and the regions most like it.";
      this.box.replaceChildren(make("p", { className: "quiet" }, text));
      return;
    }
    const close = make("button", { type: "button", className: "close", ariaLabel: "Let go of the region" }, "×");
    close.addEventListener("click", () => this.page.choose(-1));
    const { name, area } = this.page.facts(i);
    const heading = make("h3", {}, this.page.ids[i]);
    const below = [name, area].filter(Boolean).join(" · ");
    const title = [make("div", { className: "title" }, heading, close), make("p", { className: "quiet" }, below)];
    this.box.replaceChildren(...title, ...this.images(i), this.values(i), ...this.near(i));
    this.box.scrollTop = 0;
  }

  // One row per layer, one column per run.
  values(i) {
    const { runs } = this.page;
    const table = make("table", { className: "values" });
    if (runs.length > 1) {
      const names = runs.map((run) => make("th", { scope: "col" }, run.name));
      table.append(make("thead", {}, make("tr", {}, make("td"), ...names)));
    }
    for (const [group, rows] of this.rows()) {
      const body = make("tbody", {}, make("tr", {}, make("th", { colSpan: 1 + runs.length, scope: "colgroup", className: "group" }, group)));
      for (const [label, id] of rows) {
        const values = runs.map((run) => make("td", {}, run.valueText(id, i)));
        body.append(make("tr", {}, make("th", { scope: "row" }, label), ...values));
      }
      table.append(body);
    }
    return table;
  }

  // Layers by group, without residuals (they follow their predictions) and with one number of clusters only.
  rows() {
    const groups = new Map();
    const chosen = this.page.layer.id.startsWith("cluster:") ? this.page.layer.id : "cluster:4";
    for (const run of this.page.runs)
      for (const layer of run.layers) {
        if (layer.less || (layer.id.startsWith("cluster:") && layer.id !== chosen)) continue;
        if (!groups.has(layer.group)) groups.set(layer.group, new Map());
        groups.get(layer.group).set(layer.label, layer.id);
      }
    return groups;
  }

  images(i) {
    const elements = [];
    for (const source of this.page.images) {
      const urls = source.of(i);
      if (!urls.length) continue;
      const more = source.count(i) - urls.length;
      const text = more > 0 ? `${source.title}, ${urls.length} of ${number(urls.length + more)}` : source.title;
      const pictures = urls.map((image) => make("img", { src: image, alt: `${source.title} of ${this.page.ids[i]}` }));
      elements.push(make("h4", {}, text, source.bands ? `; false colours: ${source.bands}` : ""));
      elements.push(make("div", { className: urls.length > 1 ? "pictures" : "picture" }, ...pictures));
    }
    return elements;
  }

  near(i) {
    const near = this.page.near(i);
    if (!near.length) return [];
    const items = near.map(([j, similarity]) => make("li", {}, this.neighbour(j, similarity)));
    const note = "by the cosine of their embeddings about the city's mean; dashed on the map";
    return [make("h4", {}, "Most like it"), make("p", { className: "quiet" }, note), make("ol", { className: "near" }, ...items)];
  }

  neighbour(j, similarity) {
    const pictures = this.page.images.map((source) => source.of(j)[0]).filter(Boolean).slice(0, 2);
    const text = make("span", {}, make("b", {}, this.page.ids[j]), make("small", {}, this.page.layer.text(j)));
    const button = make(
      "button",
      { type: "button" },
      ...pictures.map((image) => make("img", { src: image, alt: "" })),
      text,
      make("output", { title: "cosine similarity" }, similarity.toFixed(2).replace("-", "−")),
    );
    button.addEventListener("click", () => this.page.choose(j, true));
    button.addEventListener("pointerenter", () => this.page.map.mark({ hover: j }));
    button.addEventListener("pointerleave", () => this.page.map.mark({ hover: -1 }));
    return button;
  }
}
