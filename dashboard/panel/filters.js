/** The folded filters of a queue. */
import { h } from './dom.js';

const TITLES = { checks: 'Check', kinds: 'Kind', severities: 'Severity', labels: 'Class', suggested: 'Suggested class', splits: 'Split', verdicts: 'Verdict' };
const FEW = 10;
export const PARTS = Object.keys(TITLES);

/** @param more controls that are folded too */
export function drawFilters(panel, more) {
  const on = PARTS.filter((part) => (panel.filters[part] || []).length).length;
  const text = `Filters${on ? ` (${on})` : ''}`;
  return h(
    'details',
    { class: 'ia-filters', open: panel.filtersOpen, ontoggle: (event) => { panel.filtersOpen = event.target.open; } },
    h('summary', {}, text),
    h(
      'div',
      { class: 'ia-popover' },
      more,
      PARTS.filter((part) => (panel.options[part] || []).length > (part === 'verdicts' || part === 'labels' ? 0 : 1)).map((part) => group(panel, part)),
      on > 0 && h('button', { onclick: () => panel.filter({}) }, 'Clear filters'),
    ),
  );
}

function group(panel, part) {
  const options = panel.options[part];
  const chosen = panel.filters[part] || [];
  const set = (values) => panel.filter({ ...panel.filters, [part]: values });
  const boxes = (shown) =>
    shown.map(([value, text]) =>
      h('label', {}, h('input', { type: 'checkbox', checked: chosen.includes(value), onchange: (event) => set(event.target.checked ? [...chosen, value] : chosen.filter((one) => one !== value)) }), ` ${text}`),
    );
  if (options.length <= FEW) return h('fieldset', {}, h('legend', {}, TITLES[part]), boxes(options));
  const list = `ia-list-${part}`;
  const add = (event) => {
    const found = options.find(([value, text]) => text === event.target.value || value === event.target.value);
    if (found && !chosen.includes(found[0])) set([...chosen, found[0]]);
  };
  return h(
    'fieldset',
    {},
    h('legend', {}, TITLES[part]),
    h('input', { type: 'text', list, placeholder: `All ${options.length}; type to choose`, 'aria-label': TITLES[part], onchange: add }),
    h('datalist', { id: list }, options.map(([, text]) => h('option', { value: text }))),
    boxes(options.filter(([value]) => chosen.includes(value))),
  );
}
