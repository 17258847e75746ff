// What the coder has said: kept in the browser at each answer, written to a file, and read from one.
const storageKey = `ictc-codings:${data.drawing}:${data.coder}`;
const clusterIds = new Set(data.clusters.map((cluster) => cluster.id));
const codings = new Map();
let keepsAnswers = true;
let perCluster = data.per_cluster;

const isAnswer = (answer) => answer === data.none || answer === data.cant_tell || clusterIds.has(answer);

// Returns why a file is no use here, or '' if it is.
function whyForeign(found) {
  if (!found || found.format !== data.format || !Array.isArray(found.codings)) return 'This is no file of such a page.';
  if (found.drawing !== data.drawing) return 'This file is about another sample.';
  if (found.coder !== data.coder) return 'This file is of another coder.';
  return '';
}

// Takes over what a file or the browser has; of two answers to one item the later one stays. Answers to items of a
// larger sample of the same drawing are kept, too, though they are not shown here.
function takeOver(found) {
  let count = 0;
  for (const { image_id: id, answer, note, at } of found.codings) {
    const isWhole = typeof id === 'string' && (answer === null || isAnswer(answer)) && typeof note === 'string' && typeof at === 'string';
    if (!isWhole || (codings.has(id) && codings.get(id).at > at)) continue;
    codings.set(id, { answer, note: note.slice(0, 2000), at });
    count += 1;
  }
  if (Number.isInteger(found.per_cluster)) perCluster = Math.max(perCluster, found.per_cluster);
  return count;
}

function content() {
  const { format, drawing, level, seed, coder } = data;
  const saved = [...codings].map(([id, coding]) => ({ image_id: id, ...coding }));
  return { format, drawing, level, seed, per_cluster: perCluster, coder, codings: saved };
}

function keep() {
  try {
    localStorage.setItem(storageKey, JSON.stringify(content()));
    keepsAnswers = true;
  } catch {
    keepsAnswers = false;
  }
}

// Reads what the browser has kept of this sample and this coder; what is damaged there is nothing.
function recall() {
  try {
    const found = JSON.parse(localStorage.getItem(storageKey));
    if (found && !whyForeign(found)) takeOver(found);
  } catch {
    // nothing is kept, or nothing can be
  }
}

function download() {
  const url = URL.createObjectURL(new Blob([`${JSON.stringify(content(), null, 1)}\n`], { type: 'application/json' }));
  const link = element('a', { href: url, download: `${data.coder}.json` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
