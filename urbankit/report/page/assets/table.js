// The table of the regions as CSV: a column for each layer of each run, for spreadsheets and statistics.

function csvOf(page) {
  const columns = page.runs.flatMap((run) => run.layers.filter((layer) => !layer.less).map((layer) => [run, layer]));
  const layers = columns.map(([, layer]) => layer);
  const heads = columns.map(([run, layer]) => [page.runs.length > 1 ? run.name : "", layer.group, layer.label].filter(Boolean).join(", "));
  const rows = [["region_id", ...(page.names ? ["name"] : []), "area_km2", ...heads]];
  for (let i = 0; i < page.ids.length; i++)
    rows.push([page.ids[i], ...(page.names ? [page.names[i]] : []), page.areas[i], ...layers.map((layer) => layer.exact(i))]);
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

// Numbers have the seven digits of their four bytes. An apostrophe keeps spreadsheets from running a text as a formula.
function cell(value) {
  if (typeof value === "number") return Number.isFinite(value) ? String(Number(value.toPrecision(7))) : "";
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function offerTable(button, page) {
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    // The mark at the beginning tells spreadsheets that the text is UTF-8.
    const url = URL.createObjectURL(new Blob(["\ufeff", csvOf(page)], { type: "text/csv;charset=utf-8" }));
    make("a", { href: url, download: "regions.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  });
}
