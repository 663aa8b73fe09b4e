/** The keys of the panel. */
const TYPED = 'input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true], [role=listbox]';

/** Let keys act on a panel until the returned function is called. */
export function listen(panel) {
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target?.closest?.(TYPED)) return;
    if (document.querySelector('.ia-large')?.open) {
      if (event.key.toLowerCase() === 'e') panel.enlarged.close();
      return; // the browser closes the dialog with Escape
    }
    const act = action(panel, event.key.length === 1 ? event.key.toLowerCase() : event.key, event.target);
    if (!act) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // Streamlit reloads the page with R
    if (!event.repeat || event.key.startsWith('Arrow')) act();
  };
  window.addEventListener('keydown', pressed, true);
  return () => window.removeEventListener('keydown', pressed, true);
}

function action(panel, key, target) {
  const found = panel.actions().find(([own]) => own === key);
  if (found) return () => panel.act(found[2]);
  if (key === 'z') return () => panel.undo();
  if (key === 'g') return () => panel.switch(panel.mode === 'one' ? 'grid' : 'one');
  return panel.mode === 'one' ? single(panel, key) : grid(panel, key, target);
}

function single(panel, key) {
  return {
    ArrowLeft: () => panel.step(-1),
    ArrowRight: () => panel.step(1),
    e: () => panel.enlarge(0),
    n: () => panel.root.querySelector('.ia-note')?.focus(),
  }[key];
}

function grid(panel, key, target) {
  const tiles = [...panel.root.querySelectorAll('.ia-pick')];
  const move = (steps) => () => {
    panel.focused = Math.min(Math.max(panel.focused + (document.activeElement?.dataset.tile ? steps : 0), 0), tiles.length - 1);
    tiles[panel.focused]?.focus();
  };
  const wide = () => tiles.filter((tile) => tile.getBoundingClientRect().top === tiles[0].getBoundingClientRect().top).length || 1;
  if (key === 'ArrowUp' || key === 'ArrowDown') return move(key === 'ArrowUp' ? -wide() : wide());
  if (key === 'o' && target?.dataset?.tile) return () => panel.openCard(target.dataset.tile);
  return { ArrowLeft: move(-1), ArrowRight: move(1), s: () => panel.choosePage(), Escape: () => panel.chooseNone(), ',': () => panel.turn(-1), '.': () => panel.turn(1) }[key];
}
