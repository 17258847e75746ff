// The data of the page, and the small parts that everything else is built from. Text from the data only ever becomes
// the text of a node, never markup.
const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const counted = (number) => number.toLocaleString('en-US');

// Creates an element: properties are set on it, children are nodes or text.
function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Text of the data, isolated so that its writing direction changes nothing around it.
const foreign = (text) => element('bdi', { textContent: text });
