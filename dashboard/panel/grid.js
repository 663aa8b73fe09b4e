/** Many cards at a time: choose by click and keys, and decide about the chosen ones as one action. */
import { h, short, number } from './dom.js';

export const PER_PAGE = 48;

export function drawGrid(panel, tiles) {
  const pages = Math.max(Math.ceil(panel.ids.length / PER_PAGE), 1);
  const chosen = panel.everything ? panel.ids.length : panel.chosen.size;
  return h(
    'section',
    { class: 'ia-grid', 'aria-label': 'Grid' },
    h(
      'div',
      { class: 'ia-gridbar' },
      h('button', { onclick: () => panel.choosePage(), title: 'Select all on this page' }, 'Select page ', h('kbd', {}, 'S')),
      h('button', { onclick: () => panel.chooseEverything(), 'aria-pressed': String(panel.everything) }, `Select all ${number(panel.ids.length)} that match`),
      chosen > 0 && h('button', { onclick: () => panel.chooseNone() }, 'Clear selection ', h('kbd', {}, 'Esc')),
      h('span', { class: 'ia-count', role: 'status' }, `${number(chosen)} selected`),
      h('span', { class: 'ia-space' }),
      h('button', { disabled: panel.sheet === 0, onclick: () => panel.turn(-1), 'aria-label': 'Previous page' }, '← ', h('kbd', {}, ',')),
      h('span', {}, `Page ${number(panel.sheet + 1)} of ${number(pages)}`),
      h('button', { disabled: panel.sheet + 1 >= pages, onclick: () => panel.turn(1), 'aria-label': 'Next page' }, h('kbd', {}, '.'), ' →'),
    ),
    h('div', { class: 'ia-tiles' }, tiles.map((tile, at) => drawTile(panel, tile, at))),
  );
}

function drawTile(panel, tile, at) {
  const chosen = panel.everything || panel.chosen.has(tile.id);
  const verdict = panel.verdicts.get(tile.id);
  const names = tile.images.map((image) => image.name).join(', ') || tile.about;
  const first = tile.images[0];
  const label = tile.about || [...new Set(tile.images.map((image) => image.text))].join(' or ');
  const classes = ['ia-tile', chosen && 'ia-chosen', verdict && 'ia-done'].filter(Boolean).join(' ');
  const toggle = h(
    'button',
    {
      class: 'ia-pick', 'aria-pressed': String(chosen), 'data-tile': tile.id, 'aria-label': `Select ${names}, ${label}`, title: names,
      onclick: (event) => panel.choose(at, event.shiftKey), ondblclick: () => panel.openCard(tile.id), onfocus: () => { panel.focused = at; },
    },
    h('span', { class: 'ia-shots' }, tile.images.map((image) => (image.shown ? panel.server.picture('preview', image, '') : h('span', { class: 'ia-missing' }, 'No image')))),
    h('span', { class: 'ia-mark', 'aria-hidden': 'true' }, chosen ? '✓' : ''),
  );
  return h(
    'div',
    { class: classes },
    toggle,
    h('div', { class: 'ia-tiletext', title: tile.claim },
      h('b', {}, short(label, 26)), tile.suggested && [' → ', h('b', {}, short(tile.suggested, 18))],
      h('small', {}, verdict ? h('span', { class: `ia-badge ia-${verdict}` }, panel.verdictName(verdict)) : tile.score || first?.split || '', h('button', { class: 'ia-link', onclick: () => panel.openCard(tile.id), 'aria-label': `Open ${names}` }, 'Open'))),
  );
}
