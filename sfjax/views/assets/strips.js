// One image through the levels of a corruption: what is said of it, how surely, and where it flips.

function stripSection(panel) {
  const rows = rowsOf(panel.task.strips);
  if (!rows.length) return [];
  const corruptions = [...new Set(rows.map((row) => row.corruption))];
  const samplesOf = (corruption) => [...new Set(rows.filter((row) => row.corruption === corruption).map((row) => row.sample))];
  const state = { corruption: corruptions[0], sample: samplesOf(corruptions[0])[0] };
  const box = element("div", { class: "strip scroll-x", tabindex: "0", role: "region", "aria-label": "Levels of the corruption" });
  const samples = element("div", { class: "samples", role: "group", "aria-label": "Images" });
  const draw = () => {
    const found = rows.filter((row) => row.corruption === state.corruption);
    samples.replaceChildren(...samplesOf(state.corruption).map((sample) => {
      const first = found.find((row) => row.sample === sample);
      const picture = stripPicture(panel, first, "");
      return element("button", { type: "button", class: "exemplar", "aria-pressed": String(sample === state.sample),
        "aria-label": `Image ${sample}: ${first.label}`, onclick: () => { state.sample = sample; draw(); } }, picture ?? String(sample));
    }));
    drawStrip(panel, box, found.filter((row) => row.sample === state.sample));
  };
  const choose = field("Corruption", choice(corruptions, state.corruption, (name) => {
    state.corruption = name;
    if (!samplesOf(name).includes(state.sample)) state.sample = samplesOf(name)[0];
    draw();
  }));
  panel.drawStrips = draw;
  return [panel.section("One image through a corruption",
    "The same image from clean to the strongest level. The frame is the outcome for the chosen score; below, the confidence of several scores. "
    + "Confidence that stays high where the answer flips is a silent failure.",
    element("div", { class: "controls" }, choose, samples), box)];
}

function stripPicture(panel, row, alt) {
  const bytes = panel.task.stripImages[row.image];
  return bytes ? element("img", { src: `${panel.task.prefix}${bytes}`, alt }) : null;
}

const LEVELS = ["clean", "level 1", "level 2", "level 3", "level 4", "level 5"];
const HIGH = 150;

function drawStrip(panel, box, rows) {
  const csfs = [...new Set(rows.map((row) => row.csf))];
  const main = csfs.includes(panel.csf) ? panel.csf : csfs[0];
  const shown = [main, ...csfs.filter((csf) => csf !== main)].slice(0, 6);
  const of = (csf) => rows.filter((row) => row.csf === csf).sort((a, b) => a.level - b.level);
  const steps = of(main);
  const flip = steps.findIndex((row) => row.predicted !== steps[0].predicted);
  const column = Math.max(112, Math.min(160, Math.floor((box.clientWidth - 44) / steps.length)));
  const cells = steps.map((row, i) => element("figure", { style: `width: ${column}px`, class: `level ${row.correct ? "correct" : "failure"}` },
    element("figcaption", {}, LEVELS[row.level] ?? `level ${row.level}`, i === flip ? element("strong", { class: "flip" }, " flips") : null),
    stripPicture(panel, row, `${LEVELS[row.level]}, called ${row.predicted}`) ?? element("span", { class: "blank" }, "no image"),
    element("span", { class: `outcome ${row.correct ? "correct" : "failure"}` }, `${row.correct ? "●" : "✚"} ${row.predicted}`),
    element("span", { class: "of" }, `${main} ${number(row.confidence)}`)));
  const x = (i) => column * (i + 0.5);
  const y = (value) => 10 + (HIGH - 20) * (1 - value);
  const marks = (row, i, csf) => (row.correct
    ? vector("circle", { cx: x(i), cy: y(row.confidence), r: csf === main ? 4.5 : 3.2, class: "mark" })
    : vector("path", { d: `M${x(i) - 5} ${y(row.confidence)}h10M${x(i)} ${y(row.confidence) - 5}v10`, class: "mark cross" }));
  const lines = shown.map((csf) => [csf, of(csf)]).reverse().map(([csf, line]) => vector("g", { class: `curve curve-${csfs.indexOf(csf) % 8}${csf === main ? " main" : ""}` },
    vector("path", { d: line.map((row, i) => `${i ? "L" : "M"}${x(i)} ${y(row.confidence)}`).join(""), class: `line dash-${csfs.indexOf(csf) % 4}` }),
    ...line.map((row, i) => marks(row, i, csf))));
  const width = column * steps.length;
  const spoken = steps.map((row) => `${LEVELS[row.level]}: ${row.predicted}, ${number(row.confidence)}`).join("; ");
  const plot = vector("svg", { class: "lines", width: width + 40, height: HIGH, viewBox: `0 0 ${width + 40} ${HIGH}`, role: "img", "aria-label": `Confidence of ${main}. ${spoken}` },
    ...[0, 0.5, 1].flatMap((value) => [vector("line", { class: "grid", x1: 0, x2: width, y1: y(value), y2: y(value) }),
      vector("text", { x: width + 6, y: y(value) + 4 }, String(value))]),
    flip > 0 ? vector("line", { class: "flip-line", x1: x(flip - 0.5), x2: x(flip - 0.5), y1: 4, y2: HIGH - 4 }) : null, ...lines);
  const legend = element("div", { class: "legend" }, ...shown.map((csf) => element("span", { class: csf === main ? "main" : null },
    vector("svg", { width: 26, height: 10, class: `curve curve-${csfs.indexOf(csf) % 8}${csf === main ? " main" : ""}`, "aria-hidden": "true" },
      vector("path", { d: "M1 5H25", class: `line dash-${csfs.indexOf(csf) % 4}` })), csf)));
  box.replaceChildren(element("p", { class: "truth" }, "True class: ", element("strong", {}, steps[0].label),
    flip < 0 ? " · keeps its answer at every level" : ""), element("div", { class: "levels" }, ...cells), plot, legend);
}
