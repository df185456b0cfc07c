// Small parts of the document. Text of the data reaches it only as text nodes.

const ALL = "all";
const SOURCE = "iid";

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
