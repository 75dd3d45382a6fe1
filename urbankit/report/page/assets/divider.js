// The divider over a map of two runs: the first is drawn left of it, the second right of it.

class Divider {
  constructor(page) {
    const at = (id) => document.getElementById(id);
    Object.assign(this, { page, line: at("divider"), names: [at("left"), at("right")] });
    this.line.addEventListener("pointerdown", (event) => this.grab(event));
    this.line.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) this.line.addEventListener(name, () => page.writeAddress());
    this.line.addEventListener("keydown", (event) => this.key(event));
    this.move(50);
  }

  // `names`: of the two runs, or of the only one, which needs no divider.
  show(names) {
    for (const element of [this.line, ...this.names]) element.hidden = names.length < 2;
    this.names.forEach((element, k) => (element.textContent = element.title = names[k] ?? ""));
    this.say();
  }

  // Move to a percentage of the width of the map.
  move(percent) {
    const at = Math.min(100, Math.max(0, Number.isFinite(percent) ? percent : 50));
    this.percent = at;
    this.line.style.left = this.names[1].style.left = `${at}%`;
    this.names[0].style.right = `${100 - at}%`;
    this.page.map.divide(at / 100);
    this.say();
  }

  say() {
    const [left, right] = this.names.map((element) => element.textContent);
    this.line.ariaValueNow = String(Math.round(this.percent));
    this.line.ariaValueText = `${left} on the left ${Math.round(this.percent)} %, ${right} on the right`;
  }

  grab(event) {
    if (event.button) return;
    this.line.setPointerCapture(event.pointerId);
    this.page.elements.tip.hidden = true;
  }

  drag(event) {
    if (!this.line.hasPointerCapture(event.pointerId)) return;
    const box = this.page.map.overlay.getBoundingClientRect();
    this.move((100 * (event.clientX - box.left)) / box.width);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 10 : 2;
    const steps = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.move(this.percent + steps[event.key]);
    this.page.writeAddress();
  }
}
