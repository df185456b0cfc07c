// A chart that follows the page. Its rows are handed over, its parameters set, and it is drawn when it comes near.

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    entry.target.chart.embed();
  }
}, { rootMargin: "600px" });

class Chart {
  // `fit(spec, room)` gives the specification its size in the pixels there are.
  constructor(box, spec, { rows = {}, fit = fitted, tooltip = true, strict = false }) {
    Object.assign(this, { box, spec, rows, fit, tooltip, strict, values: new Map(), listeners: [], view: null });
    box.chart = this;
  }

  whenNear() { near.observe(this.box); }

  // Draws the chart once; who asks again gets the same promise.
  embed() {
    near.unobserve(this.box);
    this.ready ??= this.draw();
    return this.ready;
  }

  async draw() {
    this.room = this.box.clientWidth;
    const options = { mode: "vega-lite", renderer: "canvas", actions: false, tooltip: this.tooltip, ast: this.strict };
    this.panels = this.count();
    const spec = this.fit(structuredClone(this.spec), this.room, this.panels, Object.values(this.rows).flat());
    const given = { ...this.rows };
    spec.datasets = { ...spec.datasets, ...given };
    for (const param of spec.params ?? []) if (this.values.has(param.name)) param.value = this.values.get(param.name);
    const view = (await vegaEmbed(this.box, spec, options)).view;
    this.view = this.box.view = view;
    for (const [name, rows] of Object.entries(this.rows)) if (rows !== given[name]) view.data(name, rows);
    for (const [name, value] of this.values) this.hand(name, value);
    for (const [kind, name, act] of this.listeners) this.listen(kind, name, act);
    await view.runAsync();
  }

  hand(name, value) {
    try { this.view.signal(name, value); } catch { /* This chart has no such parameter. */ }
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) {
      this.values.set(name, value);
      if (this.view) this.hand(name, value);
    }
    return this.run();
  }

  // Views side by side take as much room as their rows need now.
  run() { return (this.spec.hconcat ? this.view?.resize() : this.view)?.runAsync(); }

  // Panels that come or go change what stands where.
  data(name, rows) {
    this.rows[name] = rows;
    if (this.view && this.spec.facet && this.panels !== this.count()) return this.redraw();
    this.view?.data(name, rows);
    return this.run();
  }

  count() { return new Set(Object.values(this.rows).flatMap((rows) => rows.map((row) => row.test_set))).size; }

  redraw() {
    this.view.finalize();
    this.view = null;
    this.ready = this.draw();
  }

  signal(name) { return this.view.signal(name); }

  on(kind, name, act) {
    this.listeners.push([kind, name, act]);
    if (this.view) this.listen(kind, name, act);
  }

  listen(kind, name, act) {
    if (kind === "event") return this.view.addEventListener(name, act);
    try { this.view.addSignalListener(name, (_, value) => act(value)); } catch { /* This chart has no such parameter. */ }
  }

  // Panels side by side do not follow the window by themselves.
  resized() {
    if (this.view && this.box.clientWidth && Math.abs(this.box.clientWidth - this.room) > 24) this.redraw();
  }
}

// Panels side by side, as many as there is room for; wide ones shrink a little where one more fits then.
function fitted(spec, room, panels, rows) {
  if (!spec.facet?.field) return spec;
  const inner = spec.spec;
  const wide = widthOf(inner, rows);
  const flexible = typeof inner.width === "number" && inner.width > inner.height;
  const columns = Math.max(1, Math.min(panels, Math.floor((room - 60) / ((flexible ? 0.72 * wide : wide) + 24))));
  if (flexible) inner.width = Math.min(wide, Math.floor((room - 60) / columns - 24));
  spec.columns = columns;
  return spec;
}

function widthOf({ width, layer, encoding }, rows) {
  if (typeof width === "number") return width;
  const field = (encoding ?? layer?.[0].encoding)?.x?.field;
  return width?.step && field ? width.step * new Set(rows.map((row) => row[field])).size : 260;
}

function legendColumns(node, columns) {
  if (!node || typeof node !== "object") return;
  if (node.legend && typeof node.legend === "object" && node.legend.orient === "bottom") node.legend.columns = columns;
  for (const value of Object.values(node)) legendColumns(value, columns);
}

// The curves of all scores in one panel a test set.
function fittedCurves(scores) {
  return (spec, room, panels) => {
    spec.columns = Math.max(1, Math.min(panels, Math.floor(room / 300)));
    spec.spec.width = Math.min(420, Math.floor((room - 70) / spec.columns - 30));
    legendColumns(spec.spec, Math.max(1, Math.min(scores, Math.floor(room / 110))));
    return spec;
  };
}

function inputFor({ name, bind, value }, chart) {
  const set = (given) => chart.set({ [name]: given });
  const label = (bind.name ?? name).trim();
  if (bind.input === "range") {
    const said = element("output", {}, String(value));
    const control = slider(value, bind.min, bind.max, bind.step ?? "any", (given) => { said.textContent = String(given); set(given); });
    return field(label, element("span", { class: "with-output" }, control, said));
  }
  if (bind.input === "checkbox") return field(label, checkbox(Boolean(value), set));
  const shown = bind.options.map((option, i) => [String(i), String(bind.labels?.[i] ?? option)]);
  return field(label, select(shown, String(bind.options.indexOf(value)), (i) => set(bind.options[Number(i)])));
}

// The sections of charts that need nothing but their rows and the page's choices.
function chartSections(panel) {
  return panel.task.charts.map(({ title, hint, spec, data, inputs }) => {
    const box = element("div", { class: "chart lazy" });
    const tables = Object.fromEntries(Object.entries(data).map(([name, index]) => [name, panel.table(index)]));
    const chart = new Chart(box, spec, { strict: panel.task.strict });
    chart.tables = tables;
    panel.follow(chart);
    chart.whenNear();
    const controls = inputs.length ? element("div", { class: "controls" }, ...inputs.map((input) => inputFor(input, chart))) : null;
    return panel.section(title, hint, controls, box);
  });
}
