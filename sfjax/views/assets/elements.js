// Small parts of the document. Text of the data reaches it only as text nodes.

const ALL = "all";
const SOURCE = "iid";
const MANY = 14; // of more choices, a search box instead of a list

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

const element = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const vector = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// ---- Tables: one list a column; text as places in a list of its values ------------------------------------------

const columnOf = (packed) => (Array.isArray(packed) ? packed : packed.codes.map((code) => packed.levels[code] ?? null));

function rowsOf(table) {
  const columns = Object.entries(table).map(([name, packed]) => [name, columnOf(packed)]);
  const rows = Array.from({ length: columns[0]?.[1].length ?? 0 }, () => ({}));
  for (const [name, values] of columns) rows.forEach((row, i) => { row[name] = values[i]; });
  return rows;
}

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// ---- Controls ---------------------------------------------------------------------------------------------------

function field(label, control, className = "") {
  return element("label", { class: `field ${className}` }, element("span", {}, label), control);
}

function select(options, value, change) {
  const control = element("select", { onchange: () => change(control.value) });
  for (const [name, text] of options) control.append(element("option", { value: name, selected: name === value }, text));
  return control;
}

let lists = 0;

// One of the names: a list, or a box to type into where there are many.
function choice(names, value, change) {
  if (names.length <= MANY) return select(names.map((name) => [name, name]), value, change);
  const id = `choices-${lists += 1}`;
  const list = element("datalist", { id }, ...names.map((name) => element("option", { value: name })));
  const box = element("input", { type: "search", list: id, value, placeholder: value, autocomplete: "off", spellcheck: "false",
    onfocus: () => { box.value = ""; }, // the list suggests only what begins like it
    oninput: () => { if (names.includes(box.value)) { box.placeholder = box.value; change(box.value); } },
    onblur: () => { if (!names.includes(box.value)) box.value = box.placeholder; } });
  return element("span", { class: "choice" }, box, list);
}

function setChoice(control, name) {
  const box = control.querySelector("input") ?? control;
  box.value = box.placeholder = name;
}

function slider(value, low, high, step, change) {
  return element("input", { type: "range", min: low, max: high, step, value,
    oninput: (event) => change(Number(event.target.value)) });
}

function checkbox(checked, change) {
  return element("input", { type: "checkbox", checked, onchange: (event) => change(event.target.checked) });
}

function action(text, act, attributes = {}) {
  return element("button", { type: "button", onclick: act, ...attributes }, text);
}

// Several of the names, in a panel that opens; `change` gets the set of the chosen.
function several(label, groups, chosen, change) {
  const names = groups.flatMap(([, members]) => members);
  const summary = element("summary", {});
  const say = () => {
    const text = chosen.size === names.length ? `all ${names.length}` : chosen.size === 1 ? [...chosen][0] : `${chosen.size} of ${names.length}`;
    summary.replaceChildren(element("span", {}, `${label} `), element("strong", {}, text));
  };
  const boxes = names.map((name) => checkbox(chosen.has(name), (on) => { chosen[on ? "add" : "delete"](name); say(); change(chosen); }));
  const all = (on) => () => {
    names.forEach((name, i) => { boxes[i].checked = on; chosen[on ? "add" : "delete"](name); });
    say();
    change(chosen);
  };
  say();
  const menu = element("details", { class: "menu" }, summary, element("div", { class: "menu-body" },
    element("div", { class: "menu-actions" }, action("All", all(true)), action("None", all(false))),
    ...groups.map(([title, members]) => element("fieldset", {}, element("legend", {}, title),
      ...members.map((name) => element("label", {}, boxes[names.indexOf(name)], element("span", {}, name)))))));
  menu.addEventListener("keydown", (event) => { if (event.key === "Escape") { menu.open = false; summary.focus(); } });
  document.addEventListener("pointerdown", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  return menu;
}

// Tabs that arrow keys walk through.
function tabs(label, names, chosen, show, id) {
  const buttons = names.map((name, i) => action(name, () => choose(i), { role: "tab", id: `${id}-${i}`,
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (i + step + names.length) % names.length;
      buttons[next].focus();
      choose(next);
    } }));
  const choose = (index) => {
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
    });
    show(index);
  };
  const bar = element("div", { role: "tablist", class: "tabs", "aria-label": label }, ...buttons);
  return { bar, buttons, choose };
}

// ---- Numbers ----------------------------------------------------------------------------------------------------

function facts(pairs) {
  const list = element("dl", { class: "facts" });
  for (const [name, text] of pairs) if (text !== "" && text != null) list.append(element("dt", {}, name), element("dd", {}, String(text)));
  return list;
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const number = (value) => (value == null ? "–" : value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toFixed(3));

// A dot with its interval on a scale, and what it is compared with as a tick.
function whisker({ value, low, high, rest }, [from, to], text) {
  const at = (x) => 5 + 150 * Math.min(1, Math.max(0, (x - from) / (to - from || 1)));
  return vector("svg", { class: "whisker", viewBox: "0 0 160 18", width: 160, height: 18, role: "img", "aria-label": text },
    vector("line", { class: "scale", x1: 5, x2: 155, y1: 9, y2: 9 }),
    ...[0, 0.5, 1].map((share) => vector("line", { class: "scale", x1: 5 + 150 * share, x2: 5 + 150 * share, y1: 6, y2: 12 })),
    rest == null ? null : vector("line", { class: "rest", x1: at(rest), x2: at(rest), y1: 2, y2: 16 }),
    low == null || high == null ? null : vector("line", { class: "range", x1: at(low), x2: at(high), y1: 9, y2: 9 }),
    value == null ? null : vector("circle", { class: "dot", cx: at(value), cy: 9, r: 4.2 }));
}

// The end of a scale from 0 that holds all these values.
function roof(values) {
  const top = Math.max(0, ...values.filter((value) => value != null));
  return [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((step) => top <= step) ?? top;
}
