/** The map: similar images are close. Draw a line around some to see them as a grid and decide about them. */
import { h, number } from './dom.js';
import { Server, selection } from './server.js';

const PALETTE = ['#4e79a7', '#f28e2b', '#e15759', '#59a14f', '#b07aa1', '#9c755f', '#ff9da7', '#76b7b2', '#d4b106', '#7a7f87', '#1d5fd0', '#d1383d', '#17683b', '#8a4b00', '#7135b8', '#0f8b8d', '#c2185b', '#5d6d1e', '#345995', '#a0522d'];
const QUIET = '#9aa0a8', WAIT = 1500, NEAR = 9, SHOWN_IN_LEGEND = 40;

export class MapView {
  constructor(root, data, follow) {
    Object.assign(this, { root, data, follow, by: 'Class', view: { x: 0.5, y: 0.5, scale: 0.94 }, lasso: [], chosen: [], hidden: new Set(), panning: false });
    this.server = new Server(data.stamp);
    const resized = () => this.canvas && this.paint();
    window.addEventListener('resize', resized);
    this.stop = () => {
      this.stopped = true;
      window.removeEventListener('resize', resized);
    };
    this.load();
  }

  update(data, follow) {
    Object.assign(this, { data, follow });
  }

  async load() {
    this.root.replaceChildren(h('h1', {}, 'Map'), h('p', { class: 'ia-wait' }, 'Computing the map. This takes up to a minute, once for each run.'));
    try {
      let found = await this.server.ask('map');
      while (found.state === 'computing' && !this.stopped) {
        await new Promise((go) => setTimeout(go, WAIT));
        found = await this.server.ask('map');
      }
      this.map = found;
      if (!this.stopped) this.draw();
    } catch (error) {
      this.root.replaceChildren(h('h1', {}, 'Map'), h('p', { class: 'ia-warning', role: 'alert' }, error.message));
    }
  }

  get color() {
    return this.map.colors[this.by];
  }

  draw() {
    const { rows, of, colors } = this.map;
    this.canvas = h('canvas', { class: 'ia-map', role: 'img', 'aria-label': `Map of ${number(rows.length)} images by similarity` });
    this.tip = h('div', { class: 'ia-tip', hidden: true });
    this.status = h('span', { class: 'ia-count', role: 'status' });
    this.legend = h('div', { class: 'ia-legend', tabindex: 0, 'aria-label': 'Legend' });
    const sample = rows.length < of ? `, a random sample of ${number(of)}` : '';
    this.root.replaceChildren(
      h('header', { class: 'ia-bar' }, h('div', { class: 'ia-line' },
        h('h1', {}, 'Map'), h('span', { class: 'ia-count' }, `${number(rows.length)} images${sample}; similar ones are close`), h('span', { class: 'ia-space' }),
        h('label', {}, 'Color by ', h('select', { onchange: (event) => { this.by = event.target.value; this.hidden.clear(); this.paint(); } }, Object.keys(colors).map((name) => h('option', { value: name, selected: name === this.by }, name)))),
        h('button', { onclick: () => { this.view = { x: 0.5, y: 0.5, scale: 0.94 }; this.paint(); } }, 'Whole map')),
        h('div', { class: 'ia-line' }, h('span', { class: 'ia-count' }, 'Draw around images to select them. Wheel: zoom. Shift and drag: move.'), h('span', { class: 'ia-space' }), this.status, this.open())),
      h('div', { class: 'ia-mapbox' }, this.canvas, this.legend, this.tip),
    );
    this.listen();
    this.paint();
  }

  open() {
    this.opened = h('button', { class: 'ia-primary', disabled: true, onclick: () => this.grid() }, 'Open as a grid');
    return this.opened;
  }

  grid() {
    selection.rows = this.chosen.map((at) => this.map.rows[at]);
    this.follow({ page: '/images', query: { selection: String(selection.rows.length) } });
  }

  shade(at) {
    const { codes, values, names } = this.color;
    if (values) return `hsl(${Math.round(210 - 200 * values[at])} 75% ${values[at] > 0.5 ? 48 : 62}%)`;
    if (['no finding', 'undecided', 'no label'].includes(names[codes[at]])) return QUIET;
    return names.length <= PALETTE.length ? PALETTE[codes[at]] : `hsl(${(codes[at] * 137.5) % 360} 62% 52%)`;
  }

  /** Return the order of drawing: what has a finding lies above the rest. */
  order() {
    if (this.ordered !== this.by) {
      const quiet = [...this.map.rows.keys()].map((at) => this.shade(at) === QUIET);
      this.drawn = [...quiet.keys()].sort((one, two) => quiet[two] - quiet[one]);
      this.ordered = this.by;
    }
    return this.drawn;
  }

  visible(at) {
    return !this.color.codes || !this.hidden.has(this.color.codes[at]);
  }

  place(at) {
    const side = Math.min(this.canvas.clientWidth, this.canvas.clientHeight) * this.view.scale;
    return [this.canvas.clientWidth / 2 + (this.map.x[at] - this.view.x) * side, this.canvas.clientHeight / 2 + (this.map.y[at] - this.view.y) * side];
  }

