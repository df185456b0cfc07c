// The page: one tab a task, drawn when it is first shown; light and dark.

const panels = new Map();
const tip = document.getElementById("tip");
const status = document.getElementById("status");
let dark = matchMedia("(prefers-color-scheme: dark)").matches;

const toggle = document.getElementById("theme");
const bar = document.getElementById("tasks");
const main = document.getElementById("panels");
const names = JSON.parse(bar.dataset.names);
const roots = names.map((name, i) => element("div", { id: `panel-${i}`, role: "tabpanel", "aria-labelledby": `tab-${i}`, hidden: true }));
const taskTabs = tabs("Tasks", names, 0, (index) => show(index), "tab");

async function show(index) {
  roots.forEach((root, i) => { root.hidden = i !== index; });
  if (panels.has(index)) return panels.get(index).resized();
  const images = JSON.parse(document.getElementById(`images-${index}`).textContent);
  const panel = new Panel(await unpack(`task-${index}`), images, roots[index]);
  panels.set(index, panel);
  await panel.draw();
  if (index === 0) document.body.dataset.ready = "true";
}

function setTheme(value) {
  dark = value;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  toggle.setAttribute("aria-pressed", String(dark));
  for (const panel of panels.values()) panel.setTheme(dark);
}

toggle.addEventListener("click", () => setTheme(!dark));
bar.append(taskTabs.bar);
bar.hidden = names.length < 2;
main.replaceChildren(...roots);
setTheme(dark);
taskTabs.choose(0);

let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { for (const panel of panels.values()) panel.resized(); }, 200);
});
addEventListener("beforeprint", () => { for (const panel of panels.values()) for (const chart of panel.charts) chart.embed(); });
