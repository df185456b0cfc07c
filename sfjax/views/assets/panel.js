// One task: its state, its controls and its two charts, which all follow one choice of csf and test set.

class Panel {
  constructor(task, images, root) {
    Object.assign(this, { task, images, root });
    this.points = rowsOf(task.points);
    this.byId = new Map(this.points.map((point) => [point.id, point]));
    this.results = rowsOf(task.results);
    this.csf = task.csfs[0];
    this.testSet = ALL;
    this.cls = task.classes.at(-1);
    this.count = 6;
    this.metric = Object.keys(task.metrics)[0];
    // Levels of a corruption, and its mean over levels, which has level 0.
    const shifts = this.results.filter((row) => row.kind !== SOURCE);
    this.corruptions = !shifts.some((row) => row.level === 0);
    this.domains = false;
    this.sort = null;
    this.marked = [];
    this.views = {};
  }

  correct(point) { return point[`correct_${this.csf}`] === 1; }
  confidence(point) { return point[`confidence_${this.csf}`]; }
  shownSets() {
    return this.task.sets.filter((set) => this.testSet === ALL || set.test_set === this.testSet || set.kind === SOURCE);
  }

  picture(point) {
    const bytes = this.images[point.id];
    if (!bytes) return null;
    return element("img", { src: `data:image/webp;base64,${bytes}`, alt: `image ${point.id}` });
  }

  confidenceText(point) {
    const value = this.confidence(point);
    if (!this.task.probabilities.includes(this.csf)) return `above ${percent(value)}`;
    return value >= 0.9995 ? "> 0.999" : value.toFixed(3);
  }

  outcome(point) {
    const right = this.correct(point);
    return element("span", { class: `outcome ${right ? "correct" : "failure"}` }, right ? "● correct" : "✚ failure");
  }

  details(point) {
    return facts([
      ["True", point.label],
      ["Called", point[`predicted_${this.csf}`]],
      ["Confidence", this.confidenceText(point)],
      ["Test set", point.test_set],
      ["Domain", point.domain ?? ""],
      ["Subclass", point.subclass ?? ""],
    ]);
  }

  card(point, children, marks = [point.id], label = null) {
    return element("button", { type: "button", class: "card", "data-id": point.id, "aria-pressed": "false", "aria-label": label,
      onclick: () => this.mark(this.isMarked(marks) ? [] : marks, point) },
      this.picture(point) ?? element("span", { class: "blank", "aria-hidden": "true" }, "no image"), ...children);
  }

  isMarked(ids) { return ids.length === this.marked.length && ids.every((id, i) => id === this.marked[i]); }

  // Marks images in the scatter, shows one of them, and frames the cards of those that have one.
  mark(ids, point = null) {
    this.marked = ids;
    this.signal("latent", "sf_marked", ids);
    this.showChosen(ids.length ? point : null);
    this.frame();
  }

  frame() {
    const marked = new Set(this.marked);
    for (const card of this.root.querySelectorAll(".card")) {
      card.setAttribute("aria-pressed", String(marked.has(Number(card.dataset.id))));
    }
  }

  showChosen(point) {
    this.chosen.replaceChildren();
    if (!point) {
      this.chosen.append(element("p", { class: "note" }, "Click a point, or an image below, to see it here and mark it."));
      return;
    }
    this.chosen.append(this.outcome(point));
    const picture = this.picture(point);
    if (picture) this.chosen.append(element("div", {}, picture));
    this.chosen.append(this.details(point));
    if (this.marked.length > 1) this.chosen.append(element("p", { class: "note" }, `${this.marked.length} images of its cluster are marked.`));
    status.textContent = `Chosen: ${point.label}, called ${point[`predicted_${this.csf}`]}, ${this.confidenceText(point)}`;
  }

  signal(view, name, value) {
    this.views[view]?.signal(name, value).runAsync();
  }

  // ---- Layout ---------------------------------------------------------------------------------------------------

