// The dialog that shows one ad large, with everything known about it and why it is where it is.
const detail = byId('detail');
let shown = { run: null, rows: [], place: 0 };

function openDetail(run, rows, place) {
  shown = { run, rows, place };
  fillDetail();
  if (!detail.open) detail.showModal();
}

function step(offset) {
  const place = shown.place + offset;
  if (place < 0 || place >= shown.rows.length) return;
  shown.place = place;
  fillDetail();
}

function fillDetail() {
  const { run, rows, place } = shown;
  const ad = adOf(run, rows[place]);
  byId('previous').disabled = place === 0;
  byId('next').disabled = place === rows.length - 1;
  byId('detail-place').textContent = `${counted(place + 1)} of ${counted(rows.length)}`;
  byId('detail-image').parentElement.classList.toggle('imageless', !ad.image);
  byId('detail-image').replaceChildren(ad.image ? picture(ad, false) : element('p', {}, 'This image is not in the page.'));
  byId('detail-image').hidden = run.words.are_texts && !ad.image;
  byId('detail-text').replaceChildren(
    element('h2', { id: 'detail-title' }, foreign(ad.title)), reasons(run, ad), facts(run, ad),
  );
  byId('detail-text').parentElement.scrollTop = 0;
}

function reasons(run, ad) {
  const list = element('ol', { className: 'why' });
  const own = Object.entries(run.analyses[ad.row] ?? {}).map(([name, value]) => value && `${name}: ${value}`);
  const seen = [ad.summary, ...own, ad.brand && `Brand: ${ad.brand}`, ad.text && (run.words.are_texts ? ad.text : `Words: ${ad.text}`)].filter(Boolean);
  list.append(element('li', {}, element('h3', {}, run.words.read), ...seen.map((text) => element('p', {}, foreign(text)))));
  list.append(element('li', {}, element('h3', {}, 'What it called it'), element('p', { className: 'strong' }, foreign(ad.label || 'no label'))));
  const sure = ad.confidence === null ? 'It gave no confidence.' : `Confidence ${percent(ad.confidence)}.`;
  const choice = element(
    'li', { className: 'chosen' }, element('h3', {}, 'Where it put it'),
    ad.cluster.inside.length ? element('p', { className: 'muted' }, ...ad.cluster.inside.map((name) => element('span', {}, foreign(name), ' › '))) : null,
    element('p', { className: 'strong' }, marker(ad.cluster), foreign(ad.cluster.name)),
    element('p', {}, foreign(ad.cluster.description)), quoteOf(ad), ...(run.rows.fitting ? fittingOf(run, ad) : [element('p', {}, sure)]),
  );
  choice.style.setProperty('--color', ad.cluster.color);
  const nearness = describeNearness(run, ad);
  if (nearness) choice.append(nearness);
  list.append(choice);
  return list;
}

// The score of its cluster, and the others that fit it, too.
function fittingOf(run, ad) {
  const [best, ...others] = ad.fitting;
  const also = others.map(([code, score]) => element('p', {}, 'Also: ', marker(run.clusters[code]), foreign(run.clusters[code].name), ` (${score} of 5)`));
  return [element('p', {}, `Score ${best[1]} of 5.`), ...also];
}

// The words that show why, and where they stand.
function quoteOf(ad) {
  if (!ad.quote) return null;
  const place = ad.quoteField === 'text' ? 'in the words' : `in its ${ad.quoteField.replaceAll('_', ' ')}`;
  return element('p', {}, element('q', { className: 'quote' }, foreign(ad.quote)), ' ', element('span', { className: 'muted' }, foreign(place)));
}

// What the embedding of the caption says, independently of the model's choice.
function describeNearness(run, ad) {
  const point = run.pointOfRow.get(ad.row);
  if (point === undefined || run.map.rival[point] < 0) return null;
  const rival = foreign(run.clusters[run.map.rival[point]].name);
  return run.map.margin[point] < 0
    ? element('p', { className: 'muted' }, `By its words the ${run.words.one_said} is closer to the center of `, rival, '.')
    : element('p', { className: 'muted' }, `By its words, too, the ${run.words.one_said} is closest to this cluster; next comes `, rival, '.');
}

function facts(run, ad) {
  const list = element('dl');
  const values = {
    Platform: ad.platform, Format: ad.format, Observed: ad.timestamp.replace('T', ' ').replace('Z', ' UTC'),
    Category: ad.category, File: ad.image_path, Id: ad.image_id,
  };
  for (const [title, value] of Object.entries(values)) addFact(list, title, value);
  for (const other of run.elsewhere) {
    const code = other.cluster[ad.row];
    addFact(list, data.runs[other.run].name, code < 0 ? 'in no cluster' : data.runs[other.run].clusters[code].name);
  }
  return list;
}

function addFact(list, title, value) {
  if (value) list.append(element('dt', {}, foreign(title)), element('dd', {}, foreign(value)));
}

byId('previous').addEventListener('click', () => step(-1));
byId('next').addEventListener('click', () => step(1));
byId('close').addEventListener('click', () => detail.close());
detail.addEventListener('click', (event) => { if (event.target === detail) detail.close(); });
detail.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowLeft') step(-1);
  if (event.key === 'ArrowRight') step(1);
});
