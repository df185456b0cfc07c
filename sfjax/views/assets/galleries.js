// What a task shows beside its charts: numbers at a glance, failures, concept clusters.

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
  const shifted = [...new Set(plain.map((row) => row.test_set))];
  const source = panel.results.find((row) => row.kind === SOURCE)?.test_set;
  for (const metric of ["accuracy", "silent_failure_rate", "accepted_failure_rate", "auroc_f", "aurc"]) {
    if (!panel.task.metrics[metric]) continue;
    const start = lookup(panel, metric, source, panel.csf);
    const sign = panel.task.metrics[metric].lower_is_better ? -1 : 1;
    const names = shifted.includes(panel.testSet) ? [panel.testSet] : shifted;
    const ends = names.map((name) => lookup(panel, metric, name, panel.csf)).filter(Boolean);
    const end = ends.sort((a, b) => sign * (a.value - b.value))[0];
    if (!start && !end) continue;
    const where = end && (shifted.includes(panel.testSet) ? end.test_set : `${end.test_set} (the worst)`);
    panel.tiles.append(element("div", { class: "tile" },
      element("dt", {}, panel.task.metrics[metric].short),
      element("dd", {}, start ? format(panel, metric, start.value) : "–", end ? element("span", { class: "arrow" }, "→") : "",
        end ? format(panel, metric, end.value) : ""),
      element("dd", {}, end ? `i.i.d. → ${where}` : "i.i.d.")));
  }
}

function drawFailures(panel) {
  panel.failures.replaceChildren(...panel.shownSets().map((set) => {
    const wrong = panel.points.filter((point) => point.test_set === set.test_set && !panel.correct(point));
    const top = wrong.sort((a, b) => a[`rank_${panel.csf}`] - b[`rank_${panel.csf}`] || a.id - b.id).slice(0, panel.count);
    const cards = top.map((point) => panel.card(point, [facts([
      ["True", point.label], ["Called", point[`predicted_${panel.csf}`]], ["Conf.", panel.confidenceText(point)],
    ])]));
    return element("div", {}, element("h3", {}, set.test_set),
      cards.length ? element("div", { class: "cards" }, ...cards) : element("p", { class: "note" }, "No failures among the images shown."));
  }));
}

function drawClusters(panel) {
  panel.clusters.replaceChildren(...panel.shownSets().map((set) => {
    const groups = new Map();
    for (const point of panel.points) {
      if (point.test_set !== set.test_set || point.label !== panel.cls) continue;
      if (!groups.has(point.cluster)) groups.set(point.cluster, []);
      groups.get(point.cluster).push(point);
    }
    const cards = [...groups].sort(([a], [b]) => a - b).map(([, members]) => {
      const center = members.find((point) => point.representative === 1) ?? members[0];
      const total = members.reduce((sum, point) => sum + point.weight, 0);
      const right = members.reduce((sum, point) => sum + (panel.correct(point) ? point.weight : 0), 0) / total;
      const text = `${members.length} images, ${percent(right)} right`;
      return panel.card(center, [element("span", {}, `n = ${members.length}`),
        element("span", { class: `outcome ${right >= 0.5 ? "correct" : "failure"}` }, `${percent(right)} right`)],
        [center.id, ...members.filter((point) => point !== center).map((point) => point.id)], text);
    });
    return element("div", {}, element("h3", {}, `${set.test_set}: ${panel.cls}`),
      cards.length ? element("div", { class: "nine" }, ...cards) : element("p", { class: "note" }, "No images of this class."));
  }));
}
