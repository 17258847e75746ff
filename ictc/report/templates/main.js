// Puts the page to work for one run, and for another when it is chosen.
for (const run of data.runs) run.pointOfRow = new Map(run.map.row.map((row, point) => [row, point]));

for (const list of document.querySelectorAll('.tiles[data-rows]')) {
  const rows = list.dataset.rows.split(' ').map(Number);
  list.append(...rows.map((row) => tile(data.runs[list.dataset.run], row, rows, false)));
}

function chooseRun(number) {
  for (const part of document.querySelectorAll('[data-of-run]')) part.hidden = Number(part.dataset.ofRun) !== number;
  drawMap(data.runs[number]);
  explore(data.runs[number]);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-show-cluster]');
  if (!button) return;
  filters.reset();
  chooseCluster(button.dataset.showCluster);
  byId('explore').scrollIntoView();
  byId('filter-cluster').focus({ preventScroll: true });
});
document.addEventListener('keydown', (event) => {
  const isTyping = event.target.matches('input, select, textarea') || detail.open;
  if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  byId('search').focus();
});
document.addEventListener('change', (event) => {
  const choice = event.target.closest('[data-level-choice]');
  if (!choice) return;
  for (const bars of choice.closest('[data-of-run]').querySelectorAll('[data-of-level]')) {
    bars.hidden = bars.dataset.ofLevel !== choice.value;
  }
});
byId('run-choice')?.addEventListener('change', (event) => chooseRun(Number(event.target.value)));

chooseRun(0);
document.documentElement.dataset.ready = 'true';
