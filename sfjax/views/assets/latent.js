// The latent space: a scatter in three dimensions or two, what is shown of it, and the image that is picked.

const VIEWS = ["3-D", "2-D"];

class Latent {
  constructor(panel) {
    this.panel = panel;
    const { task } = panel;
    this.boxes = VIEWS.map((name) => element("div", { class: "space", "data-view": name, hidden: name !== VIEWS[0] }));
    const options = { strict: task.strict, fit: (spec, room) => this.fitted(spec, room),
      tooltip: (_, event, item, value) => panel.hover(event, value == null ? null : item?.datum) };
    this.charts = [task.latent, task.latent2d].map((spec, i) => spec && new Chart(this.boxes[i], spec, { ...options }));
    this.shown = 0;
    for (const chart of this.charts) if (chart) this.prepare(chart);
    this.charts[1]?.on("signal", "sf_brush", (brush) => this.brushed(brush));
    this.shiftDrag(this.boxes[0]);
  }

  get chart() { return this.charts[this.shown]; }

  fitted(spec, room) {
    spec.height = Math.max(280, Math.min(620, room - 14, innerHeight - 260));
    if (spec.width !== "container") spec.width = spec.height;
    return spec;
  }

  prepare(chart) {
    const { panel } = this;
    chart.set({ sf_dark: dark, sf_csf: panel.csf, sf_class: panel.cls, sf_test_set: ALL });
    chart.on("event", "click", (_, item) => {
      const point = item && panel.byId.get(item.datum?.id);
      if (point) panel.mark([point.id], point, true);
    });
    chart.on("event", "dblclick", () => { panel.mark([]); panel.setRegion(null); });
    for (const name of ["pointerdown", "pointerleave"]) chart.box.addEventListener(name, () => panel.hover(null, null));
  }

  set(values) { for (const chart of this.charts) chart?.set(values); }

  // Both dimensions read the same rows; the hidden one is handed them when it is shown.
  draw() { this.chart.data("sf_points", this.panel.visible()); }

  async show(index) {
    this.shown = index;
    this.boxes.forEach((box, i) => { box.hidden = i !== index; });
    this.draw();
    await this.chart.embed();
  }

  // ---- A rectangle around images: dragged in two dimensions, with shift in three --------------------------------

  brushed(brush) {
    const [u, v] = [brush?.u, brush?.v];
    if (!u || !v) return this.panel.setRegion(null);
    const within = (value, [from, to]) => value >= Math.min(from, to) && value <= Math.max(from, to);
    this.panel.setRegion(this.panel.visible().filter((point) => within(point.u, u) && within(point.v, v)).map((point) => point.id));
  }

  shiftDrag(box) {
    const frame = element("div", { class: "lasso", hidden: true });
    let start = null;
    const place = (event) => {
      const { left, top } = box.getBoundingClientRect();
      const [x, y] = [event.clientX - left, event.clientY - top];
      Object.assign(frame.style, { left: `${Math.min(x, start[0])}px`, top: `${Math.min(y, start[1])}px`,
        width: `${Math.abs(x - start[0])}px`, height: `${Math.abs(y - start[1])}px` });
    };
    box.addEventListener("pointerdown", (event) => {
      if (!event.shiftKey || event.button !== 0) return;
      event.stopPropagation();
      event.preventDefault();
      const { left, top } = box.getBoundingClientRect();
      start = [event.clientX - left, event.clientY - top];
      box.append(frame);
      frame.hidden = false;
      place(event);
      box.setPointerCapture(event.pointerId);
    }, true);
    box.addEventListener("pointermove", (event) => { if (start) { event.stopPropagation(); place(event); } }, true);
    box.addEventListener("pointerup", (event) => {
      if (!start) return;
      event.stopPropagation();
      this.panel.setRegion(this.within(frame.getBoundingClientRect()));
      start = null;
      frame.hidden = true;
    }, true);
  }

  // The images that are drawn inside a rectangle of the screen; none is no choice.
  within(area) {
    const view = this.charts[0].view;
    const canvas = this.boxes[0].querySelector("canvas").getBoundingClientRect();
    const [left, top] = view.origin();
    const padding = view.padding();
    const found = [];
    const walk = (item, x, y) => {
      if (item.datum?.id !== undefined && item.shape && item.fill) {
        if (x + item.x >= area.left && x + item.x <= area.right && y + item.y >= area.top && y + item.y <= area.bottom) found.push(item.datum.id);
      }
      for (const child of item.items ?? []) walk(child, x + (item.x && child.marktype ? item.x : 0), y + (item.y && child.marktype ? item.y : 0));
    };
    walk(view.scenegraph().root, canvas.left + left + padding.left, canvas.top + top + padding.top);
    return found.length ? [...new Set(found)] : null;
  }

