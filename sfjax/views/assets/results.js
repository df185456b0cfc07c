// The results table: a row a test set and domain, a column a csf.

function drawTable(panel) {
  const metric = panel.metric;
  const rows = [];
  for (const row of panel.results) {
    if (row.metric !== metric || (row.level > 0 && !panel.corruptions) || (row.domain !== ALL && !panel.domains)) continue;
    let entry = rows.find((known) => known.name === row.test_set && known.domain === row.domain);
    if (!entry) rows.push(entry = { name: row.test_set, domain: row.domain, kind: row.kind, n: row.n, cells: {} });
    entry.cells[row.csf] = row;
  }
  const order = (row) => (row.kind === SOURCE ? 0 : row.kind === "corruption" ? 2 : 1);
  const place = new Map();
  for (const row of rows) if (!place.has(row.name)) place.set(row.name, place.size);
  rows.sort((a, b) => order(a) - order(b) || place.get(a.name) - place.get(b.name)
    || (b.domain === ALL) - (a.domain === ALL) || (a.domain < b.domain ? -1 : 1));
  const csfs = panel.task.csfs.filter((csf) => rows.some((row) => row.cells[csf]));
  const shared = csfs.length === 0;
  const columns = shared ? [""] : csfs;
  const cell = (row, csf) => row.cells[csf] ?? row.cells[""];
  if (panel.sort) {
    const { key, sign } = panel.sort;
    const value = (row) => (key === "n" ? row.n : cell(row, key)?.value ?? Infinity * sign);
    rows.sort((a, b) => (key === "name" ? sign * (a.name < b.name ? -1 : 1) : sign * (value(a) - value(b))));
  }
  const heading = (key, text) => element("th", { scope: "col", class: key === panel.csf ? "chosen-csf" : null,
    "aria-sort": panel.sort?.key === key ? (panel.sort.sign > 0 ? "ascending" : "descending") : null },
    element("button", { type: "button", onclick: () => {
      panel.sort = { key, sign: panel.sort?.key === key ? -panel.sort.sign : 1 };
      drawTable(panel);
    } }, text));
  const body = rows.map((row) => {
    return element("tr", { class: row.domain === ALL ? null : "domain" },
      element("th", { scope: "row" }, row.domain === ALL ? row.name : panel.sort ? `${row.name}: ${row.domain}` : row.domain),
      element("td", { class: "text" }, row.kind), element("td", {}, String(row.n)),
      ...columns.map((csf) => {
        const found = cell(row, csf);
        const classes = [found?.best ? "best" : "", csf === panel.csf ? "chosen-csf" : ""].join(" ").trim();
        return element("td", { class: classes || null }, `${format(panel, metric, found?.value)}${found?.tied && !found.best ? " =" : ""}${found?.few_failures ? " †" : ""}`,
          found?.low == null ? "" : element("span", { class: "interval" }, `${format(panel, metric, found.low)} – ${format(panel, metric, found.high)}`));
      }));
  });
  panel.resultTable.replaceChildren(element("table", {},
    element("caption", { class: "visually-hidden" }, panel.task.metrics[metric].title),
    element("thead", {}, element("tr", {}, heading("name", "test set"), element("th", { scope: "col", class: "text" }, "kind"), heading("n", "n"),
      ...columns.map((csf) => heading(csf, csf || "all scores")))),
    element("tbody", {}, ...body)));
}
