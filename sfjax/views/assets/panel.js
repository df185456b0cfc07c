// One task: its state, what is shown of it, and what happens when something is chosen.

const PLAIN = new Set(["id", "test_set", "kind", "label", "x", "y", "z", "u", "v", "placed", "embedding", "feature_cluster", "cluster",
  "representative", "weight", "row", "level", "domain", "subclass", "file_name",
  "attribute_label", "attribute_domain", "attribute_subclass", "attribute_level"]);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

class Panel {
  constructor(task, images, root) {
    Object.assign(this, { task, images, root });
    this.points = rowsOf(task.points);
    this.byId = new Map(this.points.map((point) => [point.id, point]));
    this.about = Object.keys(task.points).filter((name) => !PLAIN.has(name));
    this.results = rowsOf(task.results);
    this.diagnosis = rowsOf(task.diagnosis);
    this.slices = rowsOf(task.slices);
    this.tables = new Map();
    this.used = new Set();
    this.charts = [];
    const shifted = task.allSets.filter((set) => set.kind !== SOURCE);
    const plain = shifted.filter((set) => set.kind !== "corruption");
    this.chosen = new Set((plain.length ? plain : shifted).map((set) => set.test_set));
    this.source = true;
    this.filter = ALL;
    this.region = null;
    this.cls = task.classes.at(-1);
    this.count = 2;
    this.costs = "cost" in task.scores[task.csfs[0]];
    this.by = this.costs ? "cost" : "confidence";
    this.galleryIndex = 0;
    this.metric = Object.keys(task.metrics)[0];
    // Levels of a corruption, and its mean over levels, which has level 0.
    const shifts = this.results.filter((row) => row.kind !== SOURCE);
    this.corruptions = !shifts.some((row) => row.level === 0);
    this.domains = false;
    this.sort = null;
    this.marked = [];
    this.use(task.csfs[0]);
  }

  // Rows carry the columns of the scores that were chosen so far; dozens of scores would be megabytes of them.
  use(csf) {
    this.csf = csf;
    if (this.used.has(csf)) return;
    this.used.add(csf);
    for (const [name, packed] of Object.entries(this.task.scores[csf])) {
      const values = columnOf(packed);
      this.points.forEach((point, i) => { point[`${name}_${csf}`] = values[i]; });
    }
  }

  table(index) {
    if (!this.tables.has(index)) this.tables.set(index, rowsOf(this.task.tables[index]));
    return this.tables.get(index);
  }

  // ---- What is shown --------------------------------------------------------------------------------------------

  correct(point) { return point[`correct_${this.csf}`] === 1; }
  confidence(point) { return point[`confidence_${this.csf}`]; }
  cost(point) { return point[`cost_${this.csf}`]; }
  called(point) { return point[`predicted_${this.csf}`]; }
  isProbability() { return this.task.probabilities.includes(this.csf); }
  isShown(testSet) { return this.chosen.has(testSet) || (this.source && this.sources.has(testSet)); }
  get sources() { return this.sourceSets ??= new Set(this.task.allSets.filter((set) => set.kind === SOURCE).map((set) => set.test_set)); }
  shownSets() { return this.task.sets.filter((set) => this.isShown(set.test_set)); }

  // The images of the chosen test sets and class; those of them inside the rectangle, if there is one.
  visible() {
    this.shown ??= this.points.filter((point) => this.isShown(point.test_set) && (this.filter === ALL || point.label === this.filter));
    return this.shown;
  }

  active() { return this.region ? this.visible().filter((point) => this.region.has(point.id)) : [...this.visible()]; }

  picture(point) {
    const bytes = this.images[point.id];
    return bytes ? element("img", { src: `${this.task.prefix}${bytes}`, alt: `image ${point.id}: ${point.label}`, loading: "lazy" }) : null;
  }

  confidenceText(point) {
    const value = this.confidence(point);
    if (!this.isProbability()) return `above ${percent(value)}`;
    return value >= 0.9995 ? "> 0.999" : value.toFixed(3);
  }

  outcome(point) {
    const right = this.correct(point);
    return element("span", { class: `outcome ${right ? "correct" : "failure"}` }, right ? "● correct" : "✚ failure");
  }

  details(point, all = false) {
    const more = all ? [...this.about, "file_name"].map((name) => [name.replace(/^attribute_/, ""), point[name]]) : [];
    return facts([["True", point.label], ["Called", this.called(point)], ["Confidence", this.confidenceText(point)],
      ["Test set", point.test_set], ["Domain", point.domain ?? ""], ["Subclass", point.subclass ?? ""],
      ["Cost", this.cost(point) ?? ""], ...more]);
  }

