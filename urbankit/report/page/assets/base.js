// The base map: water below and above the regions, main roads above them, and the names of places.

const ROAD_WIDTHS = [1.5, 1.2, 0.8]; // motorway, trunk, primary, in CSS pixels
const MOST_METRES = [Infinity, 250, 90, 30, 10]; // of a pixel, at which a city, town, suburb, quarter, neighbourhood is named
const NAME_SIZES = [14, 13, 12, 11, 11];

class BaseMap {
  constructor(packed) {
    this.shown = true;
    this.credit = packed.credit;
    this.water = this.path(packed.water);
    this.roads = packed.roads.map((lines) => this.path(lines));
    const { names, kinds, steps } = packed.places;
    const xy = summed(decode(steps));
    this.places = Array.from(decode(kinds), (kind, i) => ({ name: names[i], kind, x: xy[2 * i], y: xy[2 * i + 1] }));
  }

  path(packed) {
    const [begins, xy, path] = [starts(decode(packed.points)), summed(decode(packed.steps)), new Path2D()];
    for (let line = 0; line + 1 < begins.length; line++)
      for (let p = begins[line]; p < begins[line + 1]; p++) path[p > begins[line] ? "lineTo" : "moveTo"](xy[2 * p], xy[2 * p + 1]);
    return path;
  }

  drawBelow(context, theme) {
    context.fillStyle = theme.water;
    context.fill(this.water, "evenodd");
  }

  // Water within the regions is pale, so that their colours show through.
  drawAbove(context, theme, scale) {
    context.save();
    context.globalAlpha = 0.45;
    this.drawBelow(context, theme);
    context.restore();
    context.lineCap = "round";
    for (const [style, more] of [[theme.casing, 1.4], [theme.road, 0]])
      for (const [k, path] of this.roads.entries()) {
        context.strokeStyle = style;
        context.lineWidth = (ROAD_WIDTHS[k] + more) / scale;
        context.stroke(path);
      }
  }

  // Names in the order of importance, those that no earlier one covers. `map` has the view, in CSS pixels.
  drawNames(context, theme, map) {
    const [metres, taken] = [map.shapes.unit / map.scale, []];
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const place of this.places) {
      if (metres > MOST_METRES[place.kind]) continue;
      const [x, y, size] = [map.scale * place.x + map.left, map.scale * place.y + map.top, NAME_SIZES[place.kind]];
      context.font = `${place.kind < 2 ? 600 : 500} ${size}px system-ui, sans-serif`;
      place.width ??= context.measureText(place.name).width;
      const box = [x - place.width / 2 - 4, y - size, x + place.width / 2 + 4, y + size];
      if (taken.some(([left, top, right, bottom]) => left < box[2] && right > box[0] && top < box[3] && bottom > box[1])) continue;
      taken.push(box);
      if (box[2] < 0 || box[3] < 0 || box[0] > map.width || box[1] > map.height) continue;
      context.strokeStyle = theme.casing;
      context.lineWidth = 3;
      context.strokeText(place.name, x, y);
      context.fillStyle = theme.name;
      context.fillText(place.name, x, y);
    }
  }
}
