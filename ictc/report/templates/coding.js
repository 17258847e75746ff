// Shows one item after the other, and takes answers by key, mouse and touch.
const letters = 'abcdefghijklmopqrtvwyz';
const keyNames = [...'123456789', ...letters];
const filterFrom = 10;
const history = [];
let current = 0;
let exported = true;

const item = () => data.items[current];
const codingOf = (id) => codings.get(id) ?? { answer: null, note: '', at: '' };
const isCoded = ({ id }) => codingOf(id).answer !== null;
const numCoded = () => data.items.filter(isCoded).length;

function answerButton(cluster, number) {
  const rules = cluster.rules.map(([title, rule]) => element('span', { className: 'rule' }, element('strong', {}, `${title}: `), foreign(rule)));
  const words = element(
    'span', { className: 'words' }, element('span', { className: 'name' }, foreign(cluster.name)),
    element('span', { className: 'definition' }, foreign(cluster.description)), ...rules,
  );
  const key = keyNames[number] ? element('kbd', {}, keyNames[number]) : element('span', { className: 'no-key' });
  const button = element('button', { type: 'button', className: 'answer' }, key, words);
  button.answer = cluster.id;
  return element('li', {}, button);
}

function labelOf(answer) {
  if (answer === data.none) return 'None of these';
  if (answer === data.cant_tell) return "Can't tell";
  return data.clusters.find((cluster) => cluster.id === answer).name;
}

function showItem() {
  const { id, image, text } = item();
  const shown = image
    ? [element('img', { src: image, alt: `The ${data.words.one} to code` })]
    : text.length ? [element('div', { className: 'text' }, ...text.map((part) => element('p', {}, foreign(part))))]
      : [element('p', { className: 'text muted' }, `This ${data.words.one} is not in the page; choose "Can't tell".`)];
  byId('item').replaceChildren(...shown);
  byId('item').scrollTop = 0;
  const { answer, note } = codingOf(id);
  for (const button of answerButtons) button.setAttribute('aria-pressed', String(button.answer === answer));
  byId('note').value = note;
  byId('place').textContent = `${counted(current + 1)} of ${counted(data.items.length)}`;
  byId('previous').disabled = current === 0;
  byId('next').disabled = current === data.items.length - 1;
  byId('next').textContent = answer === null ? 'Skip →' : 'Next →';
  showProgress();
}

function showProgress() {
  const done = numCoded();
  byId('bar').style.width = `${(100 * done) / data.items.length}%`;
  byId('bar').parentElement.setAttribute('aria-valuenow', String(done));
  byId('undo').disabled = history.length === 0;
  byId('saved').textContent = keepsAnswers ? `${counted(done)} coded` : `${counted(done)} coded, not kept here`;
  warn(keepsAnswers ? '' : 'This browser keeps nothing when the page is closed: save the file before you leave.');
}

function warn(text) {
  byId('warning').textContent = text;
  byId('warning').hidden = !text;
}

function goTo(place) {
  if (place < 0 || place >= data.items.length) return;
  byId('item').classList.remove('large');
  current = place;
  if (byId('filter').value) { byId('filter').value = ''; filterClusters(); }
  showItem();
  window.scrollTo({ top: 0 });
}

// The next item without an answer, from here on and then from the beginning; -1 if all have one.
function nextOpen() {
  const places = [...data.items.keys()];
  return [...places.slice(current + 1), ...places.slice(0, current + 1)].find((place) => !isCoded(data.items[place])) ?? -1;
}

function put(id, answer, note) {
  codings.set(id, { answer, note, at: new Date().toISOString() });
  exported = false;
  byId('export').textContent = 'Save file';
  keep();
}

function choose(answer) {
  const { id } = item();
  history.push({ place: current, before: codings.get(id) });
  put(id, answer, byId('note').value);
  document.activeElement?.blur();
  const place = nextOpen();
  announce(`${labelOf(answer)}. ${place < 0 ? 'All are coded.' : `Now ${place + 1} of ${data.items.length}.`}`);
  if (place >= 0) { goTo(place); return; }
  showItem();
  byId('done').showModal();
}

function undo() {
  const last = history.pop();
  if (!last) return;
  put(data.items[last.place].id, last.before?.answer ?? null, last.before?.note ?? byId('note').value);
  goTo(last.place);
  announce(`Undone. Now ${last.place + 1} of ${data.items.length}.`);
}

