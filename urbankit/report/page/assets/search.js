// Finds a region by its id or name: a text field with a list of matches below it.

const MOST_MATCHES = 8;

class Search {
  constructor(input, list, page) {
    Object.assign(this, { input, list, page, at: -1, matches: [] });
    this.texts = page.ids.map((id, i) => `${id} ${page.names?.[i] ?? ""}`.toLowerCase());
    input.addEventListener("input", () => this.look());
    input.addEventListener("keydown", (event) => this.key(event));
    input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
  }

  look() {
    const query = this.input.value.trim().toLowerCase();
    if (!query) return this.close();
    const begins = [];
    const holds = [];
    for (let i = 0; i < this.texts.length && begins.length < MOST_MATCHES; i++) {
      if (this.texts[i].startsWith(query)) begins.push(i);
      else if (holds.length < MOST_MATCHES && this.texts[i].includes(query)) holds.push(i);
    }
    this.matches = [...begins, ...holds].slice(0, MOST_MATCHES);
    this.at = this.matches.length ? 0 : -1;
    this.draw();
  }

  draw() {
    const items = this.matches.map((region, index) => {
      const name = this.page.names?.[region];
      const item = make("li", { id: `found-${index}`, role: "option", ariaSelected: String(index === this.at) }, this.page.ids[region]);
      if (name) item.append(make("span", { className: "quiet" }, ` ${name}`));
      item.addEventListener("pointerdown", () => this.choose(index));
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
    else if (event.key === "Enter") this.choose(this.at);
    else if (step && this.matches.length) {
      this.at = (this.at + step + this.matches.length) % this.matches.length;
      this.draw();
    } else return;
    event.preventDefault();
  }

  choose(index) {
    if (this.list.hidden || index < 0) return;
    const region = this.matches[index];
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
