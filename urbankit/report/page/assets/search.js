// Finds a region by its id or name: a text field with a list of matches below it.

const MOST_FOUND = 8;

class Search {
  constructor(input, list, page) {
    Object.assign(this, { input, list, page, at: -1, found: [] });
    this.texts = page.ids.map((id, i) => `${id} ${page.names?.[i] ?? ""}`.toLowerCase());
    input.addEventListener("input", () => this.look());
    input.addEventListener("keydown", (event) => this.key(event));
    input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
  }

  look() {
    const wanted = this.input.value.trim().toLowerCase();
    if (!wanted) return this.close();
    const begins = [];
    const holds = [];
    for (let i = 0; i < this.texts.length && begins.length < MOST_FOUND; i++) {
      if (this.texts[i].startsWith(wanted)) begins.push(i);
      else if (holds.length < MOST_FOUND && this.texts[i].includes(wanted)) holds.push(i);
    }
    this.found = [...begins, ...holds].slice(0, MOST_FOUND);
    this.at = this.found.length ? 0 : -1;
    this.draw();
  }

  draw() {
    const items = this.found.map((region, place) => {
      const name = this.page.names?.[region];
      const item = make("li", { id: `found-${place}`, role: "option", ariaSelected: String(place === this.at) }, this.page.ids[region]);
      if (name) item.append(make("span", { className: "quiet" }, ` ${name}`));
      item.addEventListener("pointerdown", () => this.take(place));
      return item;
    });
    if (!items.length) items.push(make("li", { className: "quiet" }, "no such region"));
    this.list.replaceChildren(...items);
    this.list.hidden = false;
    this.input.ariaExpanded = "true";
    this.input.setAttribute("aria-activedescendant", this.at < 0 ? "" : `found-${this.at}`);
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter") this.take(this.at);
    else if (step && this.found.length) {
      this.at = (this.at + step + this.found.length) % this.found.length;
      this.draw();
    } else return;
    event.preventDefault();
  }

  take(place) {
    if (this.list.hidden || place < 0) return;
    const region = this.found[place];
    this.input.value = this.page.ids[region];
    this.close();
    this.page.choose(region, true);
  }

  close() {
    this.list.hidden = true;
    this.input.ariaExpanded = "false";
    this.input.removeAttribute("aria-activedescendant");
  }
}