  card(point, children, { marks = [point.id], label = null, cluster = null } = {}) {
    return element("button", { type: "button", class: `card ${this.correct(point) ? "right" : "wrong"}`, "data-id": point.id, "data-cluster": cluster,
      "data-marks": marks.join(" "), "aria-pressed": "false", "aria-label": label, onclick: () => this.mark(this.isMarked(marks) ? [] : marks, point) },
      this.picture(point) ?? element("span", { class: "blank", "aria-hidden": "true" }, "no image"), ...children);
  }

  // ---- What is chosen -------------------------------------------------------------------------------------------

  isMarked(ids) { return ids.length === this.marked.length && ids.every((id, i) => id === this.marked[i]); }

  // Marks images in the scatter, shows one of them, and frames the cards of those that have one.
  mark(ids, point = null, fromScatter = false) {
    this.marked = ids;
    this.latent.set({ sf_marked: ids });
    const picked = ids.length ? point : null;
    if (picked && fromScatter && this.galleryIndex === 2 && picked.label !== this.cls) this.focusClass(picked.label);
    this.showPicked(picked);
    this.frame();
    if (!fromScatter || !picked) return;
    const card = this.gallery.querySelector(".card[aria-pressed=true]");
    card?.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  frame() {
    const marked = new Set(this.marked);
    const one = this.marked.length === 1 ? this.byId.get(this.marked[0]) : null;
    const cluster = one && `${one.test_set}\n${one.label}\n${one.cluster}`;
    const same = this.marked.join(" ");
    for (const node of this.root.querySelectorAll("[data-id], [data-slice]")) {
      const framed = node.dataset.slice !== undefined ? same !== "" && node.dataset.marks === same
        : node.dataset.cluster ? node.dataset.marks === same || node.dataset.cluster === cluster : marked.has(Number(node.dataset.id));
      node.setAttribute("aria-pressed", String(framed));
    }
  }

  showPicked(point) {
    if (!point) {
      return this.picked.replaceChildren(element("p", { class: "note" }, "Nothing is marked. Click a point or an image."));
    }
    const cluster = clusterOf(this, point).map((other) => other.id);
    this.picked.replaceChildren(...[this.picture(point), element("div", {}, this.outcome(point), this.details(point, true)),
      element("div", { class: "picked-actions" },
        this.marked.length > 1 ? element("p", { class: "note" }, `${grouped(this.marked.length)} images are marked.`) : null,
        action(`Mark its cluster (${cluster.length})`, () => this.mark(cluster, point)), action("Unmark", () => this.mark([])))].filter(Boolean));
    status.textContent = `Marked: ${point.label}, called ${this.called(point)}, confidence ${this.confidenceText(point)}`;
  }

  chooseCsf(csf) {
    this.use(csf);
    this.latent.set({ sf_csf: csf });
    for (const chart of this.charts) chart.set({ sf_csf: csf });
    this.refresh();
    this.drawStrips?.();
  }

  // After another choice of test sets or class.
  refilter() {
    this.shown = null;
    this.latent.draw();
    for (const chart of this.charts) this.handRows(chart);
    this.refresh();
  }

  setRegion(ids) {
    if (!ids && !this.region) return;
    this.region = ids && new Set(ids);
    drawGallery(this);
    drawCounts(this);
  }

  focusClass(name) {
    this.cls = name;
    setChoice(this.clusterClass, name);
    setChoice(this.focusControl, name);
    this.latent.set({ sf_class: name });
    if (this.galleryIndex === 2) drawGallery(this);
  }

  setTheme(value) {
    this.latent.set({ sf_dark: value });
    for (const chart of this.charts) chart.set({ sf_dark: value });
  }

  // ---- Charts that follow ---------------------------------------------------------------------------------------

  follow(chart) {
    this.charts.push(chart);
    chart.set({ sf_dark: dark, sf_csf: this.csf, sf_panel: ALL, sf_test_set: ALL });
    this.handRows(chart);
  }

  // A table with test sets is handed over without those that are not chosen.
  handRows(chart) {
    for (const [name, rows] of Object.entries(chart.tables)) {
      chart.data(name, rows.length && "test_set" in rows[0] ? rows.filter((row) => this.isShown(row.test_set)) : rows);
    }
  }

  refresh() {
    drawTiles(this);
    if (this.findings) drawDiagnosis(this);
    if (this.sliceTable) drawSlices(this);
    drawGallery(this);
    drawCounts(this);
    drawTable(this);
    this.frame();
    if (this.marked.length) this.showPicked(this.byId.get(this.marked[0]));
  }
}