  async draw() {
    const { task } = this;
    const csfs = select(task.csfs.map((csf) => [csf, csf]), this.csf, (csf) => {
      this.csf = csf;
      for (const view of ["latent", "curves"]) this.signal(view, "sf_csf", csf);
      this.refresh();
    });
    const sets = select([[ALL, "all"], ...task.sets.map((set) => [set.test_set, set.test_set])], this.testSet, (name) => {
      this.testSet = name;
      this.signal("latent", "sf_test_set", name);
      this.signal("curves", "sf_panel", name);
      this.refresh();
    });
    csfs.id = `csf-${this.root.id}`;
    sets.id = `set-${this.root.id}`;
    this.tiles = element("dl", { class: "tiles" });
    this.failures = element("div", { class: "rows" });
    this.clusters = element("div", { class: "groups" });
    this.table = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Results" });
    this.chosen = element("div", { class: "chosen", "aria-live": "polite" });
    this.root.replaceChildren(
      element("div", { class: "toolbar" }, field("Confidence score", csfs), field("Test set", sets)),
      this.tiles,
      this.latentSection(), this.failureSection(), this.clusterSection(), this.curveSection(), ...promiseSection(this), this.resultSection(),
      element("ul", { class: "notes" }, ...task.notes.map((note) => element("li", {}, note))),
    );
    this.showChosen(null);
    this.refresh();
    await Promise.all([this.embedLatent(), this.embedCurves()]);
  }

  refresh() {
    drawTiles(this);
    drawFailures(this);
    drawClusters(this);
    drawTable(this);
    this.frame();
    if (this.marked.length) this.showChosen(this.byId.get(this.marked[0]));
  }

  section(title, hint, ...children) {
    return element("section", { "aria-label": title }, element("h2", {}, title), element("p", { class: "hint" }, hint), ...children);
  }

  latentSection() {
    const set = (name) => (value) => this.signal("latent", name, value);
    this.space = element("div", { class: "chart space" });
    const angles = [slider(35, -180, 180, 1, set("sf_azimuth")), slider(20, -90, 90, 1, set("sf_elevation")),
      slider(1, 0.5, 4, 0.1, set("sf_zoom"))];
    const reset = element("button", { type: "button", onclick: () => {
      angles.forEach((control, i) => { control.value = [35, 20, 1][i]; control.dispatchEvent(new Event("input")); });
      for (const name of ["sf_rotate_sf_a", "sf_rotate_sf_e"]) this.signal("latent", name, null);
    } }, "Reset camera");
    const { classes } = this.task;
    this.classControl = select(classes.map((name) => [name, name]), this.cls, set("sf_class"));
    const total = Math.round(this.points.reduce((sum, point) => sum + point.weight, 0));
    const drawn = total > this.points.length ? `${this.points.length} of ${total} images are drawn, failures first, then in proportion.`
      : `All ${this.points.length} images are drawn.`;
    return this.section("Latent space",
      `${drawn} ` +
      "Images that the network sees alike lie close. A circle is a correct prediction, a cross a failure. Drag to rotate, wheel to zoom, double click to reset.",
      element("div", { class: "latent" }, this.space,
        element("div", { class: "side" },
          field("Color", select(["confidence", "source / target", "class confusion"].map((name) => [name, name]), "confidence", set("sf_color"))),
          field("Class", this.classControl),
          field("Fade below", slider(0, 0, 1, 0.01, set("sf_threshold"))),
          field("With source", checkbox(true, set("sf_source")), "check"),
          element("details", {}, element("summary", {}, "Camera and markers"),
            field("Azimuth", angles[0]), field("Elevation", angles[1]), field("Zoom", angles[2]),
            field("Size", slider(36, 8, 160, 4, set("sf_size"))), field("Opacity", slider(0.9, 0.1, 1, 0.05, set("sf_opacity"))), reset),
          this.chosen)));
  }

  failureSection() {
    const count = select([["2", "2"], ["6", "6"], ["12", "12"]], "6", (value) => { this.count = Number(value); this.refresh(); });
    return this.section("Most confident failures",
      "Wrong, and sure of it: the failures of each test set that the confidence score ranks highest. They pass every threshold.",
      element("div", { class: "controls" }, field("Show", count)), this.failures);
  }

