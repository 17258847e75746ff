// Search, filters and the list of what they find.
const tilesAtOnce = 30;
const maxBrandSuggestions = 300;
const filters = byId('filters');
const results = byId('results');
let explored = { run: null, rows: [], count: 0 };

const folded = (text) => text.normalize('NFKC').toLocaleLowerCase();

function explore(run) {
  explored = { run, rows: [], count: 0 };
  fillSelect('filter-cluster', run.clusters.map((cluster) => cluster.name));
  offerLevels(run);
  fillSelect('filter-platform', run.rows.platform_values);
  fillSelect('filter-format', run.rows.ad_format_values);
  const brands = frequentBrands(run);
  byId('brands').replaceChildren(...brands.map((brand) => element('option', { value: brand })));
  offer('filter-brand', brands.length > 0);
  byId('legend').replaceChildren(...run.clusters.map((cluster, code) => legendButton(cluster, code)));
  applyFilters();
}

function fillSelect(id, values) {
  const options = values.map((value, code) => element('option', { value: String(code), textContent: value }));
  byId(id).replaceChildren(element('option', { value: '', textContent: 'All' }), ...options);
  offer(id, values.length > 0);
}

// The coarser clusters stand above the finest ones, each level under its name.
function offerLevels(run) {
  const groups = run.levels.map((level, depth) => element(
    'optgroup', { label: level.name },
    ...level.clusters.map((cluster, code) => element('option', { value: `${depth}:${code}`, textContent: cluster.name })),
  ));
  byId('filter-cluster').options[0].after(...groups);
}

// Returns which of the finest clusters are chosen, or null for all.
function chosenClusters(run) {
  const chosen = byId('filter-cluster').value;
  if (chosen === '') return null;
  const [depth, code] = chosen.split(':').map(Number);
  return new Set(code === undefined ? [depth] : run.levels[depth].clusters[code].members);
}

// A filter of what nothing here has is no help, and must not go on choosing unseen.
function offer(id, useful) {
  byId(id).closest('label').hidden = !useful;
  if (!useful) byId(id).value = '';
}

function frequentBrands(run) {
  const counts = new Map();
  for (const brand of run.rows.brand) if (brand) counts.set(brand, (counts.get(brand) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, maxBrandSuggestions).map(([brand]) => brand);
}

function legendButton(cluster, code) {
  const button = element('button', { type: 'button' }, marker(cluster), foreign(cluster.name));
  button.addEventListener('click', () => chooseCluster(byId('filter-cluster').value === String(code) ? '' : String(code)));
  return button;
}

function chooseCluster(code) {
  byId('filter-cluster').value = code;
  applyFilters();
}

// The texts that a search looks through, made when it is first needed.
function haystacks(run) {
  run.haystacks ??= run.rows.image_id.map((_, row) => folded(columnNames.map((name) => run.rows[name][row]).join('\n')));
  return run.haystacks;
}

function activeTests(run) {
  const { rows } = run;
  const tests = [];
  const words = folded(byId('search').value).split(/\s+/).filter(Boolean);
  if (words.length) { const texts = haystacks(run); tests.push((row) => words.every((word) => texts[row].includes(word))); }
  const clusters = chosenClusters(run);
  if (clusters) tests.push((row) => clusters.has(rows.cluster[row]));
  for (const [id, column] of [['filter-platform', 'platform'], ['filter-format', 'ad_format']]) {
    const chosen = byId(id).value;
    if (chosen !== '') tests.push((row) => rows[column][row] === Number(chosen));
  }
  const brand = folded(byId('filter-brand').value.trim());
  if (brand) tests.push((row) => folded(rows.brand[row]).includes(brand));
  const [from, to] = ['confidence-from', 'confidence-to'].map((id) => byId(id).valueAsNumber / 100);
  if (!Number.isNaN(from)) tests.push((row) => rows.confidence[row] !== null && rows.confidence[row] >= from);
  if (!Number.isNaN(to)) tests.push((row) => rows.confidence[row] !== null && rows.confidence[row] <= to);
  return tests;
}

function ordered(run, rows) {
  const sign = { least: 1, most: -1 }[byId('order').value];
  if (!sign) return rows;
  const confidence = (row) => run.rows.confidence[row] ?? (sign > 0 ? Infinity : -Infinity);
  return rows.sort((a, b) => sign * (confidence(a) - confidence(b)));
}

function applyFilters() {
  const { run } = explored;
  const tests = activeTests(run);
  const found = [...run.rows.image_id.keys()].filter((row) => tests.every((test) => test(row)));
  explored.rows = ordered(run, found);
  explored.count = 0;
  results.replaceChildren();
  showMore();
  const total = run.rows.image_id.length;
  byId('found').textContent = tests.length ? `${counted(found.length)} of ${counted(total)} ${run.words.many}` : `All ${counted(total)} ${run.words.many}`;
  [...byId('legend').children].forEach((button, code) =>
    button.setAttribute('aria-pressed', String(byId('filter-cluster').value === String(code))));
  byId('clear').hidden = tests.length === 0;
  highlight(tests.length ? found : null);
}

function showMore() {
  const { run, rows, count } = explored;
  results.append(...rows.slice(count, count + tilesAtOnce).map((row) => tile(run, row, rows, true)));
  explored.count = Math.min(rows.length, count + tilesAtOnce);
  byId('more').hidden = explored.count === rows.length;
  byId('more').textContent = `Show more (${counted(rows.length - explored.count)} left)`;
}

byId('more').addEventListener('click', () => {
  const next = explored.count;
  showMore();
  results.children[next].querySelector('button').focus();
});
filters.addEventListener('input', applyFilters);
byId('clear').addEventListener('click', () => {
  filters.reset();
  applyFilters();
  byId('search').focus({ preventScroll: true });
});
filters.addEventListener('submit', (event) => event.preventDefault());
