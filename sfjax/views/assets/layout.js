// What stands where: the bar of choices, and the sections of a task in their order.

Object.assign(Panel.prototype, {
  section(title, hint, ...children) {
    const id = `${this.root.id}-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
    return element("section", { id, "aria-labelledby": `${id}-title`, "data-title": title },
      element("h2", { id: `${id}-title`, tabindex: "-1" }, title), element("p", { class: "hint" }, hint), ...children);
  },

  toolbar() {
    const { task } = this;
    const csf = choice(task.csfs, this.csf, (name) => this.chooseCsf(name));
    csf.id = `csf-${this.root.id}`;
    const kinds = [...new Set(task.allSets.filter((set) => set.kind !== SOURCE).map((set) => set.kind))];
    const groups = kinds.map((kind) => [kind, task.allSets.filter((set) => set.kind === kind).map((set) => set.test_set)
      .sort((a, b) => a.localeCompare(b, "en", { numeric: true }))]);
    const cls = choice([ALL, ...task.classes.filter((name) => name !== ALL)], ALL, (name) => {
      this.filter = name;
      if (name !== ALL) this.focusClass(name);
      this.refilter();
    });
    cls.id = `class-${this.root.id}`;
    return element("div", { class: "toolbar" },
      field("Score", csf),
      groups.length ? several("Test sets", groups, this.chosen, () => this.refilter()) : null,
      field("i.i.d. too", checkbox(true, (on) => { this.source = on; this.refilter(); }), "check"),
      field("Class", cls),
      this.jump = element("nav", { class: "jump", "aria-label": "Sections" }));
  },

  diagnosisSection() {
    this.tiles = element("dl", { class: "tiles" });
    if (this.diagnosis.length) this.findings = element("div", { class: "found" });
    return this.section("Diagnosis", this.findings
      ? "The signs of failure as numbers, each with its 95 % interval, for the chosen score and test sets."
      : "The chosen score on images like the training images, and where it does worst.", this.tiles, this.findings);
  },

  sliceSection() {
    if (!this.task.slices.slice) return [];
    this.sliceTable = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Where the silent failures are" });
    return [this.section("Where the silent failures are",
      "Groups of images with more silent failures than the rest of their test set. Where the adjusted p, which counts all groups tried, is above 0.05, "
      + "that may be chance: these rows are gray. "
      + "Dot and line: rate and 95 % interval; tick: the rest. Click a group to mark its images in the scatter.", this.sliceTable)];
  },

  curveSection() {
    const box = element("div", { class: "chart lazy" });
    const chart = new Chart(box, this.task.riskCoverage, { strict: this.task.strict, fit: fittedCurves(this.task.csfs.length) });
    chart.tables = { sf_curves: this.table(this.task.curves) };
    this.follow(chart);
    chart.whenNear();
    return this.section("Risk and coverage",
      "Share of failures among the images that are still accepted when the least confident ones are handed to a person. Lower is better. "
      + "The chosen score is bold, with its 95 % band.", box);
  },

  resultSection() {
    this.resultTable = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Results" });
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
      element("div", { class: "controls" }, field("Metric", metrics), ...boxes), this.resultTable);
  },

  async draw() {
    this.latent = new Latent(this);
    const toolbar = this.toolbar();
    const { notes } = this.task;
    const sections = [this.diagnosisSection(), ...this.sliceSection(), this.latent.section(), ...stripSection(this), this.curveSection(),
      ...chartSections(this), ...promiseSection(this), this.resultSection(),
      this.section("Notes", "What these numbers rest on.", element("ul", { class: "notes" }, ...notes.map((note) => element("li", {}, note))))];
    for (const section of sections) {
      const { title } = section.dataset;
      this.jump.append(element("a", { href: `#${section.id}` }, SHORT[title] ?? title));
    }
    this.root.replaceChildren(toolbar, ...sections);
    this.showPicked(null);
    this.galleryTabs.choose(0);
    this.refresh();
    this.drawStrips?.();
    this.latent.draw();
    await this.latent.chart.embed();
  },

  hover(event, point) {
    tip.hidden = !point || point.label === undefined;
    if (tip.hidden) return;
    tip.replaceChildren(...[this.picture(point), element("div", {}, this.outcome(point), this.details(point))].filter(Boolean));
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
    tip.style.top = `${Math.max(8, Math.min(event.clientY + 14, innerHeight - height - 8))}px`;
  },

  resized() {
    for (const chart of this.charts) chart.resized();
  },
});

const SHORT = { "Where the silent failures are": "Slices", "One image through a corruption": "Corruptions", "Risk and coverage": "Risk" };
