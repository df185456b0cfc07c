// What became of promises about risk: a table a promise, a row a test set, a column a csf.

const STATES = { broken: " ✗", above: " >", kept: " ✓", none: "" };

function promiseSection(panel) {
  const rows = rowsOf(panel.task.promises);
  if (!rows.length) return [];
  const names = [...new Set(rows.map((row) => row.promise))];
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Promises" });
  const draw = (name) => scroll.replaceChildren(promiseTable(rows.filter((row) => row.promise === name), name));
  const first = names.find((name) => rows.some((row) => row.promise === name && row.state !== "none")) ?? names[0];
  draw(first);
  return [panel.section("Promises",
    "A threshold from calibration images promises a risk on images like those. What it became: the risk on each test set, "
    + "in brackets the share that is still accepted, every patient counting once. ✓ kept; > above the target, as chance may explain; "
    + "✗ broken: above, and for some network chance does not explain it; none: no threshold keeps the promise.",
    element("div", { class: "controls" }, field("Promise", select(names.map((name) => [name, name]), first, draw))), scroll)];
}

function promiseTable(rows, name) {
  const csfs = [...new Set(rows.map((row) => row.csf))];
  const sets = [...new Set(rows.map((row) => row.test_set))];
  const body = sets.map((set) => {
    const cells = rows.filter((row) => row.test_set === set);
    return element("tr", {}, element("th", { scope: "row" }, set), element("td", { class: "text" }, cells[0].kind),
      ...csfs.map((csf) => {
        const cell = cells.find((row) => row.csf === csf);
        return element("td", { class: cell?.state === "broken" ? "broken" : null }, cell ? `${cell.text}${STATES[cell.state]}` : "");
      }));
  });
  return element("table", {}, element("caption", { class: "visually-hidden" }, name),
    element("thead", {}, element("tr", {}, ...["test set", "kind", ...csfs].map((text, i) => element("th", { scope: "col", class: i < 2 ? "text" : null }, text)))),
    element("tbody", {}, ...body));
}
