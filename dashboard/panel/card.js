/** One card: the images, what the checks say, and what to compare with. */
import { h, short, number } from './dom.js';

const percent = (share) => (share > 0.999 ? '>99.9%' : share < 0.001 ? '<0.1%' : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)}%`);

export function drawCard(panel, card) {
  const shape = card.kind === 'pair' ? 'ia-pair' : card.kind === 'image' ? 'ia-image' : 'ia-group';
  return h(
    'article',
    { class: `ia-card ${shape}`, 'data-card': card.id, 'aria-label': 'Finding' },
    card.kind === 'group' ? null : h('div', { class: 'ia-pictures' }, card.images.map((image, at) => figure(panel, card, image, at))),
    h('section', { class: 'ia-claims', tabindex: 0, 'aria-label': 'What the checks say' }, claims(panel, card)),
    examples(panel, card),
    strip(panel, card),
  );
}

function figure(panel, card, image, at) {
  const side = card.kind === 'pair' ? ['Left', 'Right'][at] : '';
  const alt = `${image.name}, labelled ${image.text}`;
  const picture = image.shown ? panel.server.picture('image', image, alt) : null;
  const box = picture
    ? h('button', { class: 'ia-frame', title: 'Enlarge (E)', 'aria-label': `Enlarge ${side} ${alt}`, onclick: () => panel.enlarge(at), style: { '--ratio': image.ratio } }, framed(picture, image.boxes))
    : h('div', { class: 'ia-frame ia-missing' }, 'No image: the file cannot be decoded.');
  if (picture) picture.addEventListener('error', () => box.replaceChildren('No image: the file is missing, or it changed since the scan.'), { once: true });
  const facts = [image.split, image.size].filter(Boolean).join(' · ');
  return h('figure', {}, box, h('figcaption', {}, side && h('b', {}, `${side}: `), h('b', {}, image.text), facts && ` · ${facts}`, h('span', { class: 'ia-name', title: image.name }, short(image.name, 60))));
}

/** Wrap an image with the marked areas, which are fractions of its sides. */
function framed(picture, boxes) {
  const marks = (boxes || []).map(([left, top, right, bottom]) =>
    h('i', { class: 'ia-box', style: { left: `${left * 100}%`, top: `${top * 100}%`, width: `${(right - left) * 100}%`, height: `${(bottom - top) * 100}%` } }),
  );
  return h('span', { class: 'ia-fit' }, picture, marks);
}

function claims(panel, card) {
  const suggested = card.findings.map((finding) => finding.suggested).find(Boolean);
  const given = card.kind === 'pair' ? [...new Set(card.images.map((image) => image.text))] : [card.images[0]?.text];
  const title =
    card.kind === 'group' ? [card.about] : card.kind === 'pair' ? [given.join(' or ')] : suggested ? [given[0], ' → ', h('b', {}, suggested)] : given;
  return [
    h('h2', {}, title, card.verdict && h('span', { class: `ia-badge ia-${card.verdict}` }, panel.verdictName(card.verdict))),
    card.warning && h('p', { class: 'ia-warning' }, card.warning),
    card.decisions.map((decision) => h('p', { class: 'ia-decided' }, h('b', {}, decision.reviewer), ` ${decision.verdict}${decision.note ? `: ${decision.note}` : ''}`)),
    card.findings.length ? merged(card.findings).map((finding, at) => claim(card, finding, at === 0)) : h('p', {}, 'No check has a finding about this image.'),
    card.classes.length > 0 && h('button', { class: 'ia-link', onclick: () => panel.link('/labels', { labels: card.classes }) }, 'Review the labels of these classes'),
    card.kind === 'pair' && later('Where they differ', () => panel.server.ask('difference', { row: card.images[0].row, other: card.images[1].row })),
    card.saliency && later('What the model looked at', () => panel.server.ask('saliency', { row: card.images[0].row })),
    h('input', { class: 'ia-note', type: 'text', maxlength: 500, 'aria-label': 'Note', placeholder: 'Note (N), stored with the decision', value: panel.notes.get(card.id) || '', oninput: (event) => panel.notes.set(card.id, event.target.value) }),
  ];
}

/** Both halves of a pair say the same, so show one of them. */
function merged(findings) {
  const seen = new Map();
  for (const finding of findings) if (!seen.has(`${finding.check} ${finding.kind}`)) seen.set(`${finding.check} ${finding.kind}`, finding);
  return [...seen.values()];
}

function claim(card, finding, open) {
  const side = card.kind === 'pair' && (finding.image === card.images[0]?.name ? 'Left: ' : 'Right: ');
  return h(
    'div',
    { class: 'ia-claim' },
    h('p', {}, h('span', { class: `ia-badge ia-${finding.severity}` }, finding.level), h('b', {}, ` ${finding.check}: ${finding.kind.toLowerCase()}. `), side && h('b', {}, side), finding.message),
    h('details', { open }, h('summary', {}, 'Evidence'), h('dl', {}, finding.evidence.map(([name, text]) => [h('dt', {}, name), h('dd', {}, text)]))),
  );
}

/** Fetch an image with its caption when it is opened. */
function later(title, fetching) {
  const body = h('div', {}, 'Computing…');
  const shown = h('details', { class: 'ia-later' }, h('summary', {}, title), body);
  shown.addEventListener('toggle', async () => {
    if (!shown.open || shown.dataset.asked) return;
    shown.dataset.asked = 'yes';
    try {
      const found = await fetching();
      body.replaceChildren(...(found.image ? [h('img', { src: found.image, alt: title })] : []), h('p', {}, found.caption));
    } catch (error) {
      body.replaceChildren(error.message);
    }
  });
  return shown;
}

function examples(panel, card) {
  if (!card.examples.length) return null;
  return h(
    'section',
    { class: 'ia-examples', 'aria-label': 'Examples' },
    card.examples.map((row) => [
      h('h3', {}, card.kind === 'group' ? row.title : [row.given ? 'Labelled ' : 'Suggested: ', h('b', {}, row.title)]),
      h('div', { class: 'ia-row' }, row.images.length ? row.images.map((image) => thumb(panel, image, '')) : h('p', {}, 'No typical image.')),
    ]),
  );
}

function strip(panel, card) {
  const near = card.members.length ? card.members : card.near;
  if (!near.length) return null;
  const title = card.members.length ? `Other images of the duplicate set (${number(card.members.length)})` : 'Most similar images';
  return h(
    'section',
    { class: 'ia-near', 'aria-label': title },
    h('h3', {}, title, !card.members.length && h('button', { class: 'ia-link', onclick: () => panel.link('/images', { near: String(card.images[0].row) }) }, 'Show all')),
    h('div', { class: 'ia-row' }, near.map((image) => thumb(panel, image, image.similarity === undefined ? image.split || '' : image.similarity.toFixed(2), true))),
  );
}

function thumb(panel, image, more, named) {
  const picture = panel.server.picture('preview', image, named ? '' : `${image.name}, labelled ${image.text}`);
  return h(
    'button',
    { class: 'ia-thumb', title: `${image.name} · ${image.text}`, 'aria-label': `${image.name}, labelled ${image.text}`, onclick: () => panel.enlargeImage(image) },
    framed(picture, image.boxes),
    named && h('span', {}, h('b', {}, short(image.text, 16)), more && ` ${more}`),
  );
}

/** The buttons of a card, with their keys: [key, text, action, verdict]. */
export function actionsOf(panel, card) {
  if (!card) return [];
  const can = (verdict) => card.actions.includes(verdict);
  const labels = card.choices.length > 0;
  const pair = card.kind === 'pair';
  const differ = pair && card.images[0]?.label !== card.images[1]?.label;
  const keep = pair ? (differ ? 'Both are right' : 'Keep both') : card.kind === 'image' && labels && !can('accept') ? 'Label is right' : 'Not a problem';
  const found = [];
  if (can('relabel') && labels) {
    card.choices.forEach((choice, at) =>
      found.push([String(at + 1), pair && at < 2 ? `Both ${choice.text}` : choice.text, { verdict: 'relabel', label: choice.label }, 'relabel', choice.share != null ? percent(choice.share) : '']),
    );
  }
  if (can('keep')) found.unshift(['k', keep, { verdict: 'keep' }, 'keep']);
  if (can('accept')) found.push(['a', 'Confirm', { verdict: 'accept' }, 'accept']);
  if (can('relabel')) found.push(['r', 'Other class', 'relabel', 'relabel']);
  if (can('drop') && pair) found.push(['d', 'Drop left', { verdict: 'drop', which: 0 }, 'drop'], ['f', 'Drop right', { verdict: 'drop', which: 1 }, 'drop']);
  else if (can('drop')) found.push(['d', 'Drop', { verdict: 'drop' }, 'drop']);
  if (can('unsure')) found.push(['u', 'Not sure', { verdict: 'unsure' }, 'unsure']);
  return found;
}
