"use strict";
// The page's own script. Text of the data reaches the document only as text nodes.
(() => {
  const ALL = "all";
  const SOURCE = "iid";
  const panels = new Map();
  const tip = document.getElementById("tip");
  const status = document.getElementById("status");
  let dark = matchMedia("(prefers-color-scheme: dark)").matches;

  // ---- Small parts ------------------------------------------------------------------------------------------------

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child != null));
    return node;
  }

  function rowsOf(columns) {
    const names = Object.keys(columns);
    const count = names.length ? columns[names[0]].length : 0;
    return Array.from({ length: count }, (_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
  }

  async function unpack(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function field(label, control, className = "") {
    return element("label", { class: `field ${className}` }, element("span", {}, label), control);
  }

  function select(options, value, change) {
    const control = element("select", { onchange: () => change(control.value) });
    for (const [name, text] of options) control.append(element("option", { value: name, selected: name === value }, text));
    return control;
  }

  function slider(value, low, high, step, change) {
    return element("input", { type: "range", min: low, max: high, step, value,
      oninput: (event) => change(Number(event.target.value)) });
  }

  function checkbox(checked, change) {
    return element("input", { type: "checkbox", checked, onchange: (event) => change(event.target.checked) });
  }

  function facts(pairs) {
    const list = element("dl", { class: "facts" });
    for (const [name, text] of pairs) if (text !== "") list.append(element("dt", {}, name), element("dd", {}, text));
    return list;
  }

  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

  // ---- One task ---------------------------------------------------------------------------------------------------

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
      return value > 0.9995 ? "> 0.999" : value.toFixed(3);
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
        this.latentSection(), this.failureSection(), this.clusterSection(), this.curveSection(), this.resultSection(),
        element("ul", { class: "notes" }, ...task.notes.map((note) => element("li", {}, note))),
      );
      this.showChosen(null);
      this.refresh();
      await Promise.all([this.embedLatent(), this.embedCurves()]);
    }

    refresh() {
      this.drawTiles();
      this.drawFailures();
      this.drawClusters();
      this.drawTable();
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
      return this.section("Latent space",
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
        (name) => { this.metric = name; this.sort = null; this.drawTable(); });
      const boxes = [];
      if (this.results.some((row) => row.level > 0)) {
        boxes.push(field("Every level of corruptions", checkbox(this.corruptions, (on) => { this.corruptions = on; this.drawTable(); })));
      }
      if (this.results.some((row) => row.domain !== ALL)) {
        boxes.push(field("By domain", checkbox(false, (on) => { this.domains = on; this.drawTable(); })));
      }
      return this.section("Results",
        this.results.some((row) => row.best)
        ? "Mean over networks and its 95 % bootstrap interval. Bold: the best score of a row; =: as good as the best, for all these images can tell."
        : "Mean over seeds; below it the 95 % bootstrap interval, from the lowest of any seed to the highest.",
        element("div", { class: "controls" }, field("Metric", metrics), ...boxes), this.table);
    }

    // ---- Contents -------------------------------------------------------------------------------------------------

    format(metric, value) {
      const { scale, digits } = this.task.metrics[metric];
      return value == null ? "–" : (value * scale).toFixed(digits);
    }

    lookup(metric, testSet, csf, domain = ALL) {
      const found = this.results.filter((row) => row.metric === metric && row.test_set === testSet && row.domain === domain);
      return found.find((row) => row.csf === csf) ?? found.find((row) => row.csf === "");
    }

    // What the chosen score does on source images, and on the chosen test set or where it is worst.
    drawTiles() {
      this.tiles.replaceChildren();
      const targets = this.results.filter((row) => row.kind !== SOURCE && row.domain === ALL);
      const plain = targets.some((row) => row.level === 0) ? targets.filter((row) => row.level === 0) : targets;
      const shifted = [...new Set(plain.map((row) => row.test_set))];
      const source = this.results.find((row) => row.kind === SOURCE)?.test_set;
      for (const metric of ["accuracy", "silent_failure_rate", "accepted_failure_rate", "auroc_f", "aurc"]) {
        if (!this.task.metrics[metric]) continue;
        const start = this.lookup(metric, source, this.csf);
        const sign = this.task.metrics[metric].lower_is_better ? -1 : 1;
        const names = shifted.includes(this.testSet) ? [this.testSet] : shifted;
        const ends = names.map((name) => this.lookup(metric, name, this.csf)).filter(Boolean);
        const end = ends.sort((a, b) => sign * (a.value - b.value))[0];
        if (!start && !end) continue;
        const where = end && (shifted.includes(this.testSet) ? end.test_set : `${end.test_set} (the worst)`);
        this.tiles.append(element("div", { class: "tile" },
          element("dt", {}, this.task.metrics[metric].short),
          element("dd", {}, start ? this.format(metric, start.value) : "–", end ? element("span", { class: "arrow" }, "→") : "",
            end ? this.format(metric, end.value) : ""),
          element("dd", {}, end ? `i.i.d. → ${where}` : "i.i.d.")));
      }
    }

    drawFailures() {
      this.failures.replaceChildren(...this.shownSets().map((set) => {
        const wrong = this.points.filter((point) => point.test_set === set.test_set && !this.correct(point));
        const top = wrong.sort((a, b) => a[`rank_${this.csf}`] - b[`rank_${this.csf}`] || a.id - b.id).slice(0, this.count);
        const cards = top.map((point) => this.card(point, [facts([
          ["True", point.label], ["Called", point[`predicted_${this.csf}`]], ["Conf.", this.confidenceText(point)],
        ])]));
        return element("div", {}, element("h3", {}, set.test_set),
          cards.length ? element("div", { class: "cards" }, ...cards) : element("p", { class: "note" }, "No failures among the images shown."));
      }));
    }

    drawClusters() {
      this.clusters.replaceChildren(...this.shownSets().map((set) => {
        const groups = new Map();
        for (const point of this.points) {
          if (point.test_set !== set.test_set || point.label !== this.cls) continue;
          if (!groups.has(point.cluster)) groups.set(point.cluster, []);
          groups.get(point.cluster).push(point);
        }
        const cards = [...groups].sort(([a], [b]) => a - b).map(([, members]) => {
          const center = members.find((point) => point.representative === 1) ?? members[0];
          const total = members.reduce((sum, point) => sum + point.weight, 0);
          const right = members.reduce((sum, point) => sum + (this.correct(point) ? point.weight : 0), 0) / total;
          const text = `${members.length} images, ${percent(right)} right`;
          return this.card(center, [element("span", {}, `n = ${members.length}`),
            element("span", { class: `outcome ${right >= 0.5 ? "correct" : "failure"}` }, `${percent(right)} right`)],
            [center.id, ...members.filter((point) => point !== center).map((point) => point.id)], text);
        });
        return element("div", {}, element("h3", {}, `${set.test_set}: ${this.cls}`),
          cards.length ? element("div", { class: "nine" }, ...cards) : element("p", { class: "note" }, "No images of this class."));
      }));
    }

    drawTable() {
      const metric = this.metric;
      const rows = [];
      for (const row of this.results) {
        if (row.metric !== metric || (row.level > 0 && !this.corruptions) || (row.domain !== ALL && !this.domains)) continue;
        let entry = rows.find((known) => known.name === row.test_set && known.domain === row.domain);
        if (!entry) rows.push(entry = { name: row.test_set, domain: row.domain, kind: row.kind, n: row.n, cells: {} });
        entry.cells[row.csf] = row;
      }
      const order = (row) => (row.kind === SOURCE ? 0 : row.kind === "corruption" ? 2 : 1);
      const place = new Map();
      for (const row of rows) if (!place.has(row.name)) place.set(row.name, place.size);
      rows.sort((a, b) => order(a) - order(b) || place.get(a.name) - place.get(b.name)
        || (b.domain === ALL) - (a.domain === ALL) || (a.domain < b.domain ? -1 : 1));
      const csfs = this.task.csfs.filter((csf) => rows.some((row) => row.cells[csf]));
      const shared = csfs.length === 0;
      const columns = shared ? [""] : csfs;
      const cell = (row, csf) => row.cells[csf] ?? row.cells[""];
      if (this.sort) {
        const { key, sign } = this.sort;
        const value = (row) => (key === "n" ? row.n : cell(row, key)?.value ?? Infinity * sign);
        rows.sort((a, b) => (key === "name" ? sign * (a.name < b.name ? -1 : 1) : sign * (value(a) - value(b))));
      }
      const heading = (key, text) => element("th", { scope: "col", class: key === this.csf ? "chosen-csf" : null,
        "aria-sort": this.sort?.key === key ? (this.sort.sign > 0 ? "ascending" : "descending") : null },
        element("button", { type: "button", onclick: () => {
          this.sort = { key, sign: this.sort?.key === key ? -this.sort.sign : 1 };
          this.drawTable();
        } }, text));
      const body = rows.map((row) => {
        return element("tr", { class: row.domain === ALL ? null : "domain" },
          element("th", { scope: "row" }, row.domain === ALL ? row.name : this.sort ? `${row.name}: ${row.domain}` : row.domain),
          element("td", {}, row.kind), element("td", {}, String(row.n)),
          ...columns.map((csf) => {
            const found = cell(row, csf);
            const classes = [found?.best ? "best" : "", csf === this.csf ? "chosen-csf" : ""].join(" ").trim();
            return element("td", { class: classes || null }, `${this.format(metric, found?.value)}${found?.tied && !found.best ? " =" : ""}`,
              found?.low == null ? "" : element("span", { class: "interval" }, `${this.format(metric, found.low)} – ${this.format(metric, found.high)}`));
          }));
      });
      this.table.replaceChildren(element("table", {},
        element("caption", { class: "visually-hidden" }, this.task.metrics[metric].title),
        element("thead", {}, element("tr", {}, heading("name", "test set"), element("th", { scope: "col" }, "kind"), heading("n", "n"),
          ...columns.map((csf) => heading(csf, csf || "all scores")))),
        element("tbody", {}, ...body)));
    }

    // ---- Charts ---------------------------------------------------------------------------------------------------

    async embedLatent() {
      const spec = structuredClone(this.task.latent);
      spec.datasets.sf_points = this.points.map((point) => ({ ...point }));
      const options = { mode: "vega-lite", renderer: "canvas", actions: false,
        tooltip: (_, event, item, value) => this.hover(event, value == null ? null : item?.datum) };
      this.views.latent = (await vegaEmbed(this.space, spec, options)).view;
      this.views.latent.addEventListener("click", (_, item) => {
        const point = item && this.byId.get(item.datum?.id);
        if (point) this.mark([point.id], point);
      });
      this.views.latent.addEventListener("dblclick", () => this.mark([]));
      await this.views.latent.signal("sf_dark", dark).signal("sf_class", this.classControl.value).runAsync();
    }

    async embedCurves() {
      const spec = structuredClone(this.task.riskCoverage);
      const count = this.task.curveSets.length;
      const room = this.curveBox.clientWidth;
      spec.columns = Math.max(1, Math.min(count, Math.floor(room / 300)));
      spec.spec.width = Math.min(420, Math.floor((room - 70) / spec.columns - 30));
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

  // ---- The page ---------------------------------------------------------------------------------------------------

  async function show(index) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      roots[i].hidden = i !== index;
    });
    if (panels.has(index)) return;
    const images = JSON.parse(document.getElementById(`images-${index}`).textContent);
    const panel = new Panel(await unpack(`task-${index}`), images, roots[index]);
    panels.set(index, panel);
    await panel.draw();
  }

  function setTheme(value) {
    dark = value;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
    for (const panel of panels.values()) for (const view of Object.keys(panel.views)) panel.signal(view, "sf_dark", dark);
  }

  const button = document.getElementById("theme");
  button.addEventListener("click", () => setTheme(!dark));
  const bar = document.getElementById("tasks");
  const main = document.getElementById("panels");
  const names = JSON.parse(bar.dataset.names);
  const roots = names.map((name, i) => element("div", { id: `panel-${i}`, role: "tabpanel", "aria-label": name, hidden: true }));
  const tabs = names.map((name, i) => element("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": `panel-${i}`,
    onclick: () => show(i),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (i + step + names.length) % names.length;
      tabs[next].focus();
      show(next);
    } }, name));
  bar.append(...tabs);
  bar.hidden = names.length < 2;
  main.replaceChildren(...roots);
  setTheme(dark);
  show(0).then(() => { document.body.dataset.ready = "true"; });
})();