function announce(text) { byId('announcement').textContent = text; }

function save() {
  download();
  exported = true;
  byId('export').textContent = 'Saved ✓';
  announce('The file is saved.');
  byId('saved').textContent = `Saved ${data.coder}.json`;
}

async function openFile(file) {
  let found = null;
  try { found = JSON.parse(await file.text()); } catch { /* told below */ }
  const why = whyForeign(found);
  if (why) { warn(`${why} Nothing was changed.`); byId('guide').close(); return; }
  const count = takeOver(found);
  keep();
  byId('guide').close();
  resume();
  announce(`${count} answers taken over.`);
}

function filterClusters() {
  const words = byId('filter').value.normalize('NFKC').toLocaleLowerCase().split(/\s+/).filter(Boolean);
  for (const [place, row] of [...byId('clusters').children].entries()) {
    const name = data.clusters[place].name.normalize('NFKC').toLocaleLowerCase();
    row.hidden = !words.every((word) => name.includes(word));
  }
}

function resume() {
  const place = data.items.findIndex((one) => !isCoded(one));
  goTo(Math.max(place, 0));
}

function answerOfKey(key) {
  if (key === '0') return data.none;
  if (key === 'x') return data.cant_tell;
  const number = keyNames.indexOf(key);
  return number >= 0 && number < data.clusters.length ? data.clusters[number].id : null;
}

const commands = {
  u: undo, Backspace: undo, s: save, '?': () => byId('guide').showModal(),
  ArrowLeft: () => goTo(current - 1), ArrowRight: () => goTo(current + 1),
  n: () => byId('note').focus(), '/': () => byId('filter').focus(),
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId('guide').open || byId('done').open) return;
  if (event.target.matches('input, textarea')) {
    if (event.key === 'Escape') event.target.blur();
    if (event.key === 'Enter' && event.target === byId('filter')) chooseOnlyOne();
    return;
  }
  if (event.key === 'Escape') byId('item').classList.remove('large');
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const answer = answerOfKey(key);
  if (answer === null && !Object.hasOwn(commands, key)) return;
  event.preventDefault();
  if (event.repeat && answer !== null) return;
  if (answer === null) commands[key](); else choose(answer);
});

function chooseOnlyOne() {
  const left = [...byId('clusters').children].filter((row) => !row.hidden);
  if (left.length === 1) choose(left[0].querySelector('button').answer);
}

byId('clusters').append(...data.clusters.map(answerButton));
for (const button of document.querySelectorAll('#others .answer')) button.answer = data[button.dataset.answer];
const answerButtons = [...document.querySelectorAll('.answer')];
for (const button of answerButtons) button.addEventListener('click', () => choose(button.answer));
const numKeys = Math.min(data.clusters.length, keyNames.length);
byId('first-keys').textContent = numKeys === 1 ? '1' : numKeys <= 9 ? `1–${numKeys}` : `1–9, ${numKeys === 10 ? 'a' : `a–${keyNames[numKeys - 1]}`}`;
for (const id of ['find', 'find-key']) byId(id).hidden = data.clusters.length < filterFrom;
byId('filter').addEventListener('input', filterClusters);
byId('note').addEventListener('input', () => {
  put(item().id, codingOf(item().id).answer, byId('note').value);
  showProgress();
});
byId('item').addEventListener('click', ({ target }) => {
  if (target.matches('img')) byId('item').classList.toggle('large');
});
byId('undo').addEventListener('click', undo);
byId('help').addEventListener('click', () => byId('guide').showModal());
byId('previous').addEventListener('click', () => goTo(current - 1));
byId('next').addEventListener('click', () => goTo(current + 1));
byId('export').addEventListener('click', save);
byId('export-done').addEventListener('click', () => { save(); byId('done').close(); });
byId('open').addEventListener('click', () => byId('file').click());
byId('file').addEventListener('change', () => {
  if (byId('file').files[0]) openFile(byId('file').files[0]);
  byId('file').value = '';
});
window.addEventListener('beforeunload', (event) => { if (!exported && !keepsAnswers) event.preventDefault(); });

recall();
keep();
resume();
byId('start').textContent = numCoded() ? 'Go on' : 'Start';
byId('guide').showModal();
document.documentElement.dataset.ready = 'true';
