/** The review panel: a queue of cards, one at a time or as a grid. It decides at once and sends decisions in the background. */
import { h, number } from './dom.js';
import { selection, Server } from './server.js';
import { actionsOf, drawCard } from './card.js';
import { drawGrid, PER_PAGE } from './grid.js';
import { drawFilters, PARTS } from './filters.js';
import { listen } from './keys.js';

const AHEAD = 6, FETCHED = 16, PREVIEWS_AHEAD = 3;
const STATES = [['undecided', 'Undecided'], ['decided', 'Decided'], ['all', 'All']];
const SORTS = [['importance', 'Importance'], ['class', 'Class'], ['size', 'Size'], ['random', 'Random']];

/** Page -> the address that it had when it was left: a page continues where the reviewer left it. */
const left = new Map();

export class Panel {
  constructor(root, data, follow) {
    Object.assign(this, { root, data, follow, ids: [], verdicts: new Map(), cards: new Map(), tiles: new Map(), notes: new Map(), options: {}, classes: [] });
    Object.assign(this, { at: 0, sheet: 0, chosen: new Set(), everything: false, focused: 0, filtersOpen: false, message: '', problem: '', asking: 0 });
    this.server = new Server(data.stamp);
    const [unlisten, resized] = [listen(this), () => this.draw()];
    window.addEventListener('resize', resized);
    this.stop = () => {
      unlisten();
      window.removeEventListener('resize', resized);
    };
    this.address = JSON.stringify(data.address);
    this.read(Object.keys(data.address).length ? data.address : left.get(data.page) || {});
    this.start();
  }

  /** Take over what Streamlit sends when it draws the page again. */
  update(data, follow) {
    const moved = JSON.stringify(data.address) !== this.address;
    const scanned = data.stamp !== this.data.stamp;
    Object.assign(this, { data, follow });
    this.address = JSON.stringify(data.address);
    this.server.stamp = data.stamp;
    if (scanned) this.cards.clear();
    if (moved && Object.keys(data.address).length) this.read(data.address);
    if (moved || scanned) this.load();
    else this.write();
  }

  read(address) {
    const one = (name, fallback) => (address[name] || [fallback]).at(-1);
    this.state = one('state', this.data.page === 'images' ? 'all' : this.data.state || 'all');
    this.mode = one('mode', this.data.page === 'images' ? 'grid' : 'one');
    this.sort = one('sort', 'importance');
    this.seed = Number(one('seed', 0));
    this.text = one('text', '');
    this.near = one('near', '');
    this.selected = Boolean(one('selection', ''));
    this.sheet = Math.max(Number(one('sheet', 1)) - 1, 0);
    this.holding = one('finding', '');
    this.filters = Object.fromEntries(PARTS.filter((part) => address[part]).map((part) => [part, address[part]]));
    if (this.holding) this.mode = 'one';
  }

  /** Write what is shown to the address, so that it survives a reload and can be shared. */
  write() {
    const shown = { ...this.filters, text: this.text, near: this.near, selection: this.selected ? String(selection.rows.length || '') : '' };
    if (this.state !== 'all') shown.state = this.state;
    if (this.sort !== 'importance') shown.sort = this.sort;
    if (this.sort === 'random') shown.seed = String(this.seed);
    if (this.mode === 'grid') Object.assign(shown, { mode: 'grid', sheet: this.sheet ? String(this.sheet + 1) : '' });
    else shown.finding = this.ids[this.at] || '';
    const query = new URLSearchParams();
    const reviewer = new URLSearchParams(location.search).get('reviewer');
    const kept = {};
    for (const [name, value] of Object.entries(shown)) [value].flat().filter(Boolean).forEach((one) => { query.append(name, one); (kept[name] ||= []).push(one); });
    left.set(this.data.page, kept);
    if (reviewer) query.append('reviewer', reviewer);
    history.replaceState(history.state, '', `${location.pathname}${query.size ? `?${query}` : ''}`);
  }

  async start() {
    this.root.replaceChildren(h('p', { class: 'ia-wait' }, 'Reading the findings…'));
    const asked = this.attempt(() => this.server.ask('options', { page: this.data.page }));
    await this.load();
    const found = await asked;
    if (found) {
      this.options = found.filters;
      this.classes = found.classes;
      this.draw();
    }
  }

