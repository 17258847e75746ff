// Ads of the page, as objects and as tiles.
const percent = (share) => (share === null ? '' : `${Math.round(share * 100)}%`);
const columnNames = ['image_id', 'image_path', 'timestamp', 'category', 'brand', 'text', 'summary', 'label'];

function marker(cluster) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#marker-${cluster.marker}`);
  svg.setAttribute('class', 'marker');
  svg.setAttribute('aria-hidden', 'true');
  svg.style.color = cluster.color;
  svg.append(use);
  return svg;
}

// One ad of a run as an object.
function adOf(run, row) {
  const { rows } = run;
  const ad = { row, cluster: run.clusters[rows.cluster[row]], clusterCode: rows.cluster[row] };
  for (const name of columnNames) ad[name] = rows[name][row];
  ad.confidence = rows.confidence[row];
  ad.fitting = rows.fitting ? rows.fitting[row] : [];
  ad.quote = rows.evidence ? rows.evidence[row] : '';
  ad.quoteField = rows.evidence ? rows.evidence_field[row] : '';
  ad.platform = rows.platform[row] < 0 ? '' : rows.platform_values[rows.platform[row]];
  ad.format = rows.ad_format[row] < 0 ? '' : rows.ad_format_values[rows.ad_format[row]];
  ad.image = Object.hasOwn(data.images, ad.image_id) ? data.images[ad.image_id] : null;
  ad.title = ad.label || ad.category || ad.image_id;
  return ad;
}

function picture(ad, lazy) {
  const words = ad.summary || ad.title;
  return element('img', { src: ad.image, alt: words.slice(0, 300), loading: lazy ? 'lazy' : 'eager', decoding: 'async' });
}

// An ad as a button that opens its details among `rows`.
function tile(run, row, rows, withMarker) {
  const ad = adOf(run, row);
  const isText = run.words.are_texts && !ad.image;
  const frame = element('span', { className: ad.image ? 'frame' : isText ? 'frame text' : 'frame empty' });
  const words = ad.text || ad.summary || ad.image_path;
  frame.append(ad.image ? picture(ad, true) : foreign(words.slice(0, isText ? 500 : 180)));
  const label = element('span', {}, withMarker ? marker(ad.cluster) : null, foreign(ad.title));
  const button = element(
    'button', { type: 'button', className: 'tile' }, frame,
    element('span', { className: 'label' }, label, element('span', { className: 'muted', title: 'confidence' }, percent(ad.confidence))),
    element('span', { className: 'caption' }, foreign([ad.brand, ad.summary].filter(Boolean).join(' · '))),
    ad.quote ? element('q', { className: 'quote' }, foreign(ad.quote)) : null,
  );
  button.addEventListener('click', () => openDetail(run, rows, rows.indexOf(row)));
  return element('li', {}, button);
}
