// The map of the captions, drawn by BokehJS on a canvas. It repeats what the list says, for the eye.
const whole = { start: -0.04, end: 1.04 };
const faded = 0.08;
const opaque = 0.85;
const tooltip = byId('tooltip');
let map = null;
let pointer = { x: 0, y: 0 };

function drawMap(run) {
  byId('map').replaceChildren();
  byId('map').parentElement.hidden = run.map.x === null;
  map = null;
  if (run.map.x === null) return;
  const clusters = run.map.row.map((row) => run.clusters[run.rows.cluster[row]]);
  const source = new Bokeh.ColumnDataSource({ data: {
    x: run.map.x, y: run.map.y,
    color: clusters.map((cluster) => cluster.color), marker: clusters.map((cluster) => cluster.marker),
    alpha: clusters.map(() => opaque),
  } });
  const zoom = new Bokeh.WheelZoomTool({ modifiers: { ctrl: true } });
  const pan = new Bokeh.PanTool();
  const figure = Bokeh.Plotting.figure({
    tools: [pan, zoom, new Bokeh.TapTool(), new Bokeh.HoverTool({ tooltips: null })],
    x_range: new Bokeh.Range1d(whole), y_range: new Bokeh.Range1d(whole), x_axis_type: null, y_axis_type: null,
    sizing_mode: 'stretch_both', toolbar_location: null, min_border: 0,
    background_fill_color: null, border_fill_color: null, outline_line_color: null,
  });
  figure.toolbar.active_scroll = zoom;
  if (matchMedia('(pointer: coarse)').matches) figure.toolbar.active_drag = null;
  const dots = figure.scatter({
    x: { field: 'x' }, y: { field: 'y' }, marker: { field: 'marker' }, size: Math.max(5, 11 - Math.log10(clusters.length) * 1.6),
    fill_color: { field: 'color' }, fill_alpha: { field: 'alpha' }, line_alpha: { field: 'alpha' }, line_width: 0.75, source,
  });
  dots.nonselection_glyph = null;
  dots.selection_glyph = null;
  map = { run, source, figure, dots };
  paintMap();
  source.selected.properties.indices.change.connect(() => openPoint(source.selected.indices));
  source.inspect.connect(() => showTooltip(source.inspected.indices));
  Bokeh.Plotting.show(figure, byId('map'));
}

// The gaps between marks take the color of the page.
function paintMap() {
  if (map) map.dots.glyph.line_color = { value: getComputedStyle(document.documentElement).getPropertyValue('--surface').trim() };
}

function openPoint(points) {
  if (!points.length) return;
  map.source.selected.indices = [];
  hideTooltip();
  openDetail(map.run, [map.run.map.row[points[0]]], 0);
}

// Fades all ads but those in `rows`; null shows all.
function highlight(rows) {
  if (!map) return;
  const { source, run } = map;
  const kept = rows && new Set(rows);
  source.data = { ...source.data, alpha: run.map.row.map((row) => (!kept || kept.has(row) ? opaque : faded)) };
}

function showTooltip(points) {
  if (!points.length) { hideTooltip(); return; }
  const ad = adOf(map.run, map.run.map.row[points[0]]);
  tooltip.replaceChildren(
    ...(ad.image ? [picture(ad, false)] : []),
    element('div', {}, element('strong', {}, foreign(ad.title))),
    element('div', { className: 'muted' }, marker(ad.cluster), foreign(ad.cluster.name)),
  );
  tooltip.hidden = false;
  const { width, height } = tooltip.getBoundingClientRect();
  tooltip.style.left = `${Math.max(8, Math.min(pointer.x + 16, innerWidth - width - 8))}px`;
  tooltip.style.top = `${Math.max(8, Math.min(pointer.y + 16, innerHeight - height - 8))}px`;
}

function hideTooltip() { tooltip.hidden = true; }

function zoomMap(factor) {
  if (!map) return;
  for (const range of [map.figure.x_range, map.figure.y_range]) {
    const center = (range.start + range.end) / 2;
    const half = ((range.end - range.start) / 2) * factor;
    range.setv({ start: center - half, end: center + half });
  }
}

byId('zoom-in').addEventListener('click', () => zoomMap(0.6));
byId('zoom-out').addEventListener('click', () => zoomMap(1 / 0.6));
byId('zoom-reset').addEventListener('click', () => {
  if (map) for (const range of [map.figure.x_range, map.figure.y_range]) range.setv(whole);
});
byId('map').addEventListener('pointermove', (event) => { pointer = { x: event.clientX, y: event.clientY }; }, true);
byId('map').addEventListener('pointerleave', hideTooltip);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paintMap);