  async load() {
    const asked = ++this.asking;
    const given = { page: this.data.page, state: this.state, sort: this.sort, seed: this.seed, text: this.text, near: this.near, finding: this.holding, ...this.filters };
    const rows = this.selected ? selection.rows : [];
    const found = await this.attempt(() => (rows.length ? this.server.send('selection', { query: Object.entries(given).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)])), rows }) : this.server.ask('queue', given)));
    if (!found || asked !== this.asking) return;
    this.ids = found.ids;
    this.leftOut = found.left_out;
    this.verdicts = new Map(Object.entries(found.verdicts));
    this.tiles.clear();
    this.chooseNone(false);
    if (this.holding && !this.ids.includes(this.holding)) this.problem = 'The finding in this link does not exist in this run. It may be from another scan.';
    this.at = this.holding ? Math.max(this.ids.indexOf(this.holding), 0) : this.nextUndecided(-1);
    this.sheet = Math.min(this.sheet, Math.max(Math.ceil(this.ids.length / PER_PAGE) - 1, 0));
    this.holding = '';
    await this.show();
  }

  // ---- what is shown

  get card() {
    return this.mode === 'one' ? this.cards.get(this.ids[this.at]) : undefined;
  }

  /** Show the current card or page; what follows is loaded ahead. */
  async show() {
    this.write();
    if (this.mode === 'grid') return this.showGrid();
    const id = this.ids[this.at];
    if (id && !this.cards.has(id)) await this.fetchCards();
    this.draw();
    this.ahead();
  }

  async showGrid() {
    const ids = this.ids.slice(this.sheet * PER_PAGE, (this.sheet + 1) * PER_PAGE);
    const missing = ids.filter((id) => !this.tiles.has(id));
    if (missing.length) {
      const found = await this.attempt(() => this.server.ask('tiles', { ids: missing.join(',') }));
      for (const tile of found || []) this.tiles.set(tile.id, tile);
    }
    this.draw();
  }

  async fetchCards() {
    const wanted = this.ids.slice(this.at, this.at + FETCHED).filter((id) => !this.cards.has(id));
    const found = await this.attempt(() => this.server.ask('cards', { ids: wanted.join(',') }));
    for (const card of found || []) this.cards.set(card.id, card);
  }

  async ahead() {
    const next = this.ids.slice(this.at + 1, this.at + 1 + AHEAD);
    if (next.some((id) => !this.cards.has(id)) && !this.fetching) {
      this.fetching = true;
      await this.fetchCards();
      this.fetching = false;
    }
    this.ids.slice(this.at + 1, this.at + 1 + AHEAD).forEach((id, step) => {
      const card = this.cards.get(id);
      if (!card) return;
      if (card.kind !== 'group') card.images.filter((image) => image.shown).forEach((image) => this.server.load('image', image.row));
      if (step < PREVIEWS_AHEAD) [...card.examples.flatMap((row) => row.images), ...card.near, ...card.members].forEach((image) => this.server.load('preview', image.row));
    });
  }

  draw() {
    const focused = document.activeElement?.dataset?.tile;
    const grid = this.mode === 'grid';
    this.server.drawn.clear();
    const body = !this.ids.length
      ? h('p', { class: 'ia-nothing' }, this.nothing())
      : grid
        ? drawGrid(this, this.ids.slice(this.sheet * PER_PAGE, (this.sheet + 1) * PER_PAGE).map((id) => this.tiles.get(id)).filter(Boolean))
        : this.card
          ? drawCard(this, this.card)
          : h('p', { class: 'ia-wait' }, 'Loading…');
    this.root.replaceChildren(this.bar(), body, this.dialog());
    this.fit(body);
    if (focused) this.root.querySelector(`[data-tile="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  /** Let a card end at the bottom of the window. */
  fit(card) {
    let top = card.offsetTop;
    for (let parent = card.offsetParent; parent; parent = parent.offsetParent) top += parent.offsetTop;
    this.root.style.setProperty('--above', `${top + 10}px`);
  }

  nothing() {
    if (Object.values(this.filters).flat().length || this.text) return 'Nothing matches these filters.';
    return this.state === 'undecided' ? 'Everything is decided. Go to Decisions & export to download the results.' : this.data.empty || 'No findings.';
  }

  bar() {
    const done = this.ids.reduce((sum, id) => sum + this.verdicts.has(id), 0);
    const grid = this.mode === 'grid', what = this.data.page === 'images' ? 'Image' : 'Finding';
    const at = grid ? `${number(this.ids.length)} ${what.toLowerCase()}s` : this.ids.length ? `${what} ${number(this.at + 1)} of ${number(this.ids.length)}` : '';
    const narrow = matchMedia('(max-width: 760px)').matches;
    const picks = (name, options, value, set) => h('select', { 'aria-label': name, title: name, onchange: (event) => set(event.target.value) }, options.map(([key, text]) => h('option', { value: key, selected: key === value }, text)));
    const order = [
      picks('Show', STATES, this.state, (value) => this.change({ state: value })),
      picks('Sort by', SORTS, this.sort, (value) => this.change({ sort: value, seed: value === 'random' ? Math.floor(Math.random() * 1e9) : 0 })),
    ];
    return h(
      'header',
      { class: 'ia-bar' },
      h(
        'div',
        { class: 'ia-line' },
        h('h1', {}, this.data.title),
        this.data.notes.length > 0 && h('details', { class: 'ia-filters ia-about' }, h('summary', { 'aria-label': 'About this page', title: 'About this page' }, h('kbd', {}, '?')), h('div', { class: 'ia-popover' }, this.data.notes.map((note) => h('p', {}, note)))),
        h('span', { class: 'ia-progress' }, h('progress', { max: Math.max(this.ids.length, 1), value: done, 'aria-label': 'Decided' }), h('span', {}, [at, `${number(done)} decided`].filter(Boolean).join(' · '))),
        this.moves(),
        h('span', { class: 'ia-space' }),
        this.data.page === 'images' && h('input', { type: 'search', class: 'ia-search', placeholder: 'Name, class or content id', 'aria-label': 'Search', value: this.text, onchange: (event) => this.search(event.target.value.trim()) }),
        narrow ? null : order,
        drawFilters(this, narrow ? order : null),
        h('span', { class: 'ia-modes', role: 'group', 'aria-label': 'View' }, [['one', 'One'], ['grid', 'Grid']].map(([mode, text]) => h('button', { 'aria-pressed': String(this.mode === mode), onclick: () => this.switch(mode) }, text, mode !== this.mode && h('kbd', {}, 'G')))),
      ),
      h('div', { class: 'ia-line ia-actions' }, this.actions().map((action) => (action[2] === 'relabel' ? this.relabelField() : this.button(action)))),
      this.near && h('p', { class: 'ia-said' }, 'The images most similar to the first one. ', h('button', { class: 'ia-link', onclick: () => this.change({ near: '' }) }, 'Show all images')),
      this.selected && selection.rows.length > 0 && h('p', { class: 'ia-said' }, 'The images that you selected on the map. ', h('button', { class: 'ia-link', onclick: () => this.change({ selected: false }) }, 'Show all images')),
      this.leftOut > 0 && h('p', { class: 'ia-said' }, `${number(this.leftOut)} more images match; choose a class or search to see them.`),
      this.problem && h('p', { class: 'ia-warning', role: 'alert' }, this.problem, h('button', { class: 'ia-link', onclick: () => this.say('', true) }, 'Close')),
      h('p', { class: 'ia-said', role: 'status', hidden: !this.message }, this.message),
    );
  }

  /** The actions of the card, or of the selected tiles: [key, text, action, verdict, detail]. */
  actions() {
    if (this.mode === 'one') return actionsOf(this, this.card);
    const found = [['k', 'Not a problem', { verdict: 'keep' }, 'keep'], ['r', 'Relabel', 'relabel', 'relabel'], ['d', 'Drop', { verdict: 'drop' }, 'drop'], ['u', 'Not sure', { verdict: 'unsure' }, 'unsure']];
    if (this.data.page !== 'images') found.splice(1, 0, ['a', 'Confirm', { verdict: 'accept' }, 'accept'], ['1', 'Take the suggestion', { verdict: 'relabel' }, 'relabel']);
    return this.ids.length ? found : [];
  }

  button([key, text, action, verdict, detail]) {
    const idle = this.mode === 'grid' && !this.everything && !this.chosen.size;
    return h(
      'button',
      { class: `ia-do ia-do-${verdict}`, 'data-key': key, disabled: idle, onclick: (event) => event.detail < 2 && this.act(action) }, // the second click of a double click is about the next card
      h('kbd', {}, key.toUpperCase()), ` ${text}`, detail && h('small', {}, ` ${detail}`),
    );
  }

  relabelField() {
    const names = new Map(this.classes.flatMap(([value, text]) => [[value, value], [text, value]]));
    const done = (event) => {
      const text = event.target.value.trim();
      if (event.key === 'Escape') event.target.blur();
      if (event.key !== 'Enter' || !text) return;
      event.preventDefault();
      event.target.blur();
      this.act({ verdict: 'relabel', label: names.get(text) || text });
    };
    return h('label', { class: 'ia-do ia-do-relabel ia-to' }, h('kbd', {}, 'R'), h('input', { type: 'text', list: 'ia-classes', 'aria-label': 'Relabel to', placeholder: 'Other class', onkeydown: done }), h('datalist', { id: 'ia-classes' }, this.classes.map(([, text]) => h('option', { value: text }))));
  }

  moves() {
    const one = this.mode === 'one';
    return [
      h('button', { class: 'ia-do', 'data-key': 'z', onclick: () => this.undo() }, h('kbd', {}, 'Z'), ' Undo'),
      one && h('button', { class: 'ia-do', 'aria-label': 'Previous', disabled: this.at === 0, onclick: () => this.step(-1) }, '←'),
      one && h('button', { class: 'ia-do', 'aria-label': 'Next', disabled: this.at + 1 >= this.ids.length, onclick: () => this.step(1) }, '→'),
    ];
  }

  dialog() {
    this.enlarged = h('dialog', { class: 'ia-large', 'aria-label': 'Enlarged image', onclick: () => this.enlarged.close() });
    return this.enlarged;
  }

  // ---- moving

  nextUndecided(from) {
    const n = this.ids.length;
    for (let step = 1; step <= n; step++) {
      const at = (from + step + n) % n;
      if (!this.verdicts.has(this.ids[at])) return at;
    }
    return Math.min(Math.max(from + 1, 0), Math.max(n - 1, 0));
  }

  step(steps) {
    this.at = Math.min(Math.max(this.at + steps, 0), Math.max(this.ids.length - 1, 0));
    this.message = '';
    return this.show();
  }

  turn(steps) {
    this.sheet = Math.min(Math.max(this.sheet + steps, 0), Math.max(Math.ceil(this.ids.length / PER_PAGE) - 1, 0));
    this.focused = 0;
    return this.show();
  }

  switch(mode) {
    if (mode === this.mode) return;
    if (mode === 'grid') this.sheet = Math.floor(this.at / PER_PAGE);
    else this.at = Math.min(this.sheet * PER_PAGE + this.focused, Math.max(this.ids.length - 1, 0));
    this.mode = mode;
    this.show();
  }

  openCard(id) {
    this.at = Math.max(this.ids.indexOf(id), 0);
    this.mode = 'one';
    this.show();
  }

  change(what) {
    Object.assign(this, what, { sheet: 0, message: '' });
    this.load();
  }

  filter(filters) {
    this.change({ filters });
  }

  search(text) {
    this.change({ text, near: '', selected: false });
  }

  link(page, query) {
    this.follow({ page, query });
  }

  enlarge(at) {
    const image = this.card?.images[at];
    if (image) this.enlargeImage(image);
  }

  enlargeImage(image) {
    const picture = h('img', { src: this.server.address('image', image.row), alt: `${image.name}, labelled ${image.text}` });
    this.enlarged.replaceChildren(picture, h('p', {}, h('b', {}, image.text), ` · ${[image.split, image.size, image.name].filter(Boolean).join(' · ')}`), h('p', {}, h('button', { onclick: () => this.link('/images', { near: String(image.row) }) }, 'Similar images'), h('button', { onclick: () => this.enlarged.close() }, 'Close ', h('kbd', {}, 'Esc'))));
    this.enlarged.showModal();
  }

  // ---- choosing in the grid

  choose(at, range) {
    const ids = this.ids.slice(this.sheet * PER_PAGE, (this.sheet + 1) * PER_PAGE);
    this.everything = false;
    if (range) ids.slice(Math.min(at, this.focused), Math.max(at, this.focused) + 1).forEach((id) => this.chosen.add(id));
    else if (!this.chosen.delete(ids[at])) this.chosen.add(ids[at]);
    this.focused = at;
    this.draw();
  }

  choosePage() {
    this.everything = false;
    this.ids.slice(this.sheet * PER_PAGE, (this.sheet + 1) * PER_PAGE).forEach((id) => this.chosen.add(id));
    this.draw();
  }

  chooseEverything() {
    this.everything = !this.everything;
    this.chosen.clear();
    this.draw();
  }

  chooseNone(draw = true) {
    this.everything = false;
    this.chosen.clear();
    if (draw) this.draw();
  }

  // ---- deciding

  /** Whether the reviewer can see every image that a decision would be about. */
  get seen() {
    return [...this.root.querySelectorAll('.ia-pictures img')].every((image) => image.complete);
  }

  act(action) {
    if (action === 'relabel') return this.root.querySelector('.ia-to input')?.focus();
    if (this.mode === 'grid') return this.decideMany(action);
    const card = this.card;
    if (!card) return;
    if (!this.seen) return this.say('The image is still loading, so nothing was decided.');
    this.message = '';
    this.store([card.id], action, this.notes.get(card.id) || '');
    this.verdicts.set(card.id, action.verdict);
    card.verdict = action.verdict;
    if (this.state === 'undecided') {
      this.ids.splice(this.at, 1);
      this.at = this.nextUndecided(this.at - 1);
    } else this.at = this.nextUndecided(this.at);
    this.show();
  }

  async decideMany(action) {
    const ids = this.everything ? [...this.ids] : this.ids.filter((id) => this.chosen.has(id));
    if (!ids.length) return;
    if (ids.length > PER_PAGE && !window.confirm(`Decide about ${number(ids.length)} ${this.data.page === 'images' ? 'images' : 'findings'}: ${this.verdictName(action.verdict)}${action.label ? ` to ${action.label}` : ''}? One undo reverts it.`)) return;
    const found = await this.store(ids, action, '');
    if (!found) return;
    const skipped = found.skipped ? `; skipped ${number(found.skipped)}, to which this does not apply` : '';
    this.message = `${this.verdictName(action.verdict)}: ${number(ids.length - found.skipped)}${skipped}.`;
    this.chooseNone(false);
    if (this.state === 'undecided') this.ids = this.ids.filter((id) => !this.verdicts.has(id));
    this.sheet = Math.min(this.sheet, Math.max(Math.ceil(this.ids.length / PER_PAGE) - 1, 0));
    await this.show();
  }

  /** Send a decision; the next card is shown without waiting for it. */
  async store(ids, action, note) {
    try {
      const found = await this.server.send('decide', { cards: ids, ...action, note, reviewer: this.data.reviewer });
      for (const [id, verdict] of Object.entries(found.verdicts)) verdict ? this.verdicts.set(id, verdict) : this.verdicts.delete(id);
      ids.filter((id) => id !== this.ids[this.at]).forEach((id) => this.cards.delete(id));
      return found;
    } catch (error) {
      ids.forEach((id) => { this.verdicts.delete(id); this.cards.delete(id); });
      this.problem = `This decision was not stored: ${error.message}`;
      this.holding = ids.length === 1 ? ids[0] : '';
      await this.load();
    }
  }

  async undo() {
    const found = await this.attempt(() => this.server.send('undo', { reviewer: this.data.reviewer }));
    if (!found) return;
    if (!found.undone) return this.say('Nothing to undo.');
    this.message = `Undone: ${number(found.undone)} decision${found.undone > 1 ? 's' : ''}.`;
    this.cards.clear();
    this.holding = this.mode === 'one' ? this.ids.find((id) => id === found.card) || found.card || '' : '';
    const undone = this.mode === 'one' ? found.card : '';
    await this.load();
    if (this.problem && undone && !this.ids.includes(undone)) this.say('', true); // it was a decision on another page
  }

  say(message, clear = false) {
    this.message = message;
    if (clear) this.problem = '';
    this.draw();
  }

  async attempt(asking) {
    try {
      return await asking();
    } catch (error) {
      this.problem = error.message;
      this.draw();
      return undefined;
    }
  }

  verdictName(verdict) {
    return this.data.verdicts[verdict] || verdict;
  }
}