  clusterSection() {
    const classes = select(this.task.classes.map((name) => [name, name]), this.cls, (name) => { this.cls = name; this.refresh(); });
    return this.section("Concept clusters",
      "Each class of each test set in up to nine groups of neighbors, with the image nearest the center, the number of images shown, and the share that is right. Click one to mark its group.",
      element("div", { class: "controls" }, field("Class", classes)), this.clusters);
  }

  curveSection() {
    this.curveBox = element("div", { class: "chart" });
    return this.section("Risk and coverage",
      "Share of failures among the images that are still accepted when the least confident ones are handed to a person. Lower is better. The chosen score is bold, with its 95 % band.", this.curveBox);
  }

  resultSection() {
    const metrics = select(Object.entries(this.task.metrics).map(([name, metric]) => [name, metric.title]), this.metric,
      (name) => { this.metric = name; this.sort = null; drawTable(this); });
    const boxes = [];
    if (this.results.some((row) => row.level > 0)) {
      boxes.push(field("Every level of corruptions", checkbox(this.corruptions, (on) => { this.corruptions = on; drawTable(this); })));
    }
    if (this.results.some((row) => row.domain !== ALL)) {
      boxes.push(field("By domain", checkbox(false, (on) => { this.domains = on; drawTable(this); })));
    }
    return this.section("Results",
      this.results.some((row) => row.best)
      ? "Mean over networks and its 95 % bootstrap interval. Bold: the best score of a row; =: as good as the best, for all these images can tell. †: fewer than 30 patients with a failure, or with a success: the interval is too narrow as a rule."
      : "Mean over seeds; below it the 95 % bootstrap interval, from the lowest of any seed to the highest.",
      element("div", { class: "controls" }, field("Metric", metrics), ...boxes), this.table);
  }

  // ---- Charts ---------------------------------------------------------------------------------------------------

  async embedLatent() {
    const spec = structuredClone(this.task.latent);
    spec.height = Math.min(spec.height, Math.max(280, this.space.clientWidth));
    spec.datasets.sf_points = this.points.map((point) => ({ ...point }));
    const options = { mode: "vega-lite", renderer: "canvas", actions: false,
      tooltip: (_, event, item, value) => this.hover(event, value == null ? null : item?.datum) };
    this.views.latent = this.space.view = (await vegaEmbed(this.space, spec, options)).view;
    this.views.latent.addEventListener("click", (_, item) => {
      const point = item && this.byId.get(item.datum?.id);
      if (point) this.mark([point.id], point);
    });
    for (const name of ["pointerdown", "pointerleave"]) this.space.addEventListener(name, () => this.hover(null, null));
    this.views.latent.addEventListener("dblclick", () => this.mark([]));
    await this.views.latent.signal("sf_dark", dark).signal("sf_class", this.classControl.value).runAsync();
  }

  async embedCurves() {
    const spec = structuredClone(this.task.riskCoverage);
    const count = this.task.curveSets.length;
    const room = this.curveBox.clientWidth;
    spec.columns = Math.max(1, Math.min(count, Math.floor(room / 300)));
    spec.spec.width = Math.min(420, Math.floor((room - 70) / spec.columns - 30));
    for (const { encoding } of spec.spec.layer) {
      for (const channel of [encoding.color, encoding.strokeDash]) {
        if (channel?.legend) channel.legend.columns = Math.max(1, Math.min(this.task.csfs.length, Math.floor(room / 110)));
      }
    }
    spec.datasets.sf_curves = rowsOf(this.task.curves);
    this.views.curves = (await vegaEmbed(this.curveBox, spec, { mode: "vega-lite", renderer: "canvas", actions: false })).view;
    await this.views.curves.signal("sf_dark", dark).signal("sf_csf", this.csf).signal("sf_panel", this.testSet).runAsync();
  }

  hover(event, point) {
    tip.hidden = !point || point.label === undefined;
    if (tip.hidden) return;
    tip.replaceChildren(...[this.picture(point), this.outcome(point), this.details(point)].filter(Boolean));
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
    tip.style.top = `${Math.max(8, Math.min(event.clientY + 14, innerHeight - height - 8))}px`;
  }
}
