// Images beside the scatter: confident failures, underconfident successes, concept clusters.

const COUNTS = [2, 6, 12, 24];

function rankedIn(panel, set, kind) {
  const rank = `rank_${panel.csf}`;
  const found = panel.active().filter((point) => point.test_set === set.test_set && panel.correct(point) === (kind === "successes"));
  const sign = kind === "successes" ? -1 : 1;
  const cost = panel.by === "cost" && kind === "failures" ? (point) => -(panel.cost(point) ?? 0) : () => 0;
  return found.sort((a, b) => cost(a) - cost(b) || sign * (a[rank] - b[rank]) || a.id - b.id);
}

function drawRanked(panel, kind) {
  const sets = panel.shownSets().map((set) => [set, rankedIn(panel, set, kind)]);
  if (panel.asTable) return panel.gallery.replaceChildren(rankedTable(panel, sets, kind));
  panel.gallery.replaceChildren(element("div", { class: panel.count <= 2 ? "groups" : "stack" }, ...sets.map(([set, points]) => {
    const cards = points.slice(0, panel.count).map((point) => panel.card(point, caption(panel, point)));
    const none = kind === "failures" ? "No failures among the images shown." : "No successes among the images shown.";
    return element("div", { class: "gallery-set" },
      element("h3", {}, set.test_set, element("span", { class: "of" }, ` ${cards.length} of ${points.length}`)),
      cards.length ? element("div", { class: "cards" }, ...cards) : element("p", { class: "note" }, none));
  })));
}

function caption(panel, point) {
  const share = panel.confidence(point);
  return [
    element("span", { class: "labels" }, element("span", {}, point.label),
      panel.correct(point) ? null : element("span", { class: "called" }, ` → ${panel.called(point)}`)),
    element("span", { class: "confidence" }, panel.confidenceText(point),
      element("meter", { min: 0, max: 1, value: share, "aria-hidden": "true", class: panel.correct(point) ? "correct" : "failure" })),
    panel.costs && !panel.correct(point) ? element("span", { class: "of" }, `cost ${panel.cost(point)}`) : null,
  ];
}

function rankedTable(panel, sets, kind) {
  const points = sets.flatMap(([, found]) => found.slice(0, panel.count));
  const costs = panel.costs;
  const heads = ["", "Test set", "True", "Called", panel.isProbability() ? "Confidence" : "Above", ...(costs ? ["Cost"] : []), "Domain"];
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Ranked images" }, element("table", { class: "ranked" },
    element("caption", { class: "visually-hidden" }, kind === "failures" ? "Most confident failures" : "Least confident successes"),
    element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col", class: "text" }, text)))),
    element("tbody", {}, ...points.map((point) => element("tr", {},
      element("td", {}, action(`Show ${point.id}`, () => panel.mark([point.id], point), { class: "small", "data-id": point.id, "aria-pressed": "false" })),
      ...[point.test_set, point.label, panel.called(point), panel.confidenceText(point), ...(costs ? [panel.cost(point)] : []), point.domain ?? ""]
        .map((text) => element("td", { class: "text" }, String(text))))))));
}

function clusterOf(panel, point) {
  return panel.points.filter((other) => other.test_set === point.test_set && other.label === point.label && other.cluster === point.cluster);
}

function drawClusters(panel) {
  const active = new Set(panel.active());
  panel.gallery.replaceChildren(element("div", { class: "groups" }, ...panel.shownSets().map((set) => {
    const groups = new Map();
    for (const point of panel.points) {
      if (point.test_set !== set.test_set || point.label !== panel.cls || !(active.has(point) || panel.filter !== ALL)) continue;
      if (!groups.has(point.cluster)) groups.set(point.cluster, []);
      groups.get(point.cluster).push(point);
    }
    const cards = [...groups].sort(([a], [b]) => a - b).map(([cluster, members]) => {
      const center = members.find((point) => point.representative === 1) ?? members[0];
      const total = members.reduce((sum, point) => sum + point.weight, 0);
      const right = members.reduce((sum, point) => sum + (panel.correct(point) ? point.weight : 0), 0) / total;
      const marks = [center.id, ...members.filter((point) => point !== center).map((point) => point.id)];
      return panel.card(center, [element("span", { class: "of" }, `n = ${members.length}`),
        element("span", { class: `outcome ${right >= 0.5 ? "correct" : "failure"}` }, `${right >= 0.5 ? "●" : "✚"} ${percent(right)}`)],
        { marks, label: `${members.length} images, ${percent(right)} right`, cluster: `${set.test_set}\n${panel.cls}\n${cluster}` });
    });
    return element("div", { class: "gallery-set" }, element("h3", {}, `${set.test_set}: ${panel.cls}`),
      cards.length ? element("div", { class: "nine" }, ...cards) : element("p", { class: "note" }, "No images of this class."));
  })));
}

const GALLERIES = [
  ["Confident failures", (panel) => drawRanked(panel, "failures"),
    "Wrong, and sure of it: the failures that the score ranks highest. They pass every threshold."],
  ["Underconfident successes", (panel) => drawRanked(panel, "successes"),
    "Right, and least sure of it: what a threshold hands to a person without need."],
  ["Concept clusters", drawClusters,
    "Each class of a test set in up to nine groups of neighbors: the image nearest the center, how many are drawn, and the share that is right."],
];

function gallerySection(panel) {
  panel.gallery = element("div", { class: "gallery", tabindex: "0", role: "tabpanel", "aria-label": "Images" });
  const hint = element("p", { class: "hint" });
  const count = field("Show", select(COUNTS.map((n) => [String(n), String(n)]), String(panel.count), (value) => { panel.count = Number(value); drawGallery(panel); }));
  const table = field("As table", checkbox(false, (on) => { panel.asTable = on; drawGallery(panel); }));
  const by = panel.costs
    ? field("Rank by", select([["cost", "cost"], ["confidence", "confidence"]], panel.by, (value) => { panel.by = value; drawGallery(panel); })) : null;
  panel.clusterClass = choice(panel.task.classes, panel.cls, (name) => panel.focusClass(name));
  const cls = field("Class", panel.clusterClass);
  panel.galleryTabs = tabs("Images", GALLERIES.map(([title]) => title), 0, (index) => {
    panel.galleryIndex = index;
    panel.gallery.setAttribute("aria-label", GALLERIES[index][0]);
    hint.textContent = GALLERIES[index][2];
    for (const control of [count, table, by]) if (control) control.hidden = index === 2;
    cls.hidden = index !== 2;
    drawGallery(panel);
  }, `gallery-${panel.root.id}`);
  return element("div", { class: "beside" }, panel.galleryTabs.bar, hint,
    element("div", { class: "controls" }, count, table, by, cls), panel.gallery);
}

function drawGallery(panel) {
  GALLERIES[panel.galleryIndex][1](panel);
  panel.frame();
}
