// What the numbers say before anybody searches: headline figures, the diagnosis, and where the failures are.

function format(panel, metric, value) {
  const { scale, digits } = panel.task.metrics[metric];
  return value == null ? "–" : (value * scale).toFixed(digits);
}

function lookup(panel, metric, testSet, csf, domain = ALL) {
  const found = panel.results.filter((row) => row.metric === metric && row.test_set === testSet && row.domain === domain);
  return found.find((row) => row.csf === csf) ?? found.find((row) => row.csf === "");
}

// What the chosen score does on source images, and on the chosen test set or where it is worst.
function drawTiles(panel) {
  panel.tiles.replaceChildren();
  const targets = panel.results.filter((row) => row.kind !== SOURCE && row.domain === ALL);
  const plain = targets.some((row) => row.level === 0) ? targets.filter((row) => row.level === 0) : targets;
  const known = [...new Set(plain.map((row) => row.test_set))];
  const chosen = known.filter((name) => panel.chosen.has(name));
  const shifted = chosen.length ? chosen : known;
  const source = panel.results.find((row) => row.kind === SOURCE)?.test_set;
  for (const metric of ["accuracy", "silent_failure_rate", "accepted_failure_rate", "auroc_f", "aurc"]) {
    if (!panel.task.metrics[metric]) continue;
    const start = lookup(panel, metric, source, panel.csf);
    const sign = panel.task.metrics[metric].lower_is_better ? -1 : 1;
    const ends = shifted.map((name) => lookup(panel, metric, name, panel.csf)).filter(Boolean);
    const end = ends.sort((a, b) => sign * (a.value - b.value))[0];
    if (!start && !end) continue;
    const where = end && (shifted.length === 1 ? end.test_set : `${end.test_set} (the worst)`);
    panel.tiles.append(element("div", { class: "tile" },
      element("dt", {}, panel.task.metrics[metric].short),
      element("dd", {}, start ? format(panel, metric, start.value) : "–", end ? element("span", { class: "arrow" }, "→") : "",
        end ? format(panel, metric, end.value) : ""),
      element("dd", {}, end ? `i.i.d. → ${where}` : "i.i.d.")));
  }
}

const FINDINGS = 16; // so many are open; the others unfold

function drawDiagnosis(panel) {
  const sets = new Set(panel.shownSets().map((set) => set.test_set));
  const rows = panel.diagnosis.filter((row) => [null, "", panel.csf].includes(row.csf)
    && ([null, "", ALL].includes(row.test_set) || sets.has(row.test_set)));
  // Sign by sign, the source first.
  const signs = [...new Set(rows.map((row) => row.sign))];
  const places = panel.task.allSets.map((set) => set.test_set);
  rows.sort((a, b) => signs.indexOf(a.sign) - signs.indexOf(b.sign) || places.indexOf(a.test_set) - places.indexOf(b.test_set));
  const tops = new Map();
  for (const row of rows) tops.set(row.sign, roof([tops.get(row.sign), row.value, row.high]));
  let before = "";
  const items = rows.map((row) => {
    const interval = row.low == null ? "" : `${number(row.low)} – ${number(row.high)}`;
    const again = row.sign === before;
    before = row.sign;
    const top = tops.get(row.sign);
    return element("li", { class: again ? "finding again" : "finding" },
      element("div", { class: "sign" }, element("strong", {}, row.sign), element("span", {}, row.test_set ?? "")),
      element("p", {}, row.text),
      element("div", { class: "measure" }, whisker(row, [0, top], `${number(row.value)}, from 0 to ${top}`),
        element("div", { class: "ends", "aria-hidden": "true" }, element("span", {}, "0"), element("span", {}, String(top)))),
      element("div", { class: "value" }, element("strong", {}, number(row.value)), element("span", {}, interval)));
  });
  const list = (of) => element("ol", { class: "findings" }, ...of);
  const more = items.slice(FINDINGS);
  panel.findings.replaceChildren(items.length ? list(items.slice(0, FINDINGS)) : element("p", { class: "note" }, "No finding for this choice."));
  if (more.length) panel.findings.append(element("details", {}, element("summary", {}, `${more.length} more`), list(more)));
}

const SAME_IMAGES_AGAIN = ["corruption", "prevalence"]; // kinds of test sets that are no part of all

function membersOf(panel, slice) {
  // A column of a manifest may be called like one of the page's own.
  const own = `attribute_${slice.attribute}`;
  const column = own in panel.task.points ? own : slice.attribute;
  const inside = (point) => [null, "", ALL].includes(slice.test_set) ? !SAME_IMAGES_AGAIN.includes(point.kind) : point.test_set === slice.test_set;
  return panel.points.filter((point) => inside(point) && String(point[column]) === String(slice.value));
}

function drawSlices(panel) {
  const rows = panel.slices.filter((row) => [null, "", panel.csf].includes(row.csf)
    && ([null, "", ALL].includes(row.test_set) || panel.isShown(row.test_set)));
  if (!rows.length) {
    panel.sliceTable.replaceChildren(element("p", { class: "note pad" }, "No group of images fails more often than the rest, for this score and these test sets."));
    return;
  }
  const top = roof(rows.flatMap((row) => [row.rate, row.high, row.rest_rate]));
  const body = rows.map((row) => {
    const ids = membersOf(panel, row).map((point) => point.id);
    const shown = String(row.exemplars ?? "").split(" ").map((id) => panel.byId.get(Number(id))).filter(Boolean).slice(0, 4);
    const words = `${percent(row.rate, 1)} against ${percent(row.rest_rate, 1)} of the rest`;
    return element("tr", { class: row.significant ? null : "unsure" },
      element("th", { scope: "row", class: "words" }, action(row.text, () => panel.mark(panel.isMarked(ids) ? [] : ids, shown[0] ?? panel.byId.get(ids[0])),
        { class: "slice", "data-slice": row.slice, "data-marks": ids.join(" "), "aria-pressed": "false", disabled: !ids.length,
          title: ids.length ? `Mark its ${ids.length} drawn images` : "None of its images is drawn" }),),
      element("td", { class: "text" }, row.test_set === ALL ? "all test sets" : row.test_set),
      element("td", {}, String(row.failures), element("span", { class: "of" }, ` / ${row.n}`)),
      element("td", {}, element("strong", {}, percent(row.rate, 1)), element("span", { class: "interval" }, `rest ${percent(row.rest_rate, 1)}`)),
      element("td", {}, whisker({ value: row.rate, low: row.low, high: row.high, rest: row.rest_rate }, [0, top], words)),
      element("td", {}, number(row.p_adjusted), row.significant ? null : element("span", { class: "interval" }, "may be chance")),
      element("td", {}, element("div", { class: "exemplars" }, ...shown.map((point) => {
        const picture = panel.picture(point);
        return picture && element("button", { type: "button", class: "exemplar", "data-id": point.id, "aria-pressed": "false",
          "aria-label": `${point.label}, called ${panel.called(point)}`, onclick: () => panel.mark([point.id], point) }, picture);
      }))));
  });
  const heads = ["Group of images", "Test set", "Silent failures", "Rate", `0 … ${percent(top)}`, "Adjusted p", "Most confident failures"];
  panel.sliceTable.replaceChildren(element("table", { class: "slices" },
    element("caption", { class: "visually-hidden" }, "Where the silent failures are"),
    element("thead", {}, element("tr", {}, ...heads.map((text, i) => element("th", { scope: "col", class: i < 2 ? "text" : null }, text)))),
    element("tbody", {}, ...body)));
}
