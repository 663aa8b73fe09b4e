/** Ask the server, and load images ahead of the reviewer. */
const LOADED_AHEAD = 240;

/** The images that were selected on the map, for the grid. */
export const selection = { rows: [] };

export class Server {
  constructor(stamp, failed) {
    this.stamp = stamp;
    this.failed = failed;
    this.images = new Map(); // address -> loaded element, the most recent last
    this.drawn = new Set(); // elements of this drawing
    this.sending = Promise.resolve();
  }

  async ask(name, given = {}) {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(given)) [value].flat().forEach((one) => query.append(key, one));
    return this.#answer(await fetch(`/audit/${name}?${query}`));
  }

  /** Send actions one after the other, in the order of the keys. */
  send(name, body) {
    const sent = this.sending.then(async () =>
      this.#answer(await fetch(`/audit/${name}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })),
    );
    this.sending = sent.catch(() => {});
    return sent;
  }

  async #answer(response) {
    if (response.ok) return response.json();
    const answer = (response.headers.get('content-type') || '').includes('json') ? await response.json() : { problem: await response.text(), hint: '' };
    throw new Error([answer.problem, answer.hint].filter(Boolean).join('. '));
  }

  address(kind, row) {
    return `/audit/${kind}?row=${row}&s=${this.stamp}`;
  }

  /** Return an element with an image; one that was loaded ahead is shown at once. */
  picture(kind, image, alt) {
    const element = this.load(kind, image.row);
    const shown = this.drawn.has(element) ? element.cloneNode() : element; // one element cannot be in two places
    this.drawn.add(element);
    shown.alt = alt;
    return shown;
  }

  load(kind, row) {
    const address = this.address(kind, row);
    const known = this.images.get(address);
    if (known) {
      this.images.delete(address);
      this.images.set(address, known);
      return known;
    }
    const element = new Image();
    element.decoding = 'sync';
    element.src = address;
    this.images.set(address, element);
    if (this.images.size > LOADED_AHEAD) this.images.delete(this.images.keys().next().value);
    return element;
  }
}