  paint() {
    const top = this.canvas.parentElement.getBoundingClientRect().top;
    this.canvas.parentElement.style.height = `${Math.max(innerHeight - top - 14, 320)}px`;
    const { clientWidth: width, clientHeight: height } = this.canvas, ratio = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    const pen = this.canvas.getContext('2d');
    pen.scale(ratio, ratio);
    const radius = Math.max(1.6, Math.min(5, (60 / Math.sqrt(this.map.rows.length)) * 2.2)) * Math.min(Math.sqrt(this.view.scale), 2.2);
    const chosen = new Set(this.chosen);
    pen.globalAlpha = this.map.rows.length > 3000 ? 0.7 : 0.9;
    for (const at of this.order()) {
      if (!this.visible(at)) continue;
      const [x, y] = this.place(at);
      pen.fillStyle = this.shade(at);
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fill();
      if (chosen.has(at)) {
        pen.strokeStyle = getComputedStyle(this.root).color;
        pen.lineWidth = 1.5;
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
    if (this.lasso.length) {
      pen.strokeStyle = pen.fillStyle = getComputedStyle(this.root).color;
      pen.setLineDash([5, 4]);
      pen.beginPath();
      this.lasso.forEach(([x, y]) => pen.lineTo(x, y));
      pen.stroke();
      pen.globalAlpha = 0.07;
      pen.fill();
    }
    this.status.textContent = `${number(this.chosen.length)} selected`;
    this.opened.disabled = !this.chosen.length;
    this.explain();
  }

  explain() {
    const { names, codes } = this.color;
    if (!names) return this.legend.replaceChildren(h('span', {}, h('i', { style: { background: 'hsl(210 75% 62%)' } }), '0'), h('span', {}, h('i', { style: { background: 'hsl(10 75% 48%)' } }), '1'));
    const count = codes.reduce((sum, code) => sum.set(code, (sum.get(code) || 0) + 1), new Map());
    const first = (code) => codes.indexOf(code);
    const shown = [...count.keys()].sort((one, two) => one - two).slice(0, SHOWN_IN_LEGEND);
    this.legend.replaceChildren(
      ...shown.map((code) => h('button', { 'aria-pressed': String(!this.hidden.has(code)), class: 'ia-key', title: 'Show or hide', onclick: () => { this.hidden.delete(code) || this.hidden.add(code); this.paint(); } }, h('i', { style: { background: this.shade(first(code)) } }), names[code], h('small', {}, ` ${number(count.get(code))}`))),
      ...(count.size > shown.length ? [h('span', {}, `and ${number(count.size - shown.length)} more`)] : []),
    );
  }

  listen() {
    const at = (event) => { const box = this.canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    this.canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      const [x, y] = at(event), side = Math.min(this.canvas.clientWidth, this.canvas.clientHeight), before = this.view.scale;
      this.view.scale = Math.min(Math.max(before * Math.exp(-event.deltaY / 400), 0.6), 60);
      for (const [axis, shift] of [['x', x - this.canvas.clientWidth / 2], ['y', y - this.canvas.clientHeight / 2]]) this.view[axis] += (shift / side) * (1 / before - 1 / this.view.scale);
      this.paint();
    }, { passive: false });
    this.canvas.addEventListener('pointerdown', (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.panning = event.shiftKey || event.button === 1;
      this.last = at(event);
      this.lasso = this.panning ? [] : [this.last];
    });
    this.canvas.addEventListener('pointermove', (event) => this.move(event, at(event)));
    this.canvas.addEventListener('pointerup', () => this.finish());
    this.canvas.addEventListener('pointerleave', () => { this.tip.hidden = true; });
  }

  move(event, [x, y]) {
    if (!event.buttons) return this.hover(x, y);
    this.tip.hidden = true;
    if (this.panning) {
      const side = Math.min(this.canvas.clientWidth, this.canvas.clientHeight) * this.view.scale;
      this.view.x -= (x - this.last[0]) / side;
      this.view.y -= (y - this.last[1]) / side;
      this.last = [x, y];
    } else this.lasso.push([x, y]);
    this.paint();
  }

  finish() {
    if (this.panning) return;
    const area = this.lasso;
    this.lasso = [];
    const keys = [...this.map.rows.keys()].filter((at) => this.visible(at));
    if (area.length > 4) this.chosen = keys.filter((at) => within(this.place(at), area));
    else {
      const nearest = area.length ? this.nearest(...area[0]) : undefined;
      this.chosen = nearest === undefined ? [] : [nearest];
    }
    this.paint();
  }

  nearest(x, y) {
    let best, least = NEAR ** 2;
    this.map.rows.forEach((_, at) => {
      const [one, two] = this.place(at), away = (one - x) ** 2 + (two - y) ** 2;
      if (away < least && this.visible(at)) [best, least] = [at, away];
    });
    return best;
  }

  hover(x, y) {
    const found = this.nearest(x, y);
    this.tip.hidden = found === undefined;
    if (found === undefined) return;
    const { names, codes, values } = this.color;
    const shown = this.server.load('preview', this.map.rows[found]);
    shown.alt = '';
    this.tip.replaceChildren(shown, h('p', {}, names ? names[codes[found]] : values[found].toFixed(2)));
    Object.assign(this.tip.style, { left: `${Math.min(x + 14, this.canvas.clientWidth - 150)}px`, top: `${Math.min(y + 14, this.canvas.clientHeight - 170)}px` });
  }
}

/** Whether a point is inside a polygon: a ray from it crosses the edges an odd number of times. */
function within([x, y], corners) {
  let inside = false;
  for (let at = 0, before = corners.length - 1; at < corners.length; before = at++) {
    const [ax, ay] = corners[at], [bx, by] = corners[before];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
