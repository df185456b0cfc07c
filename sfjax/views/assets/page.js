// The page: one tab a task, drawn when it is first shown; light and dark.

const panels = new Map();
const tip = document.getElementById("tip");
const status = document.getElementById("status");
let dark = matchMedia("(prefers-color-scheme: dark)").matches;

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