  // ---- Layout ---------------------------------------------------------------------------------------------------

  controls() {
    const { panel } = this;
    const set = (name) => (value) => this.set({ [name]: value });
    const start = (name) => panel.task.latent.params.find((param) => param.name === name)?.value;
    const angles = [["Azimuth", "sf_azimuth", 35, -180, 180, 1], ["Elevation", "sf_elevation", 20, -90, 90, 1], ["Zoom", "sf_zoom", 1, 0.5, 4, 0.1]]
      .map(([label, name, value, low, high, step]) => [label, slider(value, low, high, step, set(name)), value]);
    const reset = action("Reset camera", () => {
      for (const [, control, value] of angles) { control.value = value; control.dispatchEvent(new Event("input")); }
      this.set({ sf_rotate_sf_a: null, sf_rotate_sf_e: null });
    });
    const views = this.charts[1] ? tabs("Dimensions", VIEWS, 0, (index) => this.show(index), `view-${panel.root.id}`) : null;
    if (views) {
      views.bar.classList.add("segments");
      views.buttons.forEach((button, i) => {
        button.setAttribute("aria-selected", String(i === 0));
        button.tabIndex = i === 0 ? 0 : -1;
      });
    }
    panel.focusControl = choice(panel.task.classes, panel.cls, (name) => panel.focusClass(name));
    const focus = field("Class in focus", panel.focusControl);
    focus.hidden = true;
    const color = select(["confidence", "source / target", "class confusion"].map((name) => [name, name]), "confidence", (name) => {
      focus.hidden = name !== "class confusion";
      this.set({ sf_color: name });
    });
    const more = element("details", { class: "menu right" }, element("summary", {}, "Markers and camera"), element("div", { class: "menu-body sliders" },
      field("Fade below", slider(0, 0, 1, 0.01, set("sf_threshold"))),
      field("Size", slider(start("sf_size"), 4, 160, 2, set("sf_size"))), field("Opacity", slider(start("sf_opacity"), 0.1, 1, 0.05, set("sf_opacity"))),
      ...angles.map(([label, control]) => field(label, control)), reset));
    more.addEventListener("keydown", (event) => { if (event.key === "Escape") { more.open = false; more.firstChild.focus(); } });
    return element("div", { class: "controls" }, views?.bar, field("Color", color), focus, more);
  }

  section() {
    const { panel } = this;
    panel.counts = element("div", { class: "counts", role: "status" });
    panel.picked = element("div", { class: "picked" });
    return panel.section("Latent space",
      `${panel.task.drawn} Images that the network sees alike lie close. A circle is a correct prediction, a cross a failure. Drag to rotate, wheel to zoom, `
      + "double click to reset; shift and drag to look at a part only. Click a point, or an image, to mark it in both.",
      element("div", { class: "workbench" },
        element("div", { class: "plot" }, this.controls(), element("div", { class: "frame" }, ...this.boxes), panel.counts, panel.picked),
        gallerySection(panel)));
  }
}

// What is shown, outcome by outcome and test set by test set. Of a sample that is rich in failures, the share of failures is
// that of all images: each point counts as many as it stands for.
function drawCounts(panel) {
  const shown = panel.active();
  const rows = panel.shownSets().map((set) => {
    const points = shown.filter((point) => point.test_set === set.test_set);
    const failures = points.filter((point) => !panel.correct(point));
    const weight = (some) => some.reduce((sum, point) => sum + point.weight, 0);
    return [set.test_set, points.length, points.length - failures.length, weight(points), weight(failures)];
  });
  const total = rows.reduce((sums, [, ...values]) => sums.map((sum, i) => sum + values[i]), [0, 0, 0, 0]);
  const sampled = shown.some((point) => Math.abs(point.weight - 1) > 1e-6);
  const line = (name, n, right, all, wrong) => element("tr", {}, element("th", { scope: "row" }, name),
    element("td", { class: "correct" }, `● ${grouped(right)}`), element("td", { class: "failure" }, `✚ ${grouped(n - right)}`),
    element("td", {}, n ? percent(wrong / all) : "–"));
  panel.counts.replaceChildren(element("table", {},
    element("caption", { class: "visually-hidden" }, "Images shown: correct, failures, share of failures"),
    element("tbody", {}, ...rows.map((row) => line(...row)), rows.length > 1 ? line(panel.region ? "in the rectangle" : "shown", ...total) : null)),
  sampled ? element("p", { class: "note sampled" }, "Counts are of the images drawn, shares of failures of all images that these stand for.") : "",
  panel.region ? action(`Look at all again (${grouped(panel.region.size)} in the rectangle)`, () => panel.setRegion(null), { class: "clear" }) : "");
}
